"""Support sees all about one person, and an engineer the state of the installation: neither sees a private text."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db.models.functions import Now
from django.test import Client

from chats.models import ChatUpload
from ops import support, timeline_sources, timelines
from ops.monitoring_models import ErrorEvent
from relivchats import environment
from relivchats.accounts import tokens
from relivchats.staff.models import AuditEntry
from tests.ops import rows
from tests.ops.test_commands import as_json, call
from tests.processes import BrokerHandle

EMAIL = "canary@example.org"
SECRET = "swordfish"

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_timeline_of_a_person_has_what_happened_to_them_and_nothing_of_others(broker: BrokerHandle) -> None:
    user = rows.person(email=EMAIL)
    rows.failed_job()
    job = rows.failed_job(owner=user)
    ChatUpload.objects.create(owner=user, outcome="refused", reason="NotAChatExport", size_bytes=10, milliseconds=5)
    tokens.issue(user)
    Client().force_login(user)
    AuditEntry.objects.create(actor="command", action="recover job", object_id=str(job.pk), done=True, outcome="done")
    for user_id in (user.pk, None):
        ErrorEvent.objects.create(
            at=Now(),
            role="web",
            host="h",
            pid=1,
            level="ERROR",
            logger="l",
            event="crash",
            fingerprint="f",
            user_id=user_id,
        )
    status, answer = as_json("person", EMAIL.upper(), "--limit", "200")
    kinds = [row["kind"] for row in answer["rows"]]
    assert status == 0
    assert {kind: kinds.count(kind) for kind in ("upload", "unlock", "insight", "error", "staff", "token")} == {
        "upload": 1, "unlock": 1, "insight": 2, "error": 1, "staff": 1, "token": 1,
    }  # fmt: skip
    assert "coins" in kinds
    assert answer["rows"] == sorted(answer["rows"], key=lambda row: row["at"], reverse=True)
    assert (answer["counts"]["tokens"], answer["counts"]["sessions"], answer["counts"]["unlocks"]) == ("1", "1", "1")
    assert as_json("person", str(user.pk))[1]["person"] == str(user.pk)
    assert len(as_json("person", EMAIL, "--limit", "2")[1]["rows"]) == 2
    assert EMAIL not in json.dumps(answer)
    with pytest.raises(CommandError, match="no such person"):
        call("person", "nobody")


def test_a_refusal_in_the_timeline_is_no_error(broker: BrokerHandle) -> None:
    user = rows.person()
    event = {"at": Now(), "role": "web", "host": "h", "pid": 1, "logger": "l", "fingerprint": "f", "user_id": user.pk}
    for level in ("INFO", "WARNING"):
        ErrorEvent.objects.create(level=level, event=f"upload {level}", **event)
    shown = {row["what"]: row["kind"] for row in as_json("person", str(user.pk))[1]["rows"] if "upload" in row["what"]}
    assert shown == {"upload INFO": "refusal", "warning: upload WARNING": "error"}


def test_the_timeline_is_bounded(monkeypatch: pytest.MonkeyPatch, broker: BrokerHandle) -> None:
    for module in (timelines, timeline_sources):
        monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    user = rows.person()
    for _ in range(5):
        ChatUpload.objects.create(owner=user, outcome="refused", size_bytes=10, milliseconds=5)
    assert len(timelines.of_person(user, may_view=timelines.anyone_may).entries) == 3


def test_a_support_bundle_has_every_part_and_nothing_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: BrokerHandle
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", SECRET)
    user = rows.person(email=EMAIL)
    rows.failed_job(owner=user)
    token = tokens.issue(user)
    AuditEntry.objects.create(actor="command", action="a", object_id="1", reason=SECRET, done=True, outcome=SECRET)
    path = tmp_path / "bundle.zip"
    status, answer = as_json("support-bundle", str(path))
    assert (status, path.stat().st_mode & 0o777) == (0, 0o600)
    with zipfile.ZipFile(path) as bundle:
        assert bundle.namelist() == list(support.PARTS) == [row["file"] for row in answer["rows"]]
        texts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert [name for name, text in texts.items() if '{"failed"' in text] == []
    assert "GEMINI_API_KEY" in texts["settings.txt"].splitlines()
    for private in (SECRET, EMAIL, token, str(user.pk)):
        assert [name for name, text in texts.items() if private in text] == []
    with pytest.raises(CommandError, match="exists"):
        call("support-bundle", str(path))


def test_a_support_bundle_names_the_settings_that_dev_sets(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.EMBEDDED = True
    for name in (*environment.names, "DATABASE_OWNER_URL", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOG_LEVEL", SECRET)
    assert support.PARTS["settings.txt"]().splitlines() == [
        "LOG_LEVEL",
        *(f"{name} (by ./dev)" for name in ("DATABASE_OWNER_URL", "DATABASE_URL", "ENCRYPTION_KEYS", "KEY_STORE_DIR")),
        *("REDIS_URL (by ./dev)", "SECRET_KEY (by ./dev)"),
    ]


def test_a_part_that_fails_names_its_error_and_the_others_are_written(tmp_path: Path, broker: BrokerHandle) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def fail() -> str:
            raise OSError(SECRET)

        patch.setitem(support.PARTS, "health.json", fail)
        support.write(tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        assert json.loads(bundle.read("health.json")) == {"failed": "OSError"}
        assert "relivchats" in json.loads(bundle.read("versions.json"))

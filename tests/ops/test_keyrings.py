"""Health and `keys` judge the keyrings of the processes that serve, not only that of the command."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.core.management import CommandError
from django.db.models.functions import Now

from chats import keys
from ops import heartbeats, keyrings
from ops.checks import database
from ops.models import Heartbeat
from ops.workers import local_state
from relivchats import embedded, installation, roles
from relivchats.crypto import Keyring
from relivchats.staff.reports import Level
from tests.chats.test_keys import make_keyring
from tests.ops import rows
from tests.ops.test_commands import call
from tests.processes import eventually

pytestmark = pytest.mark.django_db

Run = Callable[..., None]


@pytest.fixture
def start(settings: Any) -> Run:
    """Return a function that writes the heartbeats of processes that have these keys."""

    def run(*names: str, kinds: tuple[str, ...] = ("web", "worker", "beat")) -> None:
        own, settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS, make_keyring(*names)
        for kind in kinds:
            heartbeats.write_heartbeat(name=f"{kind}@elsewhere:41", kind=Heartbeat.Kind(kind))
        settings.ENCRYPTION_KEYS = own

    settings.ENCRYPTION_KEYS = make_keyring("right")
    rows.chat(rows.person())
    return run


def test_health_and_keys_are_critical_if_the_processes_have_another_keyring(start: Run) -> None:
    start("right")
    assert database.keys().level is Level.FINE
    assert "CRITICAL" not in call("keys")[1]
    start("wrong", kinds=("web", "beat"))
    line = database.keys()
    assert line.level is Level.CRITICAL
    assert line.text == (
        "web@elsewhere:41, beat@elsewhere:41 run with another ENCRYPTION_KEYS than this command, which opens all 1"
        " sampled chats; they open none, so uploads get 503"
    )
    assert line.remedy
    status, printed = call("keys")
    assert (status, line.text in printed) == (2, True)


def test_a_process_with_another_key_of_the_same_name_has_another_keyring(start: Run, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = Keyring.new_text()
    heartbeats.write_heartbeat(name="web@elsewhere:41", kind=Heartbeat.Kind.WEB)
    settings.ENCRYPTION_KEYS = Keyring.new_text()
    assert "ENCRYPTION_KEYS" in database.keys().text
    assert keyrings.compare(keys.Sample(1, [], [], [])) is not None


def test_a_command_with_the_wrong_keyring_does_not_blame_the_processes(start: Run, settings: Any) -> None:
    start("right")
    settings.ENCRYPTION_KEYS = make_keyring("wrong")
    line = database.keys()
    assert line.level is Level.CRITICAL
    assert line.text.startswith("this command has another ENCRYPTION_KEYS than web@elsewhere:41, worker@elsewhere:41,")
    assert line.remedy == "manage.py health  # with the ENCRYPTION_KEYS that web@elsewhere:41 has"
    status, printed = call("keys")
    assert (status, "ENCRYPTION_KEYS that web@elsewhere:41 has" in printed, "restore" in printed) == (2, True, False)


def test_a_command_takes_the_keyring_of_a_process_of_this_machine_by_its_remedy(start: Run, settings: Any) -> None:
    right = settings.ENCRYPTION_KEYS
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, "ENCRYPTION_KEYS": right})
    try:
        name = f"worker@{socket.gethostname()}:{process.pid}"
        eventually(lambda: psutil.Process(process.pid).name() == "sleep")
        heartbeats.write_heartbeat(name=name, kind=Heartbeat.Kind.WORKER)
        settings.ENCRYPTION_KEYS = make_keyring("wrong")
        remedy = database.keys().remedy
        assert remedy.endswith(f" && manage.py health  # with that of {name}")
        assert right not in remedy
        command = remedy.replace("manage.py health", 'printf %s "$ENCRYPTION_KEYS"')
        printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
        assert printed == right
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("started_since", [(), ("web", "beat")])
def test_after_a_change_of_the_keyrings_file_the_remedy_starts_only_what_has_read_it(
    start: Run, settings: Any, monkeypatch: pytest.MonkeyPatch, started_since: tuple[str, ...]
) -> None:
    monkeypatch.setattr(installation, "kind", lambda: installation.Kind.DEV)
    monkeypatch.setattr(installation, "supervisors", lambda: {"up": os.getpid()})
    monkeypatch.setattr(keyrings, "_is_set_for_up", lambda: False)
    monkeypatch.delenv("ENCRYPTION_KEYS", raising=False)
    start("right")
    settings.ENCRYPTION_KEYS = make_keyring("wrong")
    start("wrong", kinds=started_since)
    line = database.keys()
    assert (line.level, "it does not open 1 of 1 chats" in line.text) == (Level.CRITICAL, True)
    assert line.text.startswith(f"{embedded.keyring_file()} was changed") is not bool(started_since)
    edit = "${EDITOR:-vi} " + shlex.quote(str(embedded.keyring_file()))
    steps = [edit, *(f"manage.py workers --restart {kind}" for kind in started_since)]
    assert line.remedy.partition("  #")[0] == " && ".join(steps)
    # The page of staff: that web process itself has to start again, also before its first heartbeat.
    monkeypatch.setenv(roles.ROLE_VARIABLE, "web")
    assert database.keys().remedy.startswith(f"{edit} && manage.py workers --restart web")


def test_keys_are_not_rotated_while_a_process_runs_without_the_new_one(start: Run, settings: Any) -> None:
    start("right")
    settings.ENCRYPTION_KEYS = make_keyring("new", "right")
    start("new", "right", kinds=("web",))
    with pytest.raises(CommandError) as refused:
        call("keys", "--rotate")
    assert str(refused.value) == (
        "worker@elsewhere:41, beat@elsewhere:41 do not have the key new and could not open the chats that it wraps."
        " Nothing was rotated. Add --ignore-processes to rotate nevertheless, or start them again first: restart"
        " celery_worker, celery_beat with the ENCRYPTION_KEYS of this command"
    )
    assert "1 chat needs an old key" in call("keys")[1]
    start("new", "right", kinds=("worker", "beat"))
    assert "1 key is wrapped by new now" in call("keys", "--rotate")[1]


def test_keys_are_not_rotated_while_a_frozen_process_lacks_the_new_one(start: Run, settings: Any) -> None:
    frozen = subprocess.Popen(["sleep", "60"])
    try:
        frozen.send_signal(signal.SIGSTOP)
        name = f"worker@{socket.gethostname()}:{frozen.pid}"
        heartbeats.write_heartbeat(name=name, kind=Heartbeat.Kind.WORKER)
        settings.ENCRYPTION_KEYS = make_keyring("new", "right")
        eventually(lambda: local_state(frozen.pid) == "frozen")
        with pytest.raises(CommandError, match=f"{re.escape(name)} does not have the key new"):
            call("keys", "--rotate")
    finally:
        frozen.kill()
        frozen.wait()
    assert "1 key is wrapped by new now" in call("keys", "--rotate")[1]


def test_keys_are_not_rotated_while_a_silent_process_lacks_the_new_one(
    start: Run, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, or in another container, a frozen process is silent."""
    start("right", kinds=("worker", "beat"))
    Heartbeat.objects.update(beat_at=Now() - timedelta(minutes=3))
    settings.ENCRYPTION_KEYS = make_keyring("new", "right")
    monkeypatch.setattr(installation, "has_container", lambda name: name.startswith("worker"))
    with pytest.raises(CommandError) as refused:
        call("keys", "--rotate")
    text = str(refused.value)
    assert text.startswith("worker@elsewhere:41 does not have the key new and could not open")
    assert " worker@elsewhere:41 is silent for 3 min, killed or frozen. If none of these runs any more, --ign" in text
    assert "beat@" not in text, "its container was removed"
    monkeypatch.setattr(installation, "has_container", lambda name: False)
    assert "1 key is wrapped by new now" in call("keys", "--rotate")[1]


def test_an_operator_can_rotate_keys_although_a_process_lacks_the_new_one(start: Run, settings: Any) -> None:
    start("right")
    settings.ENCRYPTION_KEYS = make_keyring("new", "right")
    status, printed = call("keys", "--rotate", "--ignore-processes")
    assert (status, "1 key is wrapped by new now" in printed) == (0, True), "it rotated all keys"
    assert call("keys")[0] == 1, "the processes without the key are reported"


def test_while_a_new_key_is_rolled_out_the_processes_without_it_are_a_warning(start: Run, settings: Any) -> None:
    start("right")
    settings.ENCRYPTION_KEYS = make_keyring("new", "right")
    assert (database.keys().level, "they open none" in database.keys().text) == (Level.WARNING, False)
    start("new", "right")
    assert database.keys().level is Level.FINE


def test_processes_of_the_release_before_and_killed_ones_are_not_judged(start: Run) -> None:
    start("wrong", kinds=("web",))
    Heartbeat.objects.update(beat_at="2026-01-01T00:00Z")
    rows.heartbeat("worker")
    assert database.keys().level is Level.FINE


def test_a_heartbeat_says_nothing_about_a_key_but_its_name(start: Run) -> None:
    start("right", "old", kinds=("web",))
    written = Heartbeat.objects.get().key_ids
    assert [each.split()[0] for each in written] == ["right", "old"]
    for name, text in zip(("right", "old"), written, strict=True):
        key = Keyring.parse(make_keyring(name)).keys[name]
        hashed = text.split()[1]
        assert (len(hashed), hashed in key.hex()) == (16, False)


def test_without_processes_keys_reports_another_key_of_the_same_name(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = Keyring.new_text()
    rows.chat(rows.person())
    assert "CRITICAL" not in call("keys")[1]
    settings.ENCRYPTION_KEYS = Keyring.new_text()
    status, printed = call("keys")
    assert (status, "ENCRYPTION_KEYS does not open 1 of 1 chats" in printed) == (2, True)


@pytest.mark.parametrize("variable_of", ["", "command", "up"])
def test_the_remedy_starts_the_processes_with_the_keyring_of_the_command(
    start: Run, monkeypatch: pytest.MonkeyPatch, variable_of: str
) -> None:
    """`up` passes its environment on to the processes that it starts again."""
    monkeypatch.setattr(installation, "kind", lambda: installation.Kind.DEV)
    monkeypatch.setattr(installation, "supervisors", lambda: {"up": os.getpid()})
    monkeypatch.setattr(keyrings, "_is_set_for_up", lambda: variable_of == "up")
    monkeypatch.delenv("ENCRYPTION_KEYS", raising=False)
    if variable_of == "command":
        monkeypatch.setenv("ENCRYPTION_KEYS", make_keyring("right"))
    start("wrong", kinds=("web", "worker"))
    restart = "manage.py workers --restart web && manage.py workers --restart worker"
    remedy = database.keys().remedy
    assert (remedy == restart) is (variable_of == "")
    assert (f"kill {os.getpid()};" in remedy and "./dev up" in remedy) is (variable_of != "")


def test_in_containers_the_remedy_starts_again_what_has_another_environment(
    start: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "kind", lambda: installation.Kind.COMPOSE)
    start("wrong")
    assert database.keys().remedy.startswith("docker-compose up -d  #")

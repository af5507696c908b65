"""A backup can be restored: a check restores it, audits it, and leaves nothing behind. Keys are copied elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError
from django.db import connection

from billing.models import Wallet
from chats.models import Chat
from ops import backups
from ops.checks import upkeep
from relivchats.crypto import keyring, new_data_key
from relivchats.key_store import KeyStore
from relivchats.staff.commands import EXIT_REFUSED
from relivchats.staff.models import AuditEntry
from tests.ops import rows
from tests.ops.test_commands import as_json, call

pytestmark = pytest.mark.django_db(transaction=True)


def scratch_databases() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{backups.SCRATCH}%"])
        return [name for (name,) in cursor.fetchall()]


def test_a_backup_is_restored_into_a_scratch_database_audited_and_dropped(tmp_path: Path) -> None:
    chat = rows.chat(rows.person())
    status, answer = as_json("backup", str(tmp_path / "dumps"), "--keys", str(tmp_path / "keys"), "--reason", "nightly")
    dump = Path(answer["path"])
    assert (status, dump.stat().st_mode & 0o777) == (0, 0o600)
    assert [path.name for path in dump.parent.iterdir()] == [dump.name]
    assert upkeep.backup().text.startswith("the newest dump is "), "health knows of it"
    Chat.objects.filter(pk=chat.pk).delete()
    status, answer = as_json("restore", "--check", str(dump))
    assert status == 0
    assert {row["table"]: row["rows"] for row in answer["rows"]}["chats"] == 1
    assert [line["text"] for line in answer["lines"] if line["name"] == "ledger"] == ["every invariant holds"]
    assert (scratch_databases(), Chat.objects.count()) == ([], 0), "the database in use is as before"
    entry = AuditEntry.objects.get(action="backup")
    assert (entry.object_id, entry.reason) == (dump.name, "nightly")
    # A ledger that was broken when it was dumped is reported.
    Wallet.objects.update(balance=7)
    status, answer = as_json("restore", "--check", as_json("backup", str(tmp_path / "dumps"))[1]["path"])
    assert (status, [line["name"] for line in answer["lines"] if line["level"] == "critical"]) == (2, ["ledger 1"])
    whole = dump.read_bytes()
    dump.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CommandError, match="pg_restore"):
        call("restore", "--check", str(dump))
    assert scratch_databases() == []
    with pytest.raises(CommandError, match="There is no file"):
        call("restore", "--check", str(tmp_path / "missing"))


@pytest.fixture
def store(tmp_path: Path, settings: Any) -> KeyStore:
    settings.KEY_STORE_DIR = str(tmp_path / "store")
    made = KeyStore(tmp_path / "store", keyring())
    made.create()
    return made


def add_key(store: KeyStore) -> Chat:
    chat = rows.chat(rows.person())
    store.wrap(new_data_key(), chat_id=chat.pk, context="chat")
    return chat


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_copy_of_the_key_store_follows_it_and_forgets_deleted_chats(store: KeyStore, tmp_path: Path) -> None:
    deleted, kept = add_key(store), add_key(store)
    copy = tmp_path / "copy"
    backups.copy_keys(store, copy)
    assert files(copy) == files(store.directory)
    store.destroy(deleted.pk)
    deleted.delete()
    assert backups.copy_keys(store, copy).text.endswith("0 files copied, 1 of deleted chats removed")
    assert files(copy) == files(store.directory)
    # What the store lost is not removed from its only copy.
    os.unlink(store.directory / str(kept.pk)[:2] / str(kept.pk))
    assert backups.copy_keys(store, copy).level == "critical"
    assert str(kept.pk) in files(copy)


def test_keys_are_copied_to_a_place_of_their_own_only(store: KeyStore, tmp_path: Path) -> None:
    other = tmp_path / "documents"
    other.mkdir()
    (other / str(uuid4())).write_text("a letter")
    for refused in (other, store.directory, store.directory / "copy"):
        with pytest.raises(CommandError):
            call("backup", str(tmp_path / "dumps"), "--keys", str(refused))
    assert len(files(other)) == 1
    dumps = tmp_path / "apart"
    for inside in (dumps, dumps / "keys"):
        with pytest.raises(CommandError, match="apart"):
            call("backup", str(dumps), "--keys", str(inside))
    assert not dumps.exists()


@pytest.mark.parametrize("keys", [False, True], ids=["dump", "keys"])
def test_a_place_that_cannot_be_written_to_is_refused_in_a_sentence(
    tmp_path: Path, store: KeyStore, keys: bool
) -> None:
    add_key(store)
    (tmp_path / "file").write_text("")
    for place, sentence in (
        ("/proc/nope", r"^/proc/nope cannot be created: No such file or directory\.$"),
        (str(tmp_path / "file"), "is no directory"),
        (str(tmp_path / "file" / "below"), "cannot be created: Not a directory"),
    ):
        words = (str(tmp_path / "dumps"), "--keys", place) if keys else (place,)
        with pytest.raises(CommandError, match=sentence) as refusal:
            call("backup", *words)
        assert refusal.value.returncode == EXIT_REFUSED
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("content", [b"", b"root:x:0:0", b"PGDM"], ids=["empty", "text", "short"])
def test_a_file_that_is_no_dump_is_refused_before_a_database_is_created(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=r"passwd is no dump of manage\.py backup\.$"):
        call("restore", "--check", str(path))


def test_an_error_of_pg_restore_names_the_program_once(tmp_path: Path) -> None:
    path = tmp_path / "broken.dump"
    path.write_bytes(backups.MAGIC + b"\x01" * 100)
    with pytest.raises(CommandError, match=r"^pg_restore: (?!pg_restore)") as failed:
        call("restore", "--check", str(path))
    assert failed.value.returncode == 2
    assert scratch_databases() == []

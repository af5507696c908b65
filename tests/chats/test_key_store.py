"""Once a chat is deleted, no copy of its rows opens. Until then its key is never removed."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Now

from chats import bulk_copy, data_keys, importing, indexing, keys, points
from chats.data_keys import StorageFull, StorageUnavailable
from chats.erasure import erase
from chats.importing import import_chat
from chats.key_models import KeyDestruction, KeyStoreIdentity
from chats.models import Chat, TranscriptBlock, VectorMatrix
from chats.transcript import read_page
from chats.vectors import load_float16
from ops.checks import get_check
from relivchats.accounts.models import User
from relivchats.crypto import CannotOpen, Keyring, keyring
from relivchats.errors import Conflict
from relivchats.key_store import KeyFileMissing, KeyStore, StoreUnavailable, is_in_store
from relivchats.staff.models import AuditEntry
from tests import exports
from tests.api.conftest import Api
from tests.chats import samples
from tests.chats.test_keys import make_keyring
from tests.concurrency import BackgroundCall, call_at_once, is_a_lock_awaited
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually

pytestmark = pytest.mark.django_db(transaction=True)

WAYS: dict[str, Callable[[Chat], object]] = {
    "erase": erase,
    "queryset": lambda chat: Chat.objects.filter(pk=chat.pk).delete(),
    "owner": lambda chat: chat.owner.delete(),
}

ERASE = ("--erase-unreadable", "--reason", "restored", "--yes")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Path:
    """The directory of the key store, which the first import creates."""
    KeyStoreIdentity.objects.all().delete()
    monkeypatch.setattr(keys._Checked, "done", False)
    settings.ENCRYPTION_KEYS = make_keyring("old")
    settings.KEY_STORE_DIR = str(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def person() -> User:
    return samples.person()


def add_chat(owner: User, *, seed: int = 1) -> Chat:
    return import_chat(owner=owner, upload=exports.text(30, seed=seed))


def add_chat_without_store(owner: User, settings: Any, *, seed: int = 1) -> Chat:
    """A chat from before there was a key store."""
    directory, settings.KEY_STORE_DIR = settings.KEY_STORE_DIR, ""
    chat = add_chat(owner, seed=seed)
    settings.KEY_STORE_DIR = directory
    return chat


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("??/*")}


def delete(chat: Chat) -> None:
    """Erase the chat, and leave the object as it is."""
    erase(Chat.objects.get(pk=chat.pk))


def become_another_database() -> None:
    """Delete all rows as if they had never been in this database."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data_keys, "request_destruction", lambda chat: None)
        Chat.objects.all().delete()
    KeyStoreIdentity.objects.all().delete()


def make_unreadable(directory: Path, chat_id: UUID) -> None:
    """Put something in the place of the file that can be neither read nor overwritten, also by root."""
    path = directory / str(chat_id)[:2] / str(chat_id)
    path.unlink()
    path.mkdir()


def make_due() -> None:
    KeyDestruction.objects.update(due_at=Now() - timedelta(seconds=1))


def run(*arguments: str, command: str = "keys") -> tuple[str, int]:
    out = io.StringIO()
    try:
        call_command(command, *arguments, stdout=out, stderr=io.StringIO())
    except SystemExit as stopped:
        return out.getvalue(), int(stopped.code or 0)
    return out.getvalue(), 0


@pytest.mark.parametrize("way", WAYS)
def test_after_a_deletion_a_copy_of_the_rows_does_not_open(person: User, directory: Path, way: str) -> None:
    chat, kept = add_chat(person), add_chat(samples.person(), seed=2)
    indexing.request(chat)
    assert indexing.index_chat(chat.pk)
    # What a backup, a replica or the write-ahead log has.
    row = Chat.objects.get(pk=chat.pk)
    parts = [*TranscriptBlock.objects.filter(chat=chat), VectorMatrix.objects.get(chat=chat)]
    assert files(directory) == {str(chat.pk), str(kept.pk)}
    WAYS[way](Chat.objects.get(pk=chat.pk))
    assert files(directory) == {str(kept.pk)}
    assert not KeyDestruction.objects.exists()

    row.owner = samples.person()
    row.save(force_insert=True)
    for part in parts:
        part.save(force_insert=True)
    copy = Chat.objects.get(pk=chat.pk)
    for read in (
        lambda: copy.title,
        lambda: copy.statistics,
        lambda: read_page(copy, limit=1),
        lambda: load_float16(copy, engine=copy.index_engine),
    ):
        with pytest.raises(KeyFileMissing):
            read()
    assert not copy.is_openable
    assert Chat.objects.get(pk=kept.pk).title == kept.title


def test_a_key_that_is_not_destroyed_at_the_deletion_is_destroyed_later(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, kept = add_chat(person), add_chat(person, seed=2)
    with monkeypatch.context() as killed:
        killed.setattr(data_keys, "destroy_if_possible", lambda chat_id: None)
        delete(chat)
    assert files(directory) == {str(chat.pk), str(kept.pk)}
    assert data_keys.destroy_due() == 1
    assert files(directory) == {str(kept.pk)}
    assert data_keys.destroy_due() == 0


def test_a_process_that_is_killed_before_its_commit_destroys_the_key_again(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = add_chat(person)
    destroy = KeyStore.destroy

    def destroy_and_stop(store: KeyStore, chat_id: Any) -> None:
        destroy(store, chat_id)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(KeyStore, "destroy", destroy_and_stop)
        with pytest.raises(KeyboardInterrupt):
            delete(chat)
    assert not Chat.objects.exists()
    assert (data_keys.destroy_due(), files(directory), KeyDestruction.objects.count()) == (1, set(), 0)


def test_a_deletion_that_is_rolled_back_keeps_the_key(person: User, directory: Path) -> None:
    chat = add_chat(person)
    with transaction.atomic():
        delete(chat)
        transaction.set_rollback(True)
    make_due()
    assert data_keys.destroy_due() == 0
    assert Chat.objects.get().title == chat.title


def test_the_key_of_an_import_that_failed_is_destroyed(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as failing:
        failing.setattr(importing, "copy_rows", fail)
        with pytest.raises(RuntimeError):
            add_chat(person)
    assert len(files(directory)) == 1
    assert data_keys.destroy_due() == 0, "an import has an hour"
    other = add_chat(person)
    make_due()
    assert (data_keys.destroy_due(), files(directory)) == (1, {str(other.pk)})


def test_an_import_that_stores_its_chat_now_keeps_its_key(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, released = threading.Event(), threading.Event()

    def wait(*arguments: Any) -> None:
        reached.set()
        assert released.wait(PATIENCE_SECONDS)
        bulk_copy.copy_rows(*arguments)

    def be_late(key: Any, **options: Any) -> bytes:
        wrapped = wrap_new(key, **options)
        make_due()
        return wrapped

    wrap_new = data_keys.wrap_new
    monkeypatch.setattr(data_keys, "wrap_new", be_late)
    monkeypatch.setattr(importing, "copy_rows", wait)
    upload = BackgroundCall(lambda: add_chat(person))
    assert reached.wait(PATIENCE_SECONDS)
    assert data_keys.destroy_due() == 0
    released.set()
    chat = upload.result()
    assert (data_keys.destroy_due(), files(directory)) == (0, {str(chat.pk)})
    assert Chat.objects.get().title == chat.title


def test_an_import_whose_key_was_destroyed_stores_nothing(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def be_too_late(key: Any, **options: Any) -> bytes:
        wrapped = wrap_new(key, **options)
        make_due()
        assert data_keys.destroy_due() == 1
        return wrapped

    wrap_new = data_keys.wrap_new
    monkeypatch.setattr(data_keys, "wrap_new", be_too_late)
    with pytest.raises(StorageUnavailable):
        add_chat(person)
    assert not Chat.objects.exists()


def test_a_key_is_stored_only_where_its_row_is_committed_first(person: User) -> None:
    chat = add_chat(person)
    with transaction.atomic(), pytest.raises(RuntimeError):
        data_keys.wrap_new(chat.key, chat_id=uuid4(), context="c")


def test_keys_are_destroyed_in_batches_each_with_its_own_row(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = sorted((add_chat(person, seed=seed) for seed in (1, 2)), key=lambda chat: chat.pk)
    with monkeypatch.context() as killed:
        killed.setattr(data_keys, "destroy_if_possible", lambda chat_id: None)
        for chat in chats:
            delete(chat)
    KeyDestruction.objects.filter(pk=chats[1].pk).update(due_at=Now() - timedelta(hours=1))
    monkeypatch.setattr(data_keys, "BATCH_ROWS", 1)
    assert data_keys.destroy_due() == 1
    assert files(directory) == {str(chats[0].pk)}
    assert KeyDestruction.objects.get().pk == chats[0].pk
    data_keys.destroy_due_if_possible()
    assert (files(directory), KeyDestruction.objects.count()) == (set(), 0)


def test_a_chat_outside_the_key_store_leaves_nothing_to_destroy(person: User, directory: Path, settings: Any) -> None:
    chat = add_chat_without_store(person, settings)
    delete(chat)
    assert not KeyDestruction.objects.exists()
    assert not directory.exists()


def test_the_file_of_a_chat_whose_row_was_damaged_is_destroyed(person: User, directory: Path) -> None:
    chat = add_chat(person)
    Chat.objects.filter(pk=chat.pk).update(wrapped_key=b"\x04lost" + b"x" * 60)
    delete(chat)
    assert (files(directory), KeyDestruction.objects.count()) == (set(), 0)


def test_a_database_from_before_its_key_store_knows_it_again(person: User, directory: Path) -> None:
    chats = [add_chat(person, seed=seed) for seed in (1, 2, 3)]
    identity = KeyStoreIdentity.objects.get().identity
    KeyStoreIdentity.objects.all().delete()
    delete(chats[0])
    assert KeyStoreIdentity.objects.get().identity == identity
    assert files(directory) == {str(chat.pk) for chat in chats[1:]}
    KeyStoreIdentity.objects.all().delete()
    added = add_chat(person, seed=4)
    assert KeyStoreIdentity.objects.get().identity == identity

    KeyStoreIdentity.objects.all().delete()
    away = directory.rename(directory.with_name("away"))
    delete(chats[1])
    data_keys.destroy_if_possible(chats[1].pk)
    assert (data_keys.destroy_due(), directory.exists()) == (0, False)
    away.rename(directory)
    assert data_keys.destroy_due() == 1
    assert files(directory) == {str(chats[2].pk), str(added.pk)}


def test_a_new_database_does_not_take_the_key_store_of_another(person: User, directory: Path, settings: Any) -> None:
    chats = [add_chat(person, seed=seed) for seed in (1, 2, 3)]
    become_another_database()
    add_chat_without_store(samples.person(), settings)
    with pytest.raises(StorageUnavailable):
        add_chat(samples.person())
    for arguments in ((), ("--remove-unused",)):
        text, status = run(*arguments)
        assert ("the key store of another one" in text, status) == (True, 2)
    assert files(directory) == {str(chat.pk) for chat in chats}
    settings.KEY_STORE_DIR = str(directory.with_name("own"))
    assert add_chat(samples.person()).title


def test_most_files_of_a_store_are_removed_only_if_their_number_is_confirmed(person: User, directory: Path) -> None:
    for seed in (1, 2):
        add_chat(person, seed=seed)
    row = KeyStoreIdentity.objects.get()
    become_another_database()
    row.save(force_insert=True)
    kept = add_chat(samples.person())
    for arguments in ((), ("--files", "1")):
        with pytest.raises(CommandError, match=r"2 files, which are most .* --files 2"):
            run("--remove-unused", *arguments)
    assert len(files(directory)) == 3
    assert run("--remove-unused", "--files", "2")[1] == 0
    assert files(directory) == {str(kept.pk)}


def test_an_older_database_rotates_without_closing_the_newer_one(person: User, directory: Path, settings: Any) -> None:
    chat = add_chat_without_store(person, settings)
    older = bytes(Chat.objects.get(pk=chat.pk).wrapped_key)
    keys.rotate()
    newer = bytes(Chat.objects.get(pk=chat.pk).wrapped_key)
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    Chat.objects.filter(pk=chat.pk).update(wrapped_key=older)
    assert keys.rotate().rotated == 1
    settings.ENCRYPTION_KEYS = make_keyring("new")
    assert Chat.objects.get(pk=chat.pk).title == chat.title
    Chat.objects.filter(pk=chat.pk).update(wrapped_key=newer)
    assert Chat.objects.get(pk=chat.pk).title == chat.title


def test_one_file_that_cannot_be_removed_does_not_keep_the_others(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [add_chat(person, seed=seed) for seed in (1, 2, 3)]
    with monkeypatch.context() as killed:
        killed.setattr(data_keys, "destroy_if_possible", lambda chat_id: None)
        for chat in chats:
            delete(chat)
    first = KeyDestruction.objects.order_by("due_at")[0].pk
    make_unreadable(directory, first)
    with pytest.raises(StoreUnavailable):
        data_keys.destroy_due()
    # What runs after a deletion and what beat runs leave it to the next time.
    data_keys.destroy_if_possible(first)
    data_keys.destroy_due_if_possible()
    assert (files(directory), KeyDestruction.objects.get().pk) == ({str(first)}, first)


def test_one_file_that_cannot_be_read_stops_neither_a_survey_nor_a_rotation(
    person: User, directory: Path, settings: Any
) -> None:
    closed, *others = (add_chat(person, seed=seed) for seed in (1, 2, 3))
    make_unreadable(directory, closed.pk)
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    text, status = run()
    assert (f"the files of 1 chat cannot be read, such as {closed.pk}" in text, status) == (True, 2)
    assert keys.rotate() == keys.Rotation(rotated=2, unreadable=1)
    settings.ENCRYPTION_KEYS = make_keyring("new")
    assert [Chat.objects.get(pk=chat.pk).title for chat in others] == [chat.title for chat in others]


def test_an_error_after_a_deletion_neither_reaches_the_caller_nor_skips_what_follows(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2):
        add_chat(person, seed=seed)
    called: list[str] = []

    def fail(name: str) -> None:
        called.append(name)
        raise OperationalError

    with monkeypatch.context() as failing:
        failing.setattr(points, "request_removal", lambda chat_id: fail("vectors"))
        failing.setattr(data_keys, "open_store", lambda: fail("key"))
        Chat.objects.filter(owner=person).delete()
    assert sorted(called) == ["key", "key", "vectors", "vectors"]
    assert (data_keys.destroy_due(), files(directory)) == (2, set())


def test_the_key_of_an_import_that_ran_during_a_backup_is_kept_after_the_documented_restore(
    person: User, directory: Path
) -> None:
    """The row of the import is in the backup; the chat is in a newer copy only."""
    add_chat(person)
    chat_id = uuid4()
    data_keys.wrap_new(Chat.objects.get().key, chat_id=chat_id, context="c")
    KeyDestruction.objects.all().delete()
    assert "`DELETE FROM key_destructions`" in (REPOSITORY / "docs/operations.md").read_text()
    assert data_keys.destroy_due() == 0
    assert keys.survey().unused_files == [chat_id]


def test_the_key_of_a_stored_chat_is_never_destroyed(person: User, directory: Path) -> None:
    chat = add_chat(person)
    KeyDestruction.objects.create(chat_id=chat.pk, due_at=Now() - timedelta(hours=1))
    assert (data_keys.destroy_due(), KeyDestruction.objects.count()) == (0, 0)
    assert files(directory) == {str(chat.pk)}


def test_a_rotation_does_not_write_the_file_of_a_chat_that_is_deleted_meanwhile(
    person: User, directory: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = add_chat(person)
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    store, deletions = KeyStore._store, []

    def delete_meanwhile(*arguments: Any) -> None:
        deletions.append(BackgroundCall(lambda: delete(chat)))
        eventually(is_a_lock_awaited)
        store(*arguments)

    monkeypatch.setattr(KeyStore, "_store", delete_meanwhile)
    assert keys.rotate().rotated == 1
    assert deletions[0].result() is None
    assert files(directory) == set()


@pytest.mark.parametrize("replacement", ["nothing", "empty directory", "store of another database"])
def test_without_its_key_store_nothing_is_sealed_replaced_or_removed(
    person: User, directory: Path, replacement: str
) -> None:
    chat, deleted = add_chat(person), add_chat(person, seed=2)
    keys._Checked.done = False
    away = directory.rename(directory.with_name("away"))
    if replacement == "empty directory":
        directory.mkdir()
    if replacement == "store of another database":
        KeyStore(directory, Keyring.parse(make_keyring("old"))).create()
    present = sorted(directory.rglob("*"))
    with pytest.raises(StorageUnavailable):
        add_chat(person, seed=3)
    assert not Chat.objects.get(pk=chat.pk).is_openable
    line = get_check("keys").run()
    assert (line.level, str(directory) in line.remedy) == ("critical", True)
    assert Api(person).get(f"/api/chats/{chat.pk}")["is_key_gone"] is False
    problem = Api(person).get(f"/api/chats/{chat.pk}/messages", status=503)
    assert "Nothing is lost" in problem["detail"]
    for arguments in ((), ("--rotate",), ("--remove-unused",), ERASE):
        text, status = run(*arguments)
        assert (str(directory) in text, status) == (True, 2)
    delete(deleted)
    with pytest.raises(StoreUnavailable):
        data_keys.destroy_due()
    data_keys.destroy_due_if_possible()
    assert sorted(directory.rglob("*")) == present

    for path in reversed(present):
        path.rmdir() if path.is_dir() else path.unlink()
    if directory.exists():
        directory.rmdir()
    away.rename(directory)
    assert Chat.objects.get(pk=chat.pk).title == chat.title
    assert data_keys.destroy_due() == 1, "the key of the chat that was deleted meanwhile"
    assert files(directory) == {str(chat.pk)}
    assert get_check("keys").run().level == "fine"
    assert add_chat(person, seed=3).title


def test_a_database_that_has_a_key_store_does_not_run_without_one(person: User, settings: Any) -> None:
    add_chat(person)
    settings.KEY_STORE_DIR = ""
    with pytest.raises(StorageUnavailable):
        add_chat(person, seed=2)
    chat = Chat.objects.get()
    assert (chat.is_openable, chat.is_key_gone) == (False, False)
    line = get_check("keys").run()
    assert (line.level, "KEY_STORE_DIR is not set" in line.text) == ("critical", True)


def test_a_full_disk_of_the_key_store_pauses_uploads(
    person: User, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_chat(person)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys._Checked, "done", False)
    with monkeypatch.context() as full:
        full.setattr("relivchats.key_store.os.fsync", fail)
        with pytest.raises(StorageFull):
            add_chat(person, seed=2)
    assert Chat.objects.count() == 1
    assert add_chat(person, seed=2).title


@pytest.mark.parametrize(
    ("number", "reason", "title"),
    [
        (errno.ENOSPC, "storage-full", "The storage is full"),
        (errno.EDQUOT, "storage-full", "The storage is full"),
        (errno.EROFS, "storage-unavailable", "The storage is not available"),
    ],
    ids=["disk full", "over quota", "read-only"],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first chat", "later chat"])
def test_a_key_that_cannot_be_written_is_reported_as_the_storage_and_not_as_the_keys(
    person: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    reason: str,
    title: str,
    is_first: bool,
) -> None:
    if not is_first:
        add_chat(person)

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("relivchats.key_store.os.fsync", fail)
    problem = Api(person).upload(exports.text(30, seed=2), status=503)
    assert (problem["type"], problem["title"]) == (f"urn:relivchats:problem:{reason}", title)
    assert (problem["retry_after_seconds"], "Nothing is lost" in problem["detail"]) == (60, True)
    text, status = run(command="uploads")
    assert (title in text, status) == (True, 1)
    events = [record.getMessage() for record in caplog.records if record.name.startswith("chats.")]
    what = "the disk of the key store is full" if reason == "storage-full" else "the key store is not available"
    assert events[-2:] == [f"uploads are paused: {what}", "upload failed"]


def test_processes_that_start_together_create_one_key_store(directory: Path) -> None:
    stores = call_at_once([lambda: data_keys.open_store(create=True)] * 4)
    assert all(isinstance(store, KeyStore) for store in stores)
    assert {store.identity() for store in stores} == {KeyStoreIdentity.objects.get().identity}


def test_a_database_without_a_chat_needs_no_key_store(directory: Path) -> None:
    assert data_keys.open_store() is None
    line = get_check("keys").run()
    assert (line.level, line.text) == ("fine", "no chat yet")
    assert not directory.exists()


def test_a_rotation_moves_earlier_chats_into_the_key_store_and_seals_its_files_again(
    person: User, directory: Path, settings: Any
) -> None:
    earlier = add_chat_without_store(person, settings)
    chat = add_chat(person, seed=2)
    rows = dict(Chat.objects.values_list("pk", "wrapped_key"))
    assert Chat.objects.get(pk=earlier.pk).title == earlier.title
    text, status = run()
    assert ("1 chat is not in it yet" in text, "keys --rotate" in text, status) == (True, True, 1)

    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    text, status = run()
    assert ("2 chats need an old key" in text, status) == (True, 1)
    text, status = run("--rotate")
    assert ("2 keys are wrapped by new now" in text, "a file for each of 2 chats" in text, status) == (True, True, 0)
    settings.ENCRYPTION_KEYS = make_keyring("new")
    for each in (earlier, chat):
        assert Chat.objects.get(pk=each.pk).title == each.title
    moved = dict(Chat.objects.values_list("pk", "wrapped_key"))
    assert (is_in_store(rows[earlier.pk]), is_in_store(moved[earlier.pk])) == (False, True)
    assert bytes(moved[chat.pk]) == bytes(rows[chat.pk])
    assert keys.rotate() == keys.Rotation(), "a second rotation changes nothing"
    delete(earlier)
    assert files(directory) == {str(chat.pk)}


def test_a_rotation_that_was_killed_is_continued(
    person: User, directory: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [add_chat_without_store(person, settings), *(add_chat(person, seed=seed) for seed in (2, 3))]
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    replace = Path.replace
    done: list[Path] = []

    def stop(path: Path, target: Path) -> None:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(replace(path, target))

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            keys.rotate()
    assert len([name for name in files(directory) if name.endswith(".new")]) == 1
    for chat in chats:
        assert Chat.objects.get(pk=chat.pk).title == chat.title
    assert keys.rotate().rotated == 2
    settings.ENCRYPTION_KEYS = make_keyring("new")
    for chat in chats:
        assert Chat.objects.get(pk=chat.pk).title == chat.title
    assert files(directory) == {str(chat.pk) for chat in chats}


def test_a_chat_that_does_not_open_is_kept_as_it_is(person: User, directory: Path, settings: Any) -> None:
    damaged, lost, kept = (add_chat(person, seed=seed) for seed in (1, 2, 3))
    path = directory / str(damaged.pk)[:2] / str(damaged.pk)
    path.write_bytes(b"\x03old" + b"x" * 60)
    (directory / str(lost.pk)[:2] / str(lost.pk)).unlink()
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    assert keys.rotate() == keys.Rotation(rotated=1, unreadable=2)
    assert path.read_bytes() == b"\x03old" + b"x" * 60
    assert Chat.objects.get(pk=kept.pk).title == kept.title


@pytest.fixture
def older_database(person: User, monkeypatch: pytest.MonkeyPatch) -> tuple[Chat, Chat, Chat]:
    """A chat, one that was deleted after the backup that is now restored, and one that was added since."""
    kept, deleted, added = (add_chat(person, seed=seed) for seed in (1, 2, 3))
    row = Chat.objects.get(pk=deleted.pk)
    delete(deleted)
    with monkeypatch.context() as restoring:
        restoring.setattr(data_keys, "request_destruction", lambda chat: None)
        delete(added)
    row.save(force_insert=True)
    return kept, row, added


def test_a_restored_database_reports_what_differs_and_removes_nothing(
    older_database: tuple[Chat, Chat, Chat], directory: Path
) -> None:
    kept, deleted, added = older_database
    line = get_check("keys").run()
    assert (line.level, str(deleted.pk) in line.text) == ("critical", True)
    assert ("keys --erase-unreadable" in line.remedy, "docs/operations.md, Backups" in line.remedy) == (True, True)
    text, status = run()
    assert ("1 of 2 chats lack their file" in text, str(deleted.pk) in text, status) == (True, True, 2)
    assert data_keys.destroy_due() == 0
    assert files(directory) == {str(kept.pk), str(added.pk)}

    delete(deleted)
    text, status = run()
    assert ("1 file belongs to no chat" in text, status) == (True, 1)
    upcoming = add_chat(kept.owner, seed=4)
    text, status = run("--remove-unused")
    assert ("1 file" in text, status) == (True, 0)
    assert files(directory) == {str(kept.pk), str(upcoming.pk)}
    assert Chat.objects.get(pk=kept.pk).title == kept.title


def test_the_owner_sees_that_a_chat_without_its_file_can_only_be_deleted(
    older_database: tuple[Chat, Chat, Chat],
) -> None:
    kept, deleted, _ = older_database
    api = Api(kept.owner)
    listed = {chat["id"]: (chat["is_openable"], chat["is_key_gone"]) for chat in api.get("/api/chats")["results"]}
    assert listed == {str(kept.pk): (True, False), str(deleted.pk): (False, True)}
    problem = api.get(f"/api/chats/{deleted.pk}/messages", status=410)
    assert problem["type"] == "urn:relivchats:problem:chat-key-gone"
    assert ("Nothing is lost" in problem["detail"], "You can delete the chat" in problem["detail"]) == (False, True)
    api.delete(f"/api/chats/{deleted.pk}", status=204)
    assert get_check("keys").run().level == "fine"


def test_chats_without_their_file_are_listed_and_then_erased_for_a_reason(
    older_database: tuple[Chat, Chat, Chat], directory: Path
) -> None:
    kept, deleted, added = older_database
    with pytest.raises(CommandError, match="needs a reason"):
        run("--erase-unreadable", "--yes")
    text, status = run("--erase-unreadable", "--reason", "restored")
    assert (str(deleted.pk) in text, str(kept.pk) in text, status) == (True, False, 1)
    assert Chat.objects.count() == 2, "listing erases nothing"
    text, status = run(*ERASE)
    assert (str(deleted.pk) in text, status) == (True, 0)
    assert Chat.objects.get().title == kept.title
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id) == ("erase unreadable chat", str(deleted.pk))
    assert (entry.reason, entry.done, entry.outcome) == ("restored", True, "erased")
    assert files(directory) == {str(kept.pk), str(added.pk)}
    assert get_check("keys").run().level == "fine"
    assert run(*ERASE)[1] == 0, "nothing is left to erase"


def test_a_store_that_lost_most_of_its_files_is_no_reason_to_erase_chats(person: User, directory: Path) -> None:
    chats = [add_chat(person, seed=seed) for seed in (1, 2, 3)]
    for chat in chats[:2]:
        (directory / str(chat.pk)[:2] / str(chat.pk)).unlink()
    with pytest.raises(CommandError, match="Restore it from a copy"):
        run(*ERASE)
    assert (Chat.objects.count(), AuditEntry.objects.exists()) == (3, False)
    assert "erase" not in run()[0]


def test_a_chat_whose_file_is_there_again_is_not_erased(
    older_database: tuple[Chat, Chat, Chat], directory: Path
) -> None:
    kept, deleted, _ = older_database
    outside = add_chat(kept.owner, seed=5)
    wrapped = keyring().wrap(outside.key, context=outside.context("key"))
    Chat.objects.filter(pk=outside.pk).update(wrapped_key=wrapped)
    (directory / str(outside.pk)[:2] / str(outside.pk)).unlink()
    for chat in (kept, outside):
        with pytest.raises(Conflict):
            keys.erase_without_file(chat)
    away = directory.rename(directory.with_name("away"))
    with pytest.raises(Conflict):
        keys.erase_without_file(deleted)
    away.rename(directory)
    assert keys.erase_without_file(deleted) == "erased"
    assert keys.erase_without_file(deleted) == "it was deleted meanwhile"
    assert Chat.objects.count() == 2


def test_uploads_go_on_after_a_restore_in_which_the_newest_chats_lack_their_files(
    person: User, directory: Path
) -> None:
    chat = add_chat(person)
    (directory / str(chat.pk)[:2] / str(chat.pk)).unlink()
    keys._Checked.done = False
    assert add_chat(person, seed=2).title


def test_a_file_of_a_running_import_is_not_unused(person: User, directory: Path) -> None:
    add_chat(person)
    chat_id = uuid4()
    data_keys.wrap_new(Chat.objects.get().key, chat_id=chat_id, context="c")
    assert keys.survey().unused_files == []
    assert keys.remove_unused() == 0
    data_keys.destroy_if_possible(chat_id)
    assert str(chat_id) in files(directory)


def test_health_reports_keys_that_are_not_destroyed(person: User) -> None:
    add_chat(person)
    KeyDestruction.objects.create(chat_id=uuid4(), due_at=Now())
    assert get_check("keys").run().level == "fine"
    KeyDestruction.objects.update(due_at=F("due_at") - timedelta(minutes=11))
    line = get_check("keys").run()
    assert (line.level, "1 key of deleted chats not destroyed yet" in line.text) == ("warning", True)


def test_a_file_that_was_swapped_does_not_open_another_chat(person: User, directory: Path) -> None:
    one, other = add_chat(person), add_chat(person, seed=2)
    (directory / str(one.pk)[:2] / str(one.pk)).replace(directory / str(other.pk)[:2] / str(other.pk))
    with pytest.raises(CannotOpen):
        _ = Chat.objects.get(pk=other.pk).title

"""A key of the key store opens its own chat until it is destroyed, and no longer."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from relivchats.crypto import KEY_BYTES, CannotOpen, DataKey, Keyring, new_data_key
from relivchats.key_store import KeyFileMissing, KeyStore, StoreUnavailable, is_in_store

OLD = Keyring.parse("k1:" + base64.b64encode(b"1" * KEY_BYTES).decode())
BOTH = Keyring({"k2": b"2" * KEY_BYTES, **OLD.keys})
NEW = Keyring({"k2": b"2" * KEY_BYTES})


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys", OLD)
    store.create()
    return store


def wrap(store: KeyStore, chat_id: UUID) -> tuple[bytes, bytes]:
    """Return a new data key, wrapped by the store, and a text that it sealed."""
    key = new_data_key()
    return store.wrap(key, chat_id=chat_id, context="c"), key.seal(b"text", context="here")


def unwrap(store: KeyStore, chat_id: UUID, wrapped: bytes) -> DataKey:
    return store.unwrap(wrapped, chat_id=chat_id, context="c")


def file_of(store: KeyStore, chat_id: UUID) -> Path:
    return next(path for path in store.directory.rglob(str(chat_id)))


def test_a_data_key_survives_being_wrapped(store: KeyStore) -> None:
    chat_id = uuid4()
    wrapped, sealed = wrap(store, chat_id)
    assert is_in_store(wrapped)
    assert unwrap(store, chat_id, wrapped).open(sealed, context="here") == b"text"


def test_after_the_destruction_neither_the_row_nor_the_keyring_opens_it(store: KeyStore) -> None:
    chat_id, other = uuid4(), uuid4()
    wrapped, sealed = wrap(store, chat_id)
    kept, _ = wrap(store, other)
    content = file_of(store, chat_id).read_bytes()
    store.destroy(chat_id)
    with pytest.raises(KeyFileMissing):
        unwrap(store, chat_id, wrapped)
    for context in ("c", f"key store:{chat_id}"):
        with pytest.raises(CannotOpen):
            OLD.unwrap(wrapped, context=context)
    # Only a copy of the file would: the backup that docs/operations.md keeps briefly.
    own = OLD.unwrap(content, context=f"key store:{chat_id}")
    assert own.unwrap(wrapped[1:], context="c").open(sealed, context="here") == b"text"
    unwrap(store, other, kept)


def test_a_file_is_overwritten_before_it_is_removed(store: KeyStore) -> None:
    chat_id = uuid4()
    wrap(store, chat_id)
    before = file_of(store, chat_id).read_bytes()
    link = store.directory / "link"
    link.hardlink_to(file_of(store, chat_id))
    store.destroy(chat_id)
    assert len(link.read_bytes()) == len(before)
    assert link.read_bytes() != before


def test_a_draft_of_a_killed_rotation_is_destroyed_too(store: KeyStore) -> None:
    chat_id = uuid4()
    wrap(store, chat_id)
    path = file_of(store, chat_id)
    path.with_name(f"{path.name}.new").write_bytes(path.read_bytes())
    path.with_name(".nfs0000000000000001").write_bytes(b"")
    assert store.key_names(str(chat_id)[:2]) == {chat_id: "k1"}
    store.destroy(chat_id)
    assert [left.name for left in path.parent.iterdir()] == [".nfs0000000000000001"]


def test_destroying_a_key_twice_changes_nothing(store: KeyStore) -> None:
    chat_id = uuid4()
    wrap(store, chat_id)
    store.destroy(chat_id)
    store.destroy(chat_id)


def test_a_file_does_not_open_for_another_chat(store: KeyStore) -> None:
    one, other = uuid4(), uuid4()
    wrapped, _ = wrap(store, one)
    wrap(store, other)
    file_of(store, one).replace(file_of(store, other))
    with pytest.raises(CannotOpen):
        unwrap(store, other, wrapped)


@pytest.mark.parametrize("content", [b"", b"\x02k1", b"\x02k1" + b"x" * 60, b"\x02k9" + b"x" * 60])
def test_a_damaged_file_is_reported_as_one_that_does_not_open(store: KeyStore, content: bytes) -> None:
    chat_id = uuid4()
    wrapped, _ = wrap(store, chat_id)
    file_of(store, chat_id).write_bytes(content)
    with pytest.raises(CannotOpen):
        unwrap(store, chat_id, wrapped)


def test_a_file_that_cannot_be_read_is_reported_as_missing(store: KeyStore) -> None:
    chat_id = uuid4()
    wrapped, _ = wrap(store, chat_id)
    path = file_of(store, chat_id)
    path.unlink()
    path.mkdir()
    with pytest.raises(KeyFileMissing, match="cannot be read"):
        unwrap(store, chat_id, wrapped)


def test_a_store_lacks_only_what_it_was_asked_for_while_it_is_there(store: KeyStore) -> None:
    chat_id = uuid4()
    assert store.lacks(chat_id)
    wrap(store, chat_id)
    assert not store.lacks(chat_id)
    path = file_of(store, chat_id)
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(StoreUnavailable):
        store.lacks(chat_id)


def test_a_rotation_seals_the_file_again_and_leaves_the_row(store: KeyStore) -> None:
    chat_id = uuid4()
    wrapped, sealed = wrap(store, chat_id)
    rotating = KeyStore(store.directory, BOTH)
    assert rotating.seal_again(chat_id)
    assert not rotating.seal_again(chat_id), "there is nothing left to do"
    after = KeyStore(store.directory, NEW)
    assert unwrap(after, chat_id, wrapped).open(sealed, context="here") == b"text"
    with pytest.raises(KeyFileMissing):
        rotating.seal_again(uuid4())


def test_a_store_and_its_files_are_private_to_their_owner(store: KeyStore) -> None:
    chat_id = uuid4()
    wrap(store, chat_id)
    for path in (store.directory, file_of(store, chat_id).parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (store.directory / "store", file_of(store, chat_id)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_stays_open(store: KeyStore) -> None:
    chat_id, before = uuid4(), os.listdir("/proc/self/fd")
    wrapped, _ = wrap(store, chat_id)
    unwrap(store, chat_id, wrapped)
    store.destroy(chat_id)
    assert os.listdir("/proc/self/fd") == before


def test_a_file_of_a_chat_is_never_replaced(store: KeyStore) -> None:
    chat_id = uuid4()
    earlier, sealed = wrap(store, chat_id)
    later, sealed_later = wrap(store, chat_id)
    assert unwrap(store, chat_id, earlier).open(sealed, context="here") == b"text"
    assert unwrap(store, chat_id, later).open(sealed_later, context="here") == b"text"
    file_of(store, chat_id).write_bytes(b"\x02k9" + b"x" * 60)
    with pytest.raises(CannotOpen):
        wrap(store, chat_id)
    assert file_of(store, chat_id).read_bytes() == b"\x02k9" + b"x" * 60


def test_a_part_of_a_file_does_not_count_as_written_or_overwritten(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_id, other = uuid4(), uuid4()
    wrap(store, chat_id)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, content: write(handle, content[:8]))
        with pytest.raises(StoreUnavailable, match="No space left"):
            wrap(store, other)
        with pytest.raises(StoreUnavailable, match="No space left"):
            store.destroy(chat_id)
    assert store.key_name(other) is None
    assert file_of(store, chat_id).exists()


def test_a_file_is_unreadable_only_while_the_store_is_there(store: KeyStore) -> None:
    chat_id = uuid4()
    wrap(store, chat_id)
    path = file_of(store, chat_id)
    path.unlink()
    path.mkdir()
    assert store.key_name(chat_id) is None
    with pytest.raises(KeyFileMissing, match="cannot be read"):
        store.seal_again(chat_id)
    (store.directory / "store").unlink()
    for use in (store.key_name, store.seal_again):
        with pytest.raises(StoreUnavailable):
            use(chat_id)


def test_an_empty_mount_point_is_not_taken_for_the_store(tmp_path: Path) -> None:
    chat_id, unmounted = uuid4(), KeyStore(tmp_path, OLD)
    for use in (
        unmounted.identity,
        lambda: wrap(unmounted, chat_id),
        # Otherwise the file would count as destroyed, and be there again with the next mount.
        lambda: unmounted.destroy(chat_id),
        lambda: unmounted.key_names("00"),
    ):
        with pytest.raises(StoreUnavailable, match="No such file"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_not_created_without_its_parent(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        KeyStore(tmp_path / "mount" / "keys", OLD).create()


def test_a_file_is_listed_with_the_key_that_seals_it(store: KeyStore) -> None:
    ids = {UUID(f"{digit}{uuid4().hex[1:]}") for digit in "0aabf"}
    for chat_id in ids:
        wrap(store, chat_id)
    listed = {chat_id: name for digit in "0123456789abcdef" for chat_id, name in store.key_names(digit).items()}
    assert listed == dict.fromkeys(ids, "k1")
    assert all(str(chat_id).startswith("a") for chat_id in store.key_names("a"))
    assert store.key_name(uuid4()) is None


def test_a_file_that_is_removed_meanwhile_is_not_listed(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_id = uuid4()
    wrap(store, chat_id)
    monkeypatch.setattr(KeyStore, "key_name", lambda *_: None)
    assert store.key_names(str(chat_id)[0]) == {}

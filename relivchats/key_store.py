"""The key store: a directory outside of the database, with one small file per chat.

The file contains the chat's own key, sealed by the keyring. That key wraps the data key, which is stored in the chat's
row. So a row opens only with its file: once the file is destroyed, no copy of the row opens any more, be it in the
write-ahead log, on a replica or in a backup. docs/adr/0011 explains the decision.

A file called `store` contains the identity of the store. It tells a store from the empty mount point of one.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from relivchats.crypto import CannotOpen, DataKey, Keyring, keyring, new_data_key

#: Files are spread over this many directories, by the first two digits of the chat's id.
SHARDS = tuple(f"{number:02x}" for number in range(256))
IDENTITY_FILE = "store"
_FILE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DRAFT = ".new"
_MAX_FILE_BYTES = 4096
#: The start of a data key that a key of the store wraps. What the keyring wraps starts with the length of a name.
_IN_STORE = b"\0"


class StoreUnavailable(Exception):
    """The directory is not there, is not the key store of this database, or cannot be written. The text says which."""


class StoreFull(StoreUnavailable):
    """The disk of the directory, or the quota on it, has no room."""


class KeyFileMissing(CannotOpen):
    """The chat's file is not in the key store, because it was destroyed or lost, or it cannot be read."""


class KeyFileGone(KeyFileMissing):
    """The key store of this database is there, and has no file of the chat. No copy of the chat opens with it."""


@dataclass(frozen=True)
class KeyStore:
    """The key store in a directory. Files survive a power cut once the method that wrote them returned."""

    directory: Path
    keys: Keyring

    def exists(self) -> bool:
        """Return whether the directory contains a key store."""
        return (self.directory / IDENTITY_FILE).exists()

    def identity(self) -> str:
        """Return the store's identity. Raise StoreUnavailable if the directory contains no store."""
        with self._available():
            return (self.directory / IDENTITY_FILE).read_text().strip()

    def create(self) -> None:
        """Create an empty store. The parent directory must exist. Raise StoreUnavailable."""
        with self._available():
            self.directory.mkdir(mode=0o700, exist_ok=True)
            for shard in SHARDS:
                (self.directory / shard).mkdir(mode=0o700, exist_ok=True)
            # Last: with it, the store is complete.
            _write(self.directory / IDENTITY_FILE, f"{uuid4()}\n".encode())
            _synchronize(self.directory.parent)

    def wrap(self, key: DataKey, *, chat_id: UUID, context: str) -> bytes:
        """Return the data key wrapped by the key in the chat's file, which is stored if there is none.

        A file is never replaced: a newer copy of the database may need it. Raise StoreUnavailable, or CannotOpen if
        the file that is there does not open.
        """
        try:
            with self._available():
                sealed = self._read(chat_id)
        except KeyFileMissing:
            own = new_data_key()
            self._store(chat_id, self.keys.wrap(own, context=_context(chat_id)))
        else:
            own = self.keys.unwrap(sealed, context=_context(chat_id))
        return _IN_STORE + own.wrap(key, context=context)

    def unwrap(self, wrapped: bytes, *, chat_id: UUID, context: str) -> DataKey:
        """Return the data key. Raise KeyFileMissing, or CannotOpen if the file was changed or its key is unknown."""
        try:
            sealed = self._read(chat_id)
        except OSError as error:
            raise KeyFileMissing(f"the file cannot be read: {error.strerror}") from None
        own = self.keys.unwrap(sealed, context=_context(chat_id))
        return own.unwrap(wrapped[len(_IN_STORE) :], context=context)

    def seal_again(self, chat_id: UUID) -> bool:
        """Seal the chat's file by the keyring's current key, and return whether that was necessary.

        The caller holds the chat's row, so that its file is not destroyed meanwhile. Raise KeyFileMissing, CannotOpen
        or StoreUnavailable.
        """
        sealed = self._read_while_available(chat_id)
        if self.keys.name_of(sealed) == self.keys.current:
            return False
        own = self.keys.unwrap(sealed, context=_context(chat_id))
        self._store(chat_id, self.keys.wrap(own, context=_context(chat_id)))
        return True

    def destroy(self, chat_id: UUID) -> None:
        """Overwrite and remove the chat's file, if there is one. Raise StoreUnavailable."""
        path = self._path(chat_id)
        with self._available():
            # A killed rotation leaves a draft, which contains the same key.
            for each in (path, _draft(path)):
                try:
                    handle = os.open(each, os.O_WRONLY)
                except FileNotFoundError:
                    continue
                try:
                    _write_all(handle, os.urandom(os.fstat(handle).st_size))
                    os.fsync(handle)
                finally:
                    os.close(handle)
                each.unlink(missing_ok=True)
            _synchronize(path.parent)

    def lacks(self, chat_id: UUID) -> bool:
        """Return whether the directory of the chat's file is there, and the file is not. Raise StoreUnavailable."""
        path = self._path(chat_id)
        with self._available():
            path.parent.stat()
            try:
                path.lstat()
            except FileNotFoundError:
                return True
        return False

    def key_name(self, chat_id: UUID) -> str | None:
        """Return the name of the keyring's key that seals the chat's file, or None if it is missing or unreadable.

        Raise StoreUnavailable.
        """
        try:
            return self.keys.name_of(self._read_while_available(chat_id))
        except KeyFileMissing:
            return None

    def key_names(self, start: str) -> dict[UUID, str]:
        """Return the files of the chats whose ids start with `start`, at most two digits.

        For each chat, that is the name of the key that seals its file. Raise StoreUnavailable.
        """
        return {each: name for each in self.chat_ids(start) if (name := self.key_name(each)) is not None}

    def chat_ids(self, start: str) -> list[UUID]:
        """Return the ids that start with `start`, at most two digits, and have a file. Raise StoreUnavailable."""
        with self._available():
            names = [name for shard in SHARDS if shard.startswith(start) for name in os.listdir(self.directory / shard)]
        # Not drafts, and not what a network file system keeps of removed files.
        return [UUID(name) for name in names if _FILE.fullmatch(name)]

    def _path(self, chat_id: UUID) -> Path:
        return self.directory / str(chat_id)[:2] / str(chat_id)

    def _read(self, chat_id: UUID) -> bytes:
        """Return the content of the chat's file. Raise KeyFileMissing or OSError."""
        # Path.read_bytes takes ten times as long, 130 µs. A page of chats reads a hundred files.
        name = str(chat_id)
        try:
            handle = os.open(f"{self.directory}/{name[:2]}/{name}", os.O_RDONLY)
        except FileNotFoundError:
            raise KeyFileMissing("the key store has no file of this chat") from None
        try:
            return os.read(handle, _MAX_FILE_BYTES)
        finally:
            os.close(handle)

    def _read_while_available(self, chat_id: UUID) -> bytes:
        """Return the content of the chat's file. Raise KeyFileMissing, also if only this file cannot be read.

        Raise StoreUnavailable if the store's identity cannot be read either.
        """
        try:
            return self._read(chat_id)
        except OSError as error:
            self.identity()
            raise KeyFileMissing(f"the file cannot be read: {error.strerror}") from None

    def _store(self, chat_id: UUID, sealed: bytes) -> None:
        with self._available():
            _write(self._path(chat_id), sealed)

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreUnavailable
            raise kind(f"the key store {self.directory} is not usable: {error.strerror}") from None


def key_store() -> KeyStore | None:
    """Return the key store of the setting KEY_STORE_DIR, or None if there is none."""
    from django.conf import settings

    return KeyStore(Path(settings.KEY_STORE_DIR), keyring()) if settings.KEY_STORE_DIR else None


def is_in_store(wrapped: bytes | memoryview) -> bool:
    """Return whether a key of the key store wraps this data key."""
    return bytes(wrapped[:1]) == _IN_STORE


def unwrap(wrapped: bytes | memoryview, *, chat_id: UUID, context: str) -> DataKey:
    """Return the data key of a chat, wrapped by the key store or by the keyring alone. Raise CannotOpen."""
    if not is_in_store(wrapped):
        return keyring().unwrap(wrapped, context=context)
    store = key_store()
    if store is None:
        raise KeyFileMissing("KEY_STORE_DIR is not set")
    return store.unwrap(bytes(wrapped), chat_id=chat_id, context=context)


def _context(chat_id: UUID) -> str:
    return f"key store:{chat_id}"


def _draft(path: Path) -> Path:
    return path.with_name(path.name + _DRAFT)


def _write(path: Path, content: bytes) -> None:
    """Store a private file. After a crash it is whole, as it was before, or missing."""
    draft = _draft(path)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.replace(path)
    _synchronize(path.parent)


def _write_all(handle: int, content: bytes) -> None:
    """Write the content. Raise OSError if only a part of it was written, as on a full disk."""
    if os.write(handle, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _synchronize(directory: Path) -> None:
    """Write the directory's entries to the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

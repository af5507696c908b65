"""Encryption: the keyring of the installation, and one data key per chat.

Private data is sealed with AES-256-GCM (NIST SP 800-38D) under the data key of its chat. The data key is stored
wrapped: by a key of the key store (relivchats/key_store.py), which the keyring seals, or by the keyring alone. To
destroy the key in the store is to destroy the chat. A context, such as `chat:<id>:title`, is authenticated with the
text, so a sealed value that is moved to another place does not open.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from dataclasses import dataclass
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
KEY_BYTES = 32


class CannotOpen(Exception):
    """The key is not in the keyring, or the sealed bytes were changed or moved."""


class DataKey:
    """The key of one chat. It exists unwrapped only in memory."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._key = key

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Return a random nonce of 12 bytes, followed by the encrypted text and its tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes | memoryview, *, context: str) -> bytes:
        """Return the plaintext. Raise CannotOpen if the bytes were changed or sealed for another context."""
        sealed = bytes(sealed)
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):
            raise CannotOpen("the sealed bytes do not open with this key in this place") from None

    def wrap(self, key: DataKey, *, context: str) -> bytes:
        """Return another key, sealed by this one, for storage."""
        return self.seal(key._key, context=context)

    def unwrap(self, wrapped: bytes, *, context: str) -> DataKey:
        """Return the other key. Raise CannotOpen if this key did not wrap it."""
        return DataKey(self.open(wrapped, context=context))

    def __reduce__(self) -> tuple[type[DataKey], tuple[bytes]]:
        """Pickle the key for the process that parses an upload (chats/parsing_processes.py); never store the result."""
        return DataKey, (self._key,)

    def __repr__(self) -> str:
        return "DataKey(…)"


@dataclass(frozen=True, repr=False)
class Keyring:
    """Named keys that wrap data keys. The first one wraps; all of them unwrap, so that keys can be rotated."""

    keys: dict[str, bytes]

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Return the keyring of a text `name:base64,name:base64`. Raise ValueError, which never quotes a key."""
        keys = {}
        for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
            name, colon, encoded = entry.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if not colon or not name or len(name) > 32 or len(key) != KEY_BYTES:
                raise ValueError(f"entry {number} is not name:base64 of {KEY_BYTES} bytes")
            keys[name] = key
        if not keys:
            raise ValueError("it holds no key")
        return cls(keys)

    @staticmethod
    def new_text() -> str:
        """Return the text of a keyring with one new key, for `parse`."""
        return "k1:" + base64.b64encode(os.urandom(KEY_BYTES)).decode()

    @staticmethod
    def new_secret() -> str:
        """Return a new value for SECRET_KEY."""
        return secrets.token_urlsafe(48)

    @property
    def current(self) -> str:
        """Return the name of the key that wraps."""
        return next(iter(self.keys))

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Return sealed data that belongs to no chat, such as a stored response. It begins with the key's name."""
        name = self.current.encode()
        return bytes([len(name)]) + name + DataKey(self.keys[self.current]).seal(plaintext, context=context)

    def open(self, sealed: bytes | memoryview, *, context: str) -> bytes:
        """Return the plaintext. Raise CannotOpen if the key that sealed it is not in the keyring."""
        sealed = bytes(sealed)
        key = self.keys.get(self.name_of(sealed))
        if key is None:
            raise CannotOpen("ENCRYPTION_KEYS does not hold the key that sealed this")
        return DataKey(key).open(sealed[1 + sealed[0] :], context=context)

    @staticmethod
    def name_of(sealed: bytes) -> str:
        """Return the name of the key that sealed this, which may be unknown; empty if there is none."""
        length = sealed[0] if sealed else 0
        return sealed[1 : 1 + length].decode(errors="replace")

    def wrap(self, key: DataKey, *, context: str) -> bytes:
        """Return a data key sealed by the current key, for storage."""
        return self.seal(key._key, context=context)

    def unwrap(self, wrapped: bytes | memoryview, *, context: str) -> DataKey:
        """Return the data key. Raise CannotOpen if the key that wrapped it is not in the keyring."""
        return DataKey(self.open(wrapped, context=context))

    def fingerprints(self, digest: bytes, *, context: str) -> list[bytes]:
        """Return keyed hashes (HMAC-SHA256, RFC 2104) of a digest, one per key, the current key's first.

        They are stored in place of a digest of private data, because nobody can test guesses against them without a
        key. The first one is stored. A look-up compares all of them, so that it finds rows stored under an older key.
        """
        purposes = (hmac.digest(key, b"relivchats fingerprint", "sha256") for key in self.keys.values())
        return [hmac.digest(purpose, context.encode() + b"\0" + digest, "sha256") for purpose in purposes]

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.keys)})"


def new_data_key() -> DataKey:
    """Return a new random key for one chat."""
    return DataKey(os.urandom(KEY_BYTES))


_parse = cache(Keyring.parse)


def keyring() -> Keyring:
    """Return the keyring of the setting ENCRYPTION_KEYS."""
    from django.conf import settings

    return _parse(settings.ENCRYPTION_KEYS)

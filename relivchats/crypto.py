"""Keys: a keyring of the installation, a data key a chat, and what they seal.

Everything private is sealed with AES-256-GCM (NIST SP 800-38D) under a data key
that belongs to one chat and is stored wrapped by a key of the keyring. Destroying
the wrapped key destroys the chat. The context, such as `chat:<id>:title`, is
authenticated with the text: a sealed value moved to another place does not open.
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
    """The key is unknown, or the sealed bytes were changed or moved."""


class DataKey:
    """The key of one chat; lives in memory only."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._key = key

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes | memoryview, *, context: str) -> bytes:
        """Raises CannotOpen when the bytes were changed or sealed for another context."""
        sealed = bytes(sealed)
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):
            raise CannotOpen("the sealed bytes do not open with this key in this place") from None

    def __repr__(self) -> str:
        return "DataKey(…)"


@dataclass(frozen=True, repr=False)
class Keyring:
    """Named keys that wrap data keys: the first wraps, all unwrap."""

    keys: dict[str, bytes]

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """From `name:base64,name:base64`. Raises ValueError, which never quotes a key."""
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
        """A keyring of one new key, as `parse` reads it."""
        return "k1:" + base64.b64encode(os.urandom(KEY_BYTES)).decode()

    @staticmethod
    def new_secret() -> str:
        return secrets.token_urlsafe(48)

    @property
    def current(self) -> str:
        return next(iter(self.keys))

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """For what belongs to no chat, such as an answer that is kept for a day."""
        name = self.current.encode()
        return bytes([len(name)]) + name + DataKey(self.keys[self.current]).seal(plaintext, context=context)

    def open(self, sealed: bytes | memoryview, *, context: str) -> bytes:
        """Raises CannotOpen when the keyring does not hold the key that sealed it."""
        sealed = bytes(sealed)
        length = sealed[0] if sealed else 0
        key = self.keys.get(sealed[1 : 1 + length].decode(errors="replace"))
        if key is None:
            raise CannotOpen("ENCRYPTION_KEYS does not hold the key that sealed this")
        return DataKey(key).open(sealed[1 + length :], context=context)

    def wrap(self, key: DataKey, *, context: str) -> bytes:
        return self.seal(key._key, context=context)

    def unwrap(self, wrapped: bytes | memoryview, *, context: str) -> DataKey:
        """Raises CannotOpen when the keyring does not hold the key that wrapped it."""
        return DataKey(self.open(wrapped, context=context))

    def fingerprints(self, digest: bytes, *, context: str) -> list[bytes]:
        """What may stand in the database in place of a digest of something private: one a key, the current key's first.

        Whoever has no key cannot try guesses against them (HMAC-SHA256, RFC 2104). The first is
        stored; a look-up asks for all, so that what was stored under an earlier key is found.
        """
        purposes = (hmac.digest(key, b"relivchats fingerprint", "sha256") for key in self.keys.values())
        return [hmac.digest(purpose, context.encode() + b"\0" + digest, "sha256") for purpose in purposes]

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.keys)})"


def new_data_key() -> DataKey:
    return DataKey(os.urandom(KEY_BYTES))


@cache
def _parsed(text: str) -> Keyring:
    return Keyring.parse(text)


def keyring() -> Keyring:
    """The installation's keyring, from ENCRYPTION_KEYS."""
    from django.conf import settings

    return _parsed(settings.ENCRYPTION_KEYS)

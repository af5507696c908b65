from __future__ import annotations

import base64

import pytest

from relivchats.crypto import KEY_BYTES, CannotOpen, DataKey, Keyring, new_data_key

OLD = "k1:" + base64.b64encode(b"1" * KEY_BYTES).decode()
NEW = "k2:" + base64.b64encode(b"2" * KEY_BYTES).decode()


def test_a_sealed_value_opens_in_its_place() -> None:
    key = new_data_key()
    sealed = key.seal("नमस्ते 😀\0".encode(), context="chat:1:title")
    assert key.open(memoryview(sealed), context="chat:1:title").decode() == "नमस्ते 😀\0"


@pytest.mark.parametrize("context", ["chat:2:title", "chat:1:participants", ""])
def test_a_sealed_value_does_not_open_in_another_place(context: str) -> None:
    key = new_data_key()
    sealed = key.seal(b"Asha & Ravi", context="chat:1:title")
    with pytest.raises(CannotOpen):
        key.open(sealed, context=context)


def test_a_sealed_value_does_not_open_with_another_key() -> None:
    sealed = new_data_key().seal(b"text", context="here")
    with pytest.raises(CannotOpen):
        new_data_key().open(sealed, context="here")


@pytest.mark.parametrize("position", [0, 11, 12, 20, -1])
def test_a_changed_byte_is_detected(position: int) -> None:
    key = new_data_key()
    sealed = bytearray(key.seal(b"a text of some length", context="here"))
    sealed[position] ^= 1
    with pytest.raises(CannotOpen):
        key.open(bytes(sealed), context="here")


@pytest.mark.parametrize("sealed", [b"", b"short", b"x" * 12, b"x" * 27])
def test_bytes_too_short_to_be_sealed_are_refused(sealed: bytes) -> None:
    with pytest.raises(CannotOpen):
        new_data_key().open(sealed, context="here")


def test_the_same_text_is_never_sealed_alike() -> None:
    key = new_data_key()
    assert len({key.seal(b"text", context="here") for _ in range(100)}) == 100


def test_a_data_key_survives_being_wrapped() -> None:
    ring, key = Keyring.parse(OLD), new_data_key()
    sealed = key.seal(b"text", context="here")
    unwrapped = ring.unwrap(ring.wrap(key, context="chat:1:key"), context="chat:1:key")
    assert unwrapped.open(sealed, context="here") == b"text"


def test_a_wrapped_key_does_not_open_for_another_chat() -> None:
    ring = Keyring.parse(OLD)
    wrapped = ring.wrap(new_data_key(), context="chat:1:key")
    with pytest.raises(CannotOpen):
        ring.unwrap(wrapped, context="chat:2:key")


def test_a_new_first_key_wraps_while_the_old_one_still_opens() -> None:
    key = new_data_key()
    before = Keyring.parse(OLD).wrap(key, context="c")
    ring = Keyring.parse(f"{NEW}, {OLD}")
    after = ring.wrap(ring.unwrap(before, context="c"), context="c")
    sealed = key.seal(b"text", context="here")
    assert Keyring.parse(NEW).unwrap(after, context="c").open(sealed, context="here") == b"text"


def test_without_the_key_that_wrapped_it_a_data_key_is_lost() -> None:
    wrapped = Keyring.parse(OLD).wrap(new_data_key(), context="c")
    for stored in (wrapped, b"", b"\x00", wrapped[:3]):
        with pytest.raises(CannotOpen):
            Keyring.parse(NEW).unwrap(stored, context="c")


@pytest.mark.parametrize(
    "text", ["", " , ", "k1", "k1:", "k1:c2hvcnQ=", "k1:!!!", f":{OLD[3:]}", f"{'k' * 33}:{OLD[3:]}"]
)
def test_a_malformed_keyring_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"entry|no key") as refused:
        Keyring.parse(text)
    assert OLD[3:] not in str(refused.value)


def test_a_new_keyring_reads_back() -> None:
    assert len(Keyring.parse(Keyring.new_text()).keys) == 1


def test_keys_never_show_in_a_representation() -> None:
    shown = repr(DataKey(b"1" * KEY_BYTES)) + repr(Keyring.parse(OLD))
    assert "1111" not in shown
    assert OLD[3:] not in shown

"""Without a key store, keys are rotated without losing a chat, and a wrong key harms nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command

from chats import keys
from chats.importing import import_upload
from chats.key_models import KeyStoreIdentity
from chats.models import Chat
from ops.checks import get_check
from relivchats.accounts.models import User
from relivchats.crypto import Keyring
from tests import exports

pytestmark = pytest.mark.django_db


#: Base64 by name. A name has the same key in every test.
_KEYS: dict[str, str] = {}


def make_keyring(*names: str) -> str:
    """Return the text of a keyring of these names."""
    for name in names:
        _KEYS.setdefault(name, Keyring.new_text().partition(":")[2])
    return ",".join(f"{name}:{_KEYS[name]}" for name in names)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch, settings: Any, db: None) -> None:
    """A process that has not checked its keyring yet, with the key `old`, and no key store."""
    KeyStoreIdentity.objects.all().delete()
    monkeypatch.setattr(keys._Checked, "done", False)
    settings.ENCRYPTION_KEYS = make_keyring("old")
    settings.KEY_STORE_DIR = ""


@pytest.fixture
def person() -> User:
    return User.objects.create_user("ann@example.org")


def add_chat(person: User, *, n: int = 10) -> Chat:
    return import_upload(owner=person, upload=exports.text(30, seed=n)).chat


def run(*arguments: str) -> tuple[str, int]:
    out = io.StringIO()
    try:
        call_command("keys", *arguments, stdout=out, stderr=io.StringIO())
    except SystemExit as stopped:
        return out.getvalue(), int(stopped.code or 0)
    return out.getvalue(), 0


def test_after_a_rotation_the_old_key_can_be_removed(person: User, settings: Any) -> None:
    chats = [add_chat(person, n=n) for n in (20, 30, 40)]
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    text, status = run()
    assert ("3 chats need an old key" in text, "keys --rotate" in text, status) == (True, True, 1)
    text, status = run("--rotate")
    assert ("3 keys are wrapped by new now" in text, "remove it from ENCRYPTION_KEYS" in text, status) == (
        True,
        True,
        0,
    )
    settings.ENCRYPTION_KEYS = make_keyring("new")
    assert [Chat.objects.get(pk=chat.pk).title for chat in chats] == [chat.title for chat in chats]
    text, status = run()
    assert ("old" in text, status) == (False, 0)


def test_a_rotation_that_was_interrupted_is_continued(
    person: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (20, 30, 40):
        add_chat(person, n=n)
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    monkeypatch.setattr(keys, "BATCH_ROWS", 1)

    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keys.rotate(progress=stop)
    assert {use.name: use.chats for use in keys.survey().uses} == {"new": 2, "old": 1}
    assert keys.rotate().rotated == 1
    assert {use.name: use.chats for use in keys.survey().uses} == {"new": 3, "old": 0}
    assert keys.rotate() == keys.Rotation(), "a second rotation changes nothing"


def test_a_chat_that_does_not_open_is_kept_as_it_is(person: User, settings: Any) -> None:
    lost, kept = add_chat(person, n=20), add_chat(person, n=30)
    Chat.objects.filter(pk=lost.pk).update(wrapped_key=b"\x04lost" + b"x" * 60)
    before = bytes(Chat.objects.get(pk=lost.pk).wrapped_key)
    settings.ENCRYPTION_KEYS = make_keyring("new", "old")
    text, status = run("--rotate")
    assert ("1 key is wrapped by new now" in text, status) == (True, 2), "an incomplete rotation is no success"
    assert bytes(Chat.objects.get(pk=lost.pk).wrapped_key) == before
    assert Chat.objects.get(pk=kept.pk).title == kept.title
    text, status = run()
    assert ("1 chat needs a key that ENCRYPTION_KEYS does not have" in text, "missing" in text, status) == (
        True,
        True,
        2,
    )


def test_nothing_is_sealed_under_a_key_that_does_not_open_the_newest_chat(person: User, settings: Any) -> None:
    chat = add_chat(person)
    keys._Checked.done = False
    settings.ENCRYPTION_KEYS = make_keyring("wrong")
    with pytest.raises(keys.WrongKeys):
        add_chat(person, n=50)
    assert Chat.objects.get().pk == chat.pk
    settings.ENCRYPTION_KEYS = make_keyring("old")
    assert add_chat(person, n=50).title


def test_one_damaged_chat_does_not_stop_uploads(person: User) -> None:
    add_chat(person, n=20)
    damaged = add_chat(person, n=30)
    Chat.objects.filter(pk=damaged.pk).update(wrapped_key=b"\x03old" + b"x" * 60)
    keys._Checked.done = False
    assert add_chat(person, n=50).title


def test_health_finds_an_old_chat_that_does_not_open(person: User) -> None:
    oldest = add_chat(person, n=20)
    for n in (30, 40):
        add_chat(person, n=n)
    assert get_check("keys").run().level == "fine"
    Chat.objects.filter(pk=oldest.pk).update(wrapped_key=b"\x04lost" + b"x" * 60)
    line = get_check("keys").run()
    assert (line.level, str(oldest.pk) in line.text) == ("critical", True)

"""Small chats for tests, stored in the same way as an upload."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import uuid4

from chats.importing import import_chat
from chats.models import Chat
from relivchats.accounts.models import User

START = datetime.fromisoformat("2024-03-14 09:00")

#: Minutes since the previous message, sender, text.
Line = tuple[int, str, str]

TALK: list[Line] = [
    (0, "Asha", "good morning, did you sleep well?"),
    (1, "Ravi", "yes! coffee first though"),
    (600, "Asha", "we should buy tickets for the flight to Goa"),
    (1, "Ravi", "window seat please, and a hotel near the beach"),
    (900, "Asha", "मुझे तुम पर गर्व है"),
    (2, "Ravi", "the doctor says my blood pressure is fine ❤️"),
]


def export(lines: Iterable[Line]) -> bytes:
    at, written = START, []
    for minutes, sender, text in lines:
        at += timedelta(minutes=minutes)
        written.append(f"{at:%d/%m/%Y, %H:%M} - {sender}: {text}\n")
    return "".join(written).encode()


def person() -> User:
    return User.objects.create_user(f"{uuid4().hex[:12]}@example.com")


def stored(lines: Iterable[Line] = TALK, *, owner: User | None = None) -> Chat:
    return import_chat(owner=owner or person(), upload=export(lines))

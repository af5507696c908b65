"""Map the names that a WhatsApp export prints to participants, or to no person."""

from __future__ import annotations

from chats.exports.bidi import BIDI_MARKS
from chats.exports.errors import TooManyPeople
from chats.exports.parsed import NAME_LIMIT, PEOPLE_LIMIT, SYSTEM_SENDER
from chats.exports.phrases import PHRASES


class SenderNumbers(dict["bytes | None", int]):
    """Map of printed sender → participant's number; SYSTEM_SENDER if it is not a person's name."""

    def __init__(self, participants: list[str]) -> None:
        super().__init__({None: SYSTEM_SENDER})
        self.participants = participants
        self.numbers: dict[str, int] = {}

    def assign(self, senders: list[bytes | None], bodies: list[bytes]) -> list[int]:
        """Return the number of each sender. The bodies help to recognise system lines. Raise TooManyPeople."""
        new = {printed: clean_name(printed) for printed in dict.fromkeys(senders) if printed not in self}
        if not new:
            return list(map(self.__getitem__, senders))
        lines = PHRASES.lines
        names = {
            printed: name for printed, name in new.items() if 0 < len(name) <= NAME_LIMIT and not lines.begin(name)
        }
        beginnings = _line_beginnings(names, list(zip(senders, bodies, strict=True)))
        for printed, name in new.items():
            if printed not in names or printed in beginnings:
                self[printed] = SYSTEM_SENDER
                continue
            # Two printed forms of a name, such as with and without a mark, are one participant.
            number = self.numbers.setdefault(name, len(self.participants))
            if number == len(self.participants):
                self.participants.append(name)
            self[printed] = number
        if len(self.participants) > PEOPLE_LIMIT:
            raise TooManyPeople
        numbers = list(map(self.__getitem__, senders))
        # A later batch can show that such a name is a person, so it is not cached.
        for printed in beginnings:
            del self[printed]
        return numbers


def _line_beginnings(names: dict[bytes | None, str], records: list[tuple[bytes | None, bytes]]) -> set[bytes | None]:
    """Return the names that begin a system line, such as `Asha, “Gezi`: each of their bodies ends one."""
    lines = PHRASES.lines
    ends = {printed for printed, body in records if body.endswith(lines.ends)}
    doubtful = {printed for printed, name in names.items() if printed in ends or lines.may_begin(name)}
    for printed, body in records if doubtful else ():
        if printed in doubtful and not lines.end(names[printed], body):
            doubtful.remove(printed)
    return doubtful


def clean_name(printed: bytes | None) -> str:
    """Return a printed name without marks and without the tilde of a person who is not a contact."""
    name = (printed or b"").decode("utf-8", "replace").strip()
    if not name.isascii():
        name = name.translate(BIDI_MARKS).strip()
    # The space distinguishes it from a tilde that belongs to the name.
    return name[1:].lstrip() if name[:2] in ("~ ", "~\u202f", "~\u00a0") else name

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
        """Return the numbers of the senders, given their bodies. Raise TooManyPeople."""
        new = {printed: clean_name(printed) for printed in dict.fromkeys(senders) if printed not in self}
        beginnings: set[bytes | None] = set()
        if new:
            names = {printed: name for printed, name in new.items() if _is_possible(name)}
            beginnings = self._beginnings(names, list(zip(senders, bodies, strict=True)))
            people = names.keys() - beginnings
            for printed, name in new.items():
                self[printed] = self._number(name) if printed in people else SYSTEM_SENDER
            if len(self.participants) > PEOPLE_LIMIT:
                raise TooManyPeople
        numbers = list(map(self.__getitem__, senders))
        for printed in beginnings:
            del self[printed]  # asked again if it says more
        return numbers

    @staticmethod
    def _beginnings(names: dict[bytes | None, str], said: list[tuple[bytes | None, bytes]]) -> set[bytes | None]:
        """Return the names that begin a system line, such as `Asha, “Gezi`: all their bodies here end one."""
        lines = PHRASES.lines
        ends = {printed for printed, body in said if body.endswith(lines.ends)}
        doubtful = {printed for printed, name in names.items() if printed in ends or lines.may_begin(name)}
        for printed, body in said if doubtful else ():
            if printed in doubtful and not lines.end(names[printed], body):
                doubtful.remove(printed)
        return doubtful

    def _number(self, name: str) -> int:
        number = self.numbers.setdefault(name, len(self.participants))
        if number == len(self.participants):
            self.participants.append(name)
        return number


def _is_possible(name: str) -> bool:
    return 0 < len(name) <= NAME_LIMIT and not PHRASES.lines.begin(name)


def clean_name(printed: bytes | None) -> str:
    """Return a printed name without marks and without the tilde of a person who is not a contact."""
    name = (printed or b"").decode("utf-8", "replace").strip()
    if not name.isascii():
        name = name.translate(BIDI_MARKS).strip()
    # The tilde marks a person who is not a contact.
    return name[1:].lstrip() if name[:2] in ("~ ", "~\u202f", "~\u00a0") else name

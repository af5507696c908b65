"""A group's subject that holds a colon: `Trip: Goa: <mark>…` is a line of the group, and nobody is called Trip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from chats.exports.bidi import MARK, without_leading_marks, without_marks
from chats.exports.dialect import SENDER_LIMIT_BYTES
from chats.exports.parsed import MessageKind
from chats.exports.phrases import PHRASES

_COLON_MARK = b": " + MARK


class Subjects:
    """Those of one file, as they become known.

    A number that is copied on an iPhone brings its mark along (`Asha: call me: <mark>+91 98…`).
    So a sender is a subject's beginning only if that is all it ever writes, and
    either more than once or in words that are known to be WhatsApp's.
    """

    def __init__(self) -> None:
        self.known: set[tuple[bytes, bytes]] = set()

    def lines(
        self, senders: list[bytes | None], rests: dict[int, bytes], people: set[bytes | None]
    ) -> Iterator[tuple[int, bytes]]:
        """Positions and whole texts of the system lines.

        `rests` are the bodies, by position, that may begin with the rest of a subject; `people` wrote before.
        """
        asked = {senders[position] for position in rests} - people
        said: dict[bytes, list[int]] = defaultdict(list)
        for position, sender in enumerate(senders if asked else ()):
            if sender is not None and sender in asked:
                said[sender].append(position)
        for sender, positions in said.items():
            if self._is_subject(sender, [rests.get(position, b"") for position in positions]):
                for position in positions:
                    yield position, without_marks(sender + b": " + rests[position])

    def _is_subject(self, sender: bytes, bodies: list[bytes]) -> bool:
        rest, _, line = bodies[0].partition(_COLON_MARK)
        if not all(body.startswith(rest + _COLON_MARK) for body in bodies):
            return False
        if len(bodies) == 1 and (sender, rest) not in self.known and not _is_whatsapps(line):
            return False
        self.known.add((sender, rest))
        return True


def may_hold_subject(body: bytes) -> bool:
    rest, colon, _ = body.partition(_COLON_MARK)
    return bool(colon) and b"\n" not in rest and len(rest) < SENDER_LIMIT_BYTES


def _is_whatsapps(line: bytes) -> bool:
    text = without_leading_marks(line)
    return PHRASES.read(text).kind is MessageKind.SYSTEM or PHRASES.lines.begin(text.decode("utf-8", "replace"))

"""Recognise system lines of groups whose subject contains a colon: in `Trip: Goa: <mark>…`, Trip is not a person."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from chats.exports.bidi import without_leading_marks, without_marks
from chats.exports.dialect import SENDER_LIMIT_BYTES
from chats.exports.parsed import MessageKind
from chats.exports.phrases import PHRASES


class GroupSubjects:
    """The subjects of one file, in the order of their discovery.

    A number that is copied on an iPhone includes a mark (`Asha: call me: <mark>+91 98…`). So a sender is the beginning
    of a subject only if it writes nothing else, and either more than once or in words that are known to be WhatsApp's.
    `marks` are those of WhatsApp in this file.
    """

    def __init__(self, marks: tuple[bytes, ...]) -> None:
        self.known: set[tuple[bytes, bytes]] = set()
        self._colon_and_mark = re.compile(b": (?:%b)" % b"|".join(marks))

    def lines(
        self, senders: list[bytes | None], rests: dict[int, bytes], people: set[bytes | None]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the positions and whole texts of the system lines.

        `rests` maps positions to bodies that may begin with the rest of a subject. `people` wrote in earlier batches.
        """
        candidates = {senders[position] for position in rests} - people
        positions_by_sender: dict[bytes, list[int]] = defaultdict(list)
        # Nearly all batches have no candidate, and then the senders are not visited.
        for position, sender in enumerate(senders if candidates else ()):
            if sender is not None and sender in candidates:
                positions_by_sender[sender].append(position)
        for sender, positions in positions_by_sender.items():
            if self._is_subject(sender, [rests.get(position, b"") for position in positions]):
                for position in positions:
                    yield position, without_marks(sender + b": " + rests[position])

    def _is_subject(self, sender: bytes, bodies: list[bytes]) -> bool:
        """Return whether the sender with the beginning of its bodies is a subject, and remember it."""
        colon = self._colon_and_mark.search(bodies[0])
        if colon is None or not all(body.startswith(bodies[0][: colon.end()]) for body in bodies):
            return False
        rest, line = bodies[0][: colon.start()], bodies[0][colon.end() :]
        if len(bodies) == 1 and (sender, rest) not in self.known:
            # Written once, it can be a copied number. Only WhatsApp's words decide.
            text = without_leading_marks(line)
            is_system = PHRASES.classify(text).kind is MessageKind.SYSTEM
            if not is_system and not PHRASES.lines.begin(text.decode("utf-8", "replace")):
                return False
        self.known.add((sender, rest))
        return True

    def may_begin(self, body: bytes) -> bool:
        """Return whether a body can begin with the rest of a subject: a first line with a colon and a mark."""
        colon = self._colon_and_mark.search(body, 0, SENDER_LIMIT_BYTES)
        return colon is not None and b"\n" not in body[: colon.start()]

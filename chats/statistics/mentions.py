"""Whom messages mention: `@name`, and the names that WhatsApp isolates after an `@`."""

from __future__ import annotations

import re
from collections import Counter

from chats.statistics.text_page import TextPage

LABELS_LIMIT = 10_000

_LABEL_CHARS = 100
# An address has something before its `@`.
_MENTION = re.compile(
    r"(?<![^\s(\[{\"'*_~.,;:!?\u2013\u2014\u2018\u201c\u200b-\u200f\u2066-\u2069])@"
    rf"(?:\u2068([^\u2068\u2069\n]{{1,{_LABEL_CHARS}}})\u2069"
    rf"|([^\s!-,/:-@\[-^`{{-~\u2010-\u2027\u2066-\u2069\u3000-\u3002\u0964\u060c\u061f\uff01-\uff20]"
    rf"{{1,{_LABEL_CHARS}}}))"
)
_TELEPHONE = re.compile(r"\+?([0-9][0-9 ()\u2011-]{5,20}[0-9])")
_UNSEEN = dict.fromkeys([0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


class Mentions:
    """How often each label was mentioned, and by whom; of too many labels, the rare ones are forgotten."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()

    def count(self, page: TextPage) -> list[int]:
        """Count the mentions in some texts. Returns the place of the text of each."""
        found = [
            (place, "".join(parts))
            for place in page.holding(b"@").tolist()
            for parts in _MENTION.findall(page.texts[place])
        ]
        # A text may be nothing but the mentions of one person.
        label_of = {written: _label(written) for written in {written for _, written in found}}
        places, labels = [], []
        for place, written in found:
            if label := label_of[written]:
                places.append(place)
                labels.append(label)
        self.labels.update(labels)
        if len(self.labels) > LABELS_LIMIT:
            self.labels = Counter(dict(self.labels.most_common(LABELS_LIMIT // 2)))
        return places

    def named(self, participants: list[str]) -> Counter[str]:
        """The mentions by the participant meant, or by the label as it was written where that is nobody's alone."""
        whole = {_key(name): name for name in participants}
        first: dict[str, list[str]] = {}
        for key, name in whole.items():
            first.setdefault(key.partition(" ")[0], []).append(name)
        named: Counter[str] = Counter()
        for label, count in self.labels.items():
            key = _key(label)
            alone = first.get(key, [])
            named[whole.get(key) or (alone[0] if len(alone) == 1 else label)] += count
        return named


def _label(written: str) -> str:
    return " ".join(written.translate(_UNSEEN).split()).rstrip(".-").removeprefix("~").strip()


def _key(name: str) -> str:
    """Names without case and the mark of an unsaved contact, telephone numbers by their digits."""
    plain = _label(name).casefold()
    if digits := _TELEPHONE.fullmatch(plain):
        return re.sub("[^0-9]", "", digits[1])
    return plain

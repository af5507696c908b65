"""Mentions of people: `@name`, and the names that WhatsApp encloses in isolate marks after an `@`."""

from __future__ import annotations

import re
from collections import Counter

from chats.statistics.text_page import TextPage

MAX_LABELS = 10_000

_MAX_LABEL_CHARS = 100
# The lookbehind excludes e-mail addresses, which have a name before the `@`.
_MENTION = re.compile(
    r"(?<![^\s(\[{\"'*_~.,;:!?\u2013\u2014\u2018\u201c\u200b-\u200f\u2066-\u2069])@"
    rf"(?:\u2068([^\u2068\u2069\n]{{1,{_MAX_LABEL_CHARS}}})\u2069"
    rf"|([^\s!-,/:-@\[-^`{{-~\u2010-\u2027\u2066-\u2069\u3000-\u3002\u0964\u060c\u061f\uff01-\uff20]"
    rf"{{1,{_MAX_LABEL_CHARS}}}))"
)
_PHONE_NUMBER = re.compile(r"\+?([0-9][0-9 ()\u2011-]{5,20}[0-9])")
_INVISIBLE = dict.fromkeys([0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


class MentionCounter:
    """Counts mentions by label; beyond MAX_LABELS the rarest labels are dropped."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()

    def add(self, page: TextPage) -> list[int]:
        """Count the mentions on a page. Return the position of the text of each mention."""
        mentions = [
            (position, "".join(groups))
            for position in page.find(b"@").tolist()
            for groups in _MENTION.findall(page.texts[position])
        ]
        # Each distinct label is cleaned once: a single text can repeat one mention a million times.
        label_of = {written: _clean_label(written) for written in {written for _, written in mentions}}
        positions, labels = [], []
        for position, written in mentions:
            if label := label_of[written]:
                positions.append(position)
                labels.append(label)
        self.labels.update(labels)
        if len(self.labels) > MAX_LABELS:
            self.labels = Counter(dict(self.labels.most_common(MAX_LABELS // 2)))
        return positions

    def count_by_name(self, participants: list[str]) -> Counter[str]:
        """Return the mentions by participant, or by label where no single participant matches.

        A label matches a participant's whole name, or a first name that only one participant has.
        """
        name_of_key = {_match_key(name): name for name in participants}
        names_by_first_name: dict[str, list[str]] = {}
        for key, name in name_of_key.items():
            names_by_first_name.setdefault(key.partition(" ")[0], []).append(name)
        counts: Counter[str] = Counter()
        for label, count in self.labels.items():
            key = _match_key(label)
            candidates = names_by_first_name.get(key, [])
            counts[name_of_key.get(key) or (candidates[0] if len(candidates) == 1 else label)] += count
        return counts


def _clean_label(written: str) -> str:
    return " ".join(written.translate(_INVISIBLE).split()).rstrip(".-").removeprefix("~").strip()


def _match_key(name: str) -> str:
    """Return a name in a form to compare: without case and the mark of an unsaved contact, phone numbers as digits."""
    key = _clean_label(name).casefold()
    if number := _PHONE_NUMBER.fullmatch(key):
        return re.sub("[^0-9]", "", number[1])
    return key

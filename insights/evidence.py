"""Citations and quotations against what was shown: only what stands in the transcript passes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from insights.engines.base import CitedExchange, ShownMessage

MOST_MESSAGES = 6
DROPPED = "[…]"

_QUOTATION = re.compile(r"\"([^\"]*)\"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|(?<!\w)‘([^’]*)’(?!\w)")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages that stand in the transcript, in its order."""

    context: str
    messages: tuple[ShownMessage, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A section's exchanges that passed; `given` and `kept` count message citations."""

    exchanges: tuple[Exchange, ...]
    given: int
    kept: int


def check(cited: Iterable[CitedExchange], *, shown: Mapping[int, ShownMessage], most: int) -> Checked:
    """Keep the citations whose message was shown, at most `most` exchanges of them, none of them twice."""
    exchanges: list[Exchange] = []
    seen: set[tuple[int, ...]] = set()
    given = kept = 0
    for exchange in cited:
        numbers = sorted(set(exchange.numbers))
        standing = tuple(number for number in numbers if number in shown)[:MOST_MESSAGES]
        given += len(numbers)
        if not standing or standing in seen or len(exchanges) == most:
            continue
        seen.add(standing)
        kept += len(standing)
        messages = tuple(shown[number] for number in standing)
        context = strip_unsupported_quotes(exchange.context, quotable=[message.text for message in messages])
        exchanges.append(Exchange(context, messages))
    return Checked(tuple(exchanges), given=given, kept=kept)


def strip_unsupported_quotes(text: str, *, quotable: Collection[str]) -> str:
    """The text without quotations that stand in none of the quotable texts."""
    standing = [_plain(message) for message in quotable]

    def judge(match: re.Match[str]) -> str:
        quoted = _plain(next(part for part in match.groups() if part is not None)).rstrip(".,!?…")
        return match[0] if quoted and any(quoted in message for message in standing) else DROPPED

    return _QUOTATION.sub(judge, text)


def _plain(text: str) -> str:
    return _SPACES.sub(" ", text).strip().casefold()

"""Checks citations and quotations of a draft: only what is in the messages that the engine was shown is kept."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from insights.engines.base import CitedExchange, ShownMessage

#: A longer exchange is cut; a quotation is an example and not an excerpt.
MAX_MESSAGES = 6
#: Replaces a quotation that is in none of the cited messages.
DROPPED = "[…]"

# Straight, English, German and French quotation marks; single ones only where they are no apostrophe.
_QUOTATION = re.compile(r"\"([^\"]*)\"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|(?<!\w)‘([^’]*)’(?!\w)")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages that are quoted together, in the order of the chat."""

    context: str
    messages: tuple[ShownMessage, ...]


@dataclass(frozen=True, slots=True)
class CheckedCitations:
    """A section's exchanges after the check. `given` and `kept` count cited messages."""

    exchanges: tuple[Exchange, ...]
    given: int
    kept: int


def check_citations(
    cited: Iterable[CitedExchange], *, shown: Mapping[int, ShownMessage], max_exchanges: int
) -> CheckedCitations:
    """Keep the cited messages that were shown, in the first `max_exchanges` different exchanges that have any."""
    exchanges: list[Exchange] = []
    seen: set[tuple[int, ...]] = set()
    given = kept = 0
    for exchange in cited:
        numbers = sorted(set(exchange.numbers))
        valid = tuple(number for number in numbers if number in shown)[:MAX_MESSAGES]
        given += len(numbers)
        if not valid or valid in seen or len(exchanges) == max_exchanges:
            continue
        seen.add(valid)
        kept += len(valid)
        messages = tuple(shown[number] for number in valid)
        context = strip_unsupported_quotes(exchange.context, quotable=[message.text for message in messages])
        exchanges.append(Exchange(context, messages))
    return CheckedCitations(tuple(exchanges), given=given, kept=kept)


def strip_unsupported_quotes(text: str, *, quotable: Collection[str]) -> str:
    """Return the text with DROPPED in place of each quotation that none of the quotable texts contains."""
    sources = [_normalize(source) for source in quotable]

    def keep_or_drop(match: re.Match[str]) -> str:
        # A sentence adds its own punctuation within the quotation marks.
        quoted = _normalize(next(part for part in match.groups() if part is not None)).rstrip(".,!?…")
        return match[0] if quoted and any(quoted in source for source in sources) else DROPPED

    return _QUOTATION.sub(keep_or_drop, text)


def _normalize(text: str) -> str:
    """Return the text without case and with single spaces, so that a quotation may differ from its source in both."""
    return _SPACES.sub(" ", text).strip().casefold()

"""The answer of a model that answers a question: the JSON schema of a step, and what the step becomes. Pure.

A step is flat: a decision, the searches that it asks for, and the claims that answer. The schema keeps to what
insights/engines/answers.py says. An invalid entry is dropped; an answer of another shape is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

from pydantic import ValidationError, create_model

from insights.claims import Claim
from insights.engines.answers import MAX_LISTED_PEOPLE, AnswerPart, clean_sentence, one_of, validate_part
from insights.engines.base import UnusableAnswer
from insights.json_schema import flat_schema
from insights.question_material import Search

MAX_SEARCHES = 4
MAX_CLAIMS = 6
#: The section of a claim that answers a question: none of the catalogue's.
SECTION = ""
_ANY = "any"
_EVERYBODY = "all"

Decision = Literal["answer", "search", "not_in_chat"]


class _SearchPart(AnswerPart):
    words: str
    person: str
    first_day: str
    last_day: str


class _ClaimPart(AnswerPart):
    sentence: str
    numbers: list[Any]
    person: str


class _StepAnswer(AnswerPart):
    """The answer of a step, down to the lists. Their entries are validated one by one."""

    decision: Decision
    searches: list[Any]
    claims: list[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What a model decides after it has seen the messages that were found so far. People are indexes."""

    decision: Decision
    searches: tuple[Search, ...]
    claims: tuple[Claim, ...]


def step_schema(people_count: int, *, kinds: Collection[str]) -> dict[str, Any]:
    """Return the JSON schema of a step. `kinds` are the kinds of episodes that were found in the chat."""
    people = tuple(f"P{index + 1}" for index in range(people_count))
    is_listed = people_count <= MAX_LISTED_PEOPLE
    search_fields: dict[str, Any] = {"person": (one_of((*people, _ANY)) if is_listed else str, ...)}
    if kinds:
        search_fields["kind"] = (one_of((*sorted(kinds), _ANY)), ...)
    search: Any = create_model("Search", __base__=_SearchPart, **search_fields)
    claim: Any = create_model(
        "Claim",
        __base__=_ClaimPart,
        numbers=(list[int], ...),
        person=(one_of((*people, _EVERYBODY)) if is_listed else str, ...),
    )
    return flat_schema(
        create_model(
            "Step",
            __base__=_StepAnswer,
            decision=(one_of(get_args(Decision)), ...),
            searches=(list[search], ...),
            claims=(list[claim], ...),
        )
    )


def parse_step(answer: str | bytes, *, people_count: int, kinds: Collection[str]) -> Step:
    """Return what an answer says. Raise UnusableAnswer if it is not JSON of the expected shape.

    Searches and claims of another shape, or about a person who is not in the chat, are dropped. A search with a day
    that is none is made without it.
    """
    try:
        parsed = _StepAnswer.model_validate_json(answer)
    except ValidationError:
        # Not chained: the text of a validation error contains values of the answer, and so text of the chat.
        raise UnusableAnswer("malformed_answer") from None
    people = {f"P{index + 1}": index for index in range(people_count)}
    searches: list[Search] = []
    for entry in parsed.searches:
        kind = entry.pop("kind", _ANY) if isinstance(entry, dict) else _ANY
        part = validate_part(_SearchPart, entry)
        if part is None or (part.person != _ANY and part.person not in people):
            continue
        search = Search(
            words=clean_sentence(part.words),
            person=people.get(part.person),
            first_day=_parse_day(part.first_day),
            last_day=_parse_day(part.last_day),
            kind=kind if kind in kinds else None,
        )
        if search != Search() and search not in searches:
            searches.append(search)
    claims: list[Claim] = []
    for entry in parsed.claims:
        row = validate_part(_ClaimPart, entry)
        if row is None or (row.person != _EVERYBODY and row.person not in people):
            continue
        numbers = tuple(n for n in row.numbers if isinstance(n, int) and not isinstance(n, bool))
        claims.append(Claim(SECTION, clean_sentence(row.sentence), "", numbers, people.get(row.person)))
    return Step(parsed.decision, tuple(searches[:MAX_SEARCHES]), tuple(claims[:MAX_CLAIMS]))


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None

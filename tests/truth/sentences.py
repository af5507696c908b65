"""What an oracle writes, in each language of insights. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from insights.translation import LANGUAGES


@cache
def load(language: str) -> dict[str, Any]:
    """Return the sentences of one of the languages of insights, and its lies."""
    path = Path(__file__).with_name(f"sentences_{language}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def find_language(instructions: str) -> str:
    """Return the language that instructions ask for. Raise ValueError if they ask for none."""
    for code, (name, _) in LANGUAGES.items():
        if f"in {name}," in instructions:
            return code
    raise ValueError("the instructions name no language")


def describe(
    language: str, *, kind: str, month: str, subject: str, person: str | None, answers: Iterable[tuple[str, str]]
) -> str:
    """Return what a person does in a conversation of a kind, when, and how others answer, as (person, role)."""
    words = load(language)
    first, _, rest = words["kinds"][kind].partition(" ")
    sentence: str = words["sentence"].format(
        month=month, person=person or words["somebody"], first=first, rest=rest, subject=subject
    )
    for other, role in answers:
        sentence += words["and"].format(person=other, answer=words["answers"][role])
    # What somebody does can be one word.
    return f"{sentence}{words['end']}".replace("  ", " ").replace(" ,", ",").replace(f" {words['end']}", words["end"])


def quote(language: str, text: str) -> str:
    """Return a sentence that quotes a message; empty in a language that quotes none."""
    sentence: str = load(language).get("quotation", "")
    return sentence.format(quote=text)

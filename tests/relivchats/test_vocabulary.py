"""The code and the docs use the terms of Django, Postgres, Celery and Stripe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Words that this project used in a meaning of its own, and the standard term for each.
RETIRED = {
    r"deeds?": "action, result",
    r"mend(s|ed|ing)?": "fix, remedy, repair",
    r"wishes": "options",
    r"whoever": "if, anyone who",
    r"nought": "zero, nothing",
    r"told": "reported, given; or the name of the value",
    r"anew": "again",
    r"befall(s|en)?": "happen to",
    r"to be had": "available",
    r"once more": "again",
    r"bonnet": "internals",
    r"misfits?": "not eligible",
    r"puts? (it |them )?right": "fix, recover",
    r"(most|least|fewest)_[a-z]+(?=\s*(:|=))": "MAX_, MIN_",
}
PATTERNS = {word: re.compile(rf"(?<![a-z]){word}(?![a-z])", re.IGNORECASE) for word in RETIRED}
DIRECTORIES = ("relivchats", "chats", "billing", "insights", "ops", "tests", "docs")
#: Text files that people read. Migrations are history, and the words of chats are data.
SUFFIXES = {".py", ".md", ".html"}


def text_files() -> list[Path]:
    """Return the files of the repository that the rule applies to."""
    paths = [path for directory in DIRECTORIES for path in (ROOT / directory).rglob("*")]
    paths += [*ROOT.glob("*.md"), *ROOT.glob("*.py"), ROOT / "dev"]
    return [
        path
        for path in paths
        if (path.suffix in SUFFIXES or path.name == "dev")
        and "migrations" not in path.parts
        and path.name != Path(__file__).name
    ]


def retired_words(text: str) -> list[str]:
    """Return a line for each retired word in a text: the line's number, the word, and the term to use."""
    return [
        f"line {number}: {match.group()!r}, use: {RETIRED[word]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for word, pattern in PATTERNS.items()
        if (match := pattern.search(line))
    ]


def test_no_retired_word_is_in_the_code_or_the_docs() -> None:
    found = [f"{path.relative_to(ROOT)} {line}" for path in text_files() for line in retired_words(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("# Nobody is told.", "told"),
        ("def mend_it(): ...", "mend"),
        ("MOST_ROWS = 5", "MOST_ROWS"),
        ("A Deed.", "Deed"),
    ],
)
def test_a_retired_word_is_found_in_prose_and_in_names(text: str, word: str) -> None:
    (line,) = retired_words(text)
    assert repr(word) in line


def test_words_that_contain_a_retired_word_are_allowed() -> None:
    assert retired_words("recommended, indeed, amendment, almost_all(x)") == []

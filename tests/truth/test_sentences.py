"""True sentences about every kind of episode, in every language, pass the checks of a finding; lies do not."""

from __future__ import annotations

from datetime import datetime

import pytest

from insights.evidence import is_supported
from insights.translation import LANGUAGES, get_language
from tests.truth import sentences

PEOPLE = ("Nadia Petrov", "Oliver Quist")
MESSAGE = "you lied to me and I know it"


def is_kept(text: str, language: str, at: datetime) -> bool:
    return is_supported(text, quotable=[MESSAGE], names=PEOPLE, language=language, times=[at])


@pytest.mark.parametrize("language", LANGUAGES)
def test_true_sentences_are_kept_in_their_language_and_in_no_other(language: str) -> None:
    words = sentences.load(language)
    roles = list(words["answers"])
    others = [code for code in LANGUAGES if code != language]
    for index, kind in enumerate(words["kinds"]):
        at = datetime.fromisoformat(f"2024-{index % 12 + 1:02}-05T17:30")
        described = sentences.describe(
            language,
            kind=kind,
            month=get_language(language).format_month(at),
            subject="work",
            person=PEOPLE[0],
            answers=[(PEOPLE[1], roles[index % len(roles)])],
        )
        written = f"{described} {sentences.quote(language, MESSAGE)}".strip()
        assert is_kept(written, language, at), written
        assert not is_kept(written, others[index % len(others)], at), written


@pytest.mark.parametrize("language", LANGUAGES)
def test_lies_are_refused(language: str) -> None:
    lies = sentences.load(language)["lies"]
    for text in [*lies["figures"], *lies["names"]]:
        assert not is_kept(text, language, datetime.fromisoformat("2024-03-05T17:30")), text

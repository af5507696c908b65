"""Texts in the languages of insights, and the files of their translations."""

from __future__ import annotations

from datetime import date

import pytest

from insights import translation_files
from insights.translation import LANGUAGES, get_language

TRANSLATED = sorted(LANGUAGES.keys() - {"en"})


@pytest.mark.parametrize("code", TRANSLATED)
def test_the_files_have_exactly_the_messages_of_the_catalogue_and_the_code(code: str) -> None:
    problems = translation_files.check(code)

    assert [problem for problem in problems if not problem.endswith(translation_files.NO_TRANSLATION)] == []


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_text_without_a_translation_is_shown_in_english(code: str) -> None:
    assert get_language(code).translate("What staff wrote {today}.") == "What staff wrote {today}."


def test_an_unknown_language_is_shown_in_english() -> None:
    assert get_language("xx").code == "en"


@pytest.mark.parametrize(
    ("code", "number", "day", "month", "names"),
    [
        ("en", "1,234,567.5", "5 March 2024", "March 2024", "A, B and C"),
        ("hi", "12,34,567.5", "5 मार्च 2024", "मार्च 2024", "A, B और C"),
        ("es", "1,234,567.5", "5 de marzo de 2024", "marzo de 2024", "A, B y C"),
        ("pt", "1.234.567,5", "5 de março de 2024", "março de 2024", "A, B e C"),
        ("de", "1.234.567,5", "5. März 2024", "März 2024", "A, B und C"),
    ],
)
def test_numbers_dates_and_lists_are_written_as_in_the_language(
    code: str, number: str, day: str, month: str, names: str
) -> None:
    language = get_language(code)

    assert language.format_number(1_234_567.5) == number
    assert language.say("{n}", n=1_234_567.5) == number
    assert language.format_date(date(2024, 3, 5)) == day
    assert language.format_month(date(2024, 3, 5)) == month
    assert language.join(["A", "B", "C"]) == names

"""Texts in the languages of insights, and the files of their translations."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from insights import translation_files
from insights.translation import DIRECTORY, LANGUAGES, get_language

TRANSLATED = sorted(LANGUAGES.keys() - {"en"})


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_text_of_the_catalogue_and_the_code_is_translated_completely(code: str) -> None:
    """After a change of the texts: `python -m insights.translation_files --update`, and translate what is new."""
    assert translation_files.check(code) == []


@pytest.mark.parametrize("code", TRANSLATED)
@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (
            'msgid "{names} and {count} other"\nmsgid_plural "{names} and {count} others"\nmsgstr[0] "{names}"',
            "no translation",
        ),
        ('msgid "Most often: {groups}."\nmsgstr "{group}."', "placeholders"),
        ('msgid "Most often: {groups}."\nmsgstr "{groups}"', "sign"),
        ('msgid "Most often: {groups}."\nmsgstr " {groups}."', "space"),
        ('msgid "Most often: {groups}."\nmsgstr ""', "no translation"),
        ('#, fuzzy\nmsgid "Most often: {groups}."\nmsgstr "{groups}."', "fuzzy"),
        ('msgid "No such text."\nmsgstr "{groups}."', "not used"),
        ('#~ msgid "An old text."\n#~ msgstr "x."', "obsolete"),
    ],
)
def test_a_broken_message_of_a_file_is_reported(
    code: str, broken: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = (DIRECTORY / code / "sentences.po").read_text().partition("\n\n")[0]
    (tmp_path / code).mkdir()
    for name in ("catalogue", "sentences"):
        (tmp_path / code / f"{name}.po").write_text(f"{header}\n\n{broken}\n")
    monkeypatch.setattr(translation_files, "DIRECTORY", tmp_path)

    assert any(problem in each for each in translation_files.check(code) if "is missing" not in each)


@pytest.mark.parametrize(
    ("code", "forms"),
    [
        ("en", ["0 messages", "1 message", "2 messages", "5 messages"]),
        ("hi", ["0 मैसेज", "1 मैसेज", "2 मैसेज", "5 मैसेज"]),
        ("es", ["0 mensajes", "1 mensaje", "2 mensajes", "5 mensajes"]),
        ("pt", ["0 mensagem", "1 mensagem", "2 mensagens", "5 mensagens"]),
        ("de", ["0 Nachrichten", "1 Nachricht", "2 Nachrichten", "5 Nachrichten"]),
    ],
)
def test_plural_forms_are_those_of_the_language(code: str, forms: list[str]) -> None:
    say = get_language(code).say_plural

    assert [say("{count} message", "{count} messages", count) for count in (0, 1, 2, 5)] == forms


def test_spanish_writes_e_before_the_sound_of_i() -> None:
    join = get_language("es").join

    assert join(["Ana", "Isabel"]) == "Ana e Isabel"
    assert join(["Ana", "Luis", "Hilda"]) == "Ana, Luis e Hilda"
    assert join(["agua", "hielo"]) == "agua y hielo"


def test_a_value_with_braces_is_no_placeholder() -> None:
    assert get_language("de").say("Most often: {groups}.", groups="{name}") == "Am häufigsten: {name}."


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


@pytest.mark.parametrize(
    ("code", "parts", "joined"),
    [
        ("en", ["trips and outings", "music"], "trips and outings; music"),
        ("de", ["Reisen und Ausflüge", "Musik und Tanzen"], "Reisen und Ausflüge; Musik und Tanzen"),
        ("de", ["Reisen und Ausflüge"], "Reisen und Ausflüge"),
        ("de", ["Reisen", "Musik"], "Reisen und Musik"),
    ],
)
def test_a_list_whose_parts_contain_and_has_semicolons(code: str, parts: list[str], joined: str) -> None:
    assert get_language(code).join(parts) == joined

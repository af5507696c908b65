"""The files of translations: their messages, collected from the catalogue and the code, and their checks. Pure.

`python -m insights.translation_files` checks the files; with `--update` it writes the messages that the catalogue and
the code have now, and keeps the translations of those that stay. It needs no servers.
"""

from __future__ import annotations

import io
import string
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from insights.definition import CatalogueFile
from insights.episodes import KINDS
from insights.facts import FACTS
from insights.scales import NOT_ENOUGH_DATA
from insights.translation import DIRECTORY, RATING, show_member
from insights.validation import list_texts

#: The functions whose literal arguments are messages: `say`, `say_plural` with two forms, and `mark`.
_KEYWORDS: Mapping[str, Any] = {"say": None, "say_plural": (1, 2), "mark": None}
#: The form of a plural by the count, as gettext writes it.
_PLURALS = {"hi": "n > 1", "es": "n != 1", "pt": "n > 1", "de": "n != 1"}
#: A sign at the end of a sentence, as English writes it.
_ENDS = {"।": "."}
_QUOTATION_MARKS = frozenset('“”„«»"')
#: The problem of a message without a translation.
NO_TRANSLATION = "has no translation"

_CONVENTIONS = {
    "hi": "Hindi in Devanagari, colloquial and correct. People are addressed with आप. Sentences end in a danda (।). Use"
    " forms that fit women and men: write with ने, or without a verb that shows the gender. Digits are 0 to 9.",
    "es": "Neutral Spanish of Latin America. People are addressed with tú, several with ustedes. Prefer forms that fit"
    " women and men.",
    "pt": "Portuguese of Brazil. People are addressed with você, several with vocês. Prefer forms that fit women and"
    " men.",
    "de": "German. People are addressed with du, several with ihr. Without gender signs: prefer forms that fit women"
    " and men. {days} and {duration} are in the dative: nach {duration}, an {days}.",
}
_COMMON_CONVENTIONS = (
    "Words are kind, plain and judge nobody: both people read them, and one may be the reader. The translation says no"
    " more than the English text, and sounds as if it had been written in the language. A name in {braces} is filled"
    " in and stays as it is. {a}, {b} and {all} are the names of one or of several people: choose words that fit both,"
    " such as a noun in place of a verb. A text `terms_label` stands before a colon. A text with the context `rating`"
    " stands alone next to the titles that its comment names. {about} is a text of `timeline: about`, which begins with"
    " its own space. `python -m insights.translation_files` checks the file; it also updates it, with --update."
)


@cache
def list_messages() -> dict[str, Catalog]:
    """Return the messages in English by the name of their file: those of the catalogue, and those of the code."""
    catalogue = Catalog()
    for path in sorted(Path(__file__).with_name("catalogue").glob("*.toml")):
        file = CatalogueFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        for location, text in list_texts(file.category, location=f"{file.category.id}"):
            catalogue.add(text, auto_comments=[location])
        for entry in file.types:
            for location, text in list_texts(entry, location=f"{file.category.id}: {entry.title}"):
                catalogue.add(text, auto_comments=[location])
            for title, scale in [
                ("overall", entry.overall.scale),
                *((section.title, section.scale) for section in entry.sections),
            ]:
                for member in scale:
                    catalogue.add(show_member(member), context=RATING, auto_comments=[f"{entry.title}: {title}"])
    catalogue.add(show_member(NOT_ENOUGH_DATA), context=RATING)
    for measure in FACTS.values():
        catalogue.add(measure.label, auto_comments=["a figure"])
    for kind in KINDS.values():
        catalogue.add(kind.title, auto_comments=[f"what was found in the chat: {kind.description}"])
    words = tomllib.loads(Path(__file__).with_name("timeline.toml").read_text(encoding="utf-8"))
    for location, text in _list_strings(words, "timeline"):
        catalogue.add(text, auto_comments=[location])
    sentences = Catalog()
    package = Path(__file__).parent
    for directory in (package, package.parent / "ops" / "demo"):
        for _, _, message, comments, _ in extract_from_dir(
            directory, keywords=_KEYWORDS, comment_tags=["Translators:"]
        ):
            sentences.add(message, auto_comments=comments)
    return {"catalogue": catalogue, "sentences": sentences}


def _list_strings(table: Any, location: str) -> Iterator[tuple[str, str]]:
    """Yield each sentence of the timeline's words, with its location."""
    if isinstance(table, str):
        if table:
            yield location, table
    elif isinstance(table, list):
        for entry in table:
            yield from _list_strings(entry, location)
    else:
        for key, value in table.items():
            if key not in ("kinds", "topic"):
                yield from _list_strings(value, f"{location}: {key}")


def update() -> None:
    """Write the files with the messages of now. A message that stays keeps its translation, others are removed."""
    for name, messages in list_messages().items():
        for code in _PLURALS:
            path = DIRECTORY / code / f"{name}.po"
            previous = read_po(io.BytesIO(path.read_bytes())) if path.exists() else Catalog()
            catalog = Catalog(fuzzy=False)
            for message in messages:
                if message.id:
                    known = previous.get(message.id, message.context)
                    catalog.add(
                        message.id,
                        known.string if known and known.id == message.id else ("", "") if message.pluralizable else "",
                        context=message.context,
                        auto_comments=message.auto_comments,
                    )
            written = io.BytesIO()
            write_po(written, catalog, width=120, omit_header=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_write_header(code) + written.getvalue().decode().rstrip() + "\n", encoding="utf-8")


def _write_header(code: str) -> str:
    comment = f"{_CONVENTIONS[code]} {_COMMON_CONVENTIONS}"
    return (
        "".join(f"# {line}\n" for line in wrap(comment, width=118)) + 'msgid ""\nmsgstr ""\n'
        f'"Language: {code}\\n"\n"MIME-Version: 1.0\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n'
        f'"Content-Transfer-Encoding: 8bit\\n"\n"Plural-Forms: nplurals=2; plural=({_PLURALS[code]});\\n"\n\n'
    )


def check(code: str) -> list[str]:
    """Return what is wrong in the files of a language, in sentences."""
    problems = []
    for name, messages in list_messages().items():
        path = DIRECTORY / code / f"{name}.po"
        translated = read_po(io.BytesIO(path.read_bytes()))
        where = f"{path.relative_to(DIRECTORY.parent)}: "
        expected = {(message.id, message.context) for message in messages if message.id}
        found = {(message.id, message.context): message for message in translated if message.id}
        problems += [f"{where}{key[0]!r} is missing: run --update" for key in sorted(expected - found.keys(), key=str)]
        problems += [f"{where}{key[0]!r} is not used: run --update" for key in sorted(found.keys() - expected, key=str)]
        problems += [f"{where}{key!r} is obsolete" for key in translated.obsolete]
        for message in found.values():
            problems += [f"{where}{message.id!r} {problem}" for problem in _check_message(message)]
    return problems


def _check_message(message: Message) -> Iterator[str]:
    if message.fuzzy:
        yield "is fuzzy"
    sources = [message.id] if isinstance(message.id, str) else message.id
    forms = [message.string or ""] if isinstance(message.string, str | None) else message.string
    if len(forms) != len(sources):
        yield "has the wrong number of plural forms"
        return
    if not all(form.strip() for form in forms):
        yield NO_TRANSLATION
        return
    # A singular may write its number as a word.
    allowed = set.union(*map(_find_placeholders, sources))
    for source, form in zip(sources, forms, strict=True):
        own = _find_placeholders(form)
        if own - allowed or _find_placeholders(source) - own:
            yield f"has other placeholders in {form!r}"
        if (form[:1].isspace(), form[-1:].isspace()) != (source[:1].isspace(), source[-1:].isspace()):
            yield f"begins or ends with another space in {form!r}"
        # In a finding, only what somebody wrote is quoted: other quotations are removed. Advice is no finding.
        is_advice = all(": advice: " in comment for comment in message.auto_comments or [""])
        if not is_advice and not _QUOTATION_MARKS.isdisjoint(form) and _QUOTATION_MARKS.isdisjoint(source):
            yield f"has quotation marks in {form!r}"
        end, source_end = form.rstrip()[-1], source.rstrip()[-1]
        if _ENDS.get(end, end) != source_end and (source_end in ".?!:" or end in ".।"):
            yield f"ends with another sign in {form!r}"


def _find_placeholders(text: str) -> set[str]:
    """Return the names in braces. Raise ValueError if the braces do not match."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def main(arguments: list[str]) -> int:
    """Update the files if asked to, and print what is wrong in them, or in those of the named languages."""
    if "--update" in arguments:
        update()
    codes = [argument for argument in arguments if argument in _PLURALS] or list(_PLURALS)
    problems = [problem for code in codes for problem in check(code)]
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems in {', '.join(codes)}.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

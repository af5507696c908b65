"""The languages of insights: texts, plural forms, numbers, dates and lists in each of them. Pure.

The texts are in translations/<language>/*.po, with the English text as the id of each message. A text without a
translation, such as one that staff edited, is shown in English. Babel reads the files when a language is used first,
so nothing has to be compiled.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from datetime import date
from functools import cache, cached_property
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING

from insights.scales import NOT_ENOUGH_DATA

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

DIRECTORY = Path(__file__).with_name("translations")
#: The context of the members of scales, as they are shown.
RATING = "rating"

_STARTS_WITH_I = re.compile(r"h?[ií](?![aeo])", re.IGNORECASE)

#: The name for prompts and the locale of each language.
LANGUAGES = {
    "en": ("English", "en_GB"),
    "hi": ("Hindi in Devanagari script", "hi_IN"),
    "es": ("Latin American Spanish", "es_419"),
    "pt": ("Brazilian Portuguese", "pt_BR"),
    "de": ("German", "de_DE"),
}


class Language:
    """One language. Numbers in the values of a sentence are written as it writes them."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.name, self._locale = LANGUAGES[code]

    @cached_property
    def _catalog(self) -> Catalog:
        return _load(self.code)

    @cached_property
    def _translations(self) -> NullTranslations:
        from babel.messages.mofile import write_mo

        # English needs no file.
        if self.code == "en":
            return NullTranslations()
        compiled = io.BytesIO()
        write_mo(compiled, self._catalog)
        compiled.seek(0)
        return GNUTranslations(compiled)

    def say(self, message: str, /, **values: str | float) -> str:
        """Return a sentence of the code with its placeholders filled in."""
        return self._fill(self._translations.gettext(message), values)

    def say_plural(self, singular: str, plural: str, count: int, /, **values: str | float) -> str:
        """Return the form of a sentence for a count, which is also the value of `{count}`."""
        return self._fill(self._translations.ngettext(singular, plural, count), {"count": count, **values})

    def translate(self, text: str) -> str:
        """Return a text of the catalogue in this language, or as it is if it has no translation."""
        return self._translations.gettext(text) if text else ""

    def show_rating(self, member: str) -> str:
        """Return the member of a scale as it is shown."""
        return self._translations.pgettext(RATING, show_member(member))

    def has(self, text: str) -> bool:
        """Return whether the text has a translation, or needs none."""
        return self.code == "en" or not text or (text in self._catalog and bool(self._catalog[text].string))

    def format_number(self, value: float) -> str:
        """Return a number with the separators of the language."""
        from babel.numbers import format_decimal

        return format_decimal(value, locale=self._locale)

    def format_date(self, day: date) -> str:
        """Return a date such as `5 March 2024`."""
        from babel.dates import format_date

        return format_date(day, "long", locale=self._locale)

    def format_month(self, day: date) -> str:
        """Return a month such as `March 2024`."""
        from babel.dates import format_skeleton

        return format_skeleton("yMMMM", day, locale=self._locale)

    def format_short_date(self, day: date) -> str:
        """Return a date such as `5 Mar 2024`."""
        from babel.dates import format_skeleton

        return format_skeleton("yMMMd", day, locale=self._locale)

    def count_days(self, days: int) -> str:
        """Return a number of days that stands alone: `2 days`."""
        from babel.units import format_unit

        return format_unit(days, "duration-day", locale=self._locale)

    def format_months(self, first: date, last: date) -> str:
        """Return two months as a span, such as `March to May 2024`."""
        from babel.dates import format_date

        same_year = first.year == last.year
        begin = format_date(first, "LLLL", locale=self._locale) if same_year else self.format_month(first)
        return self.say("{first} to {last}", first=begin, last=self.format_month(last))

    def lower_first(self, text: str) -> str:
        """Return a title as it is written within a sentence. Acronyms stay, and so do all words of German."""
        return text[:1].lower() + text[1:] if self.code != "de" and text[1:2].islower() else text

    def join(self, parts: Iterable[str]) -> str:
        """Return the parts with commas, and the language's `and` before the last; with semicolons if a part has one."""
        from babel.lists import format_list

        *before, last = list(parts) or [""]
        conjunction = format_list(["", ""], locale=self._locale)
        if before and any(conjunction in part for part in [*before, last]):
            return "; ".join([*before, last])
        # Spanish writes "e" before the sound of i.
        if self.code == "es" and before and _STARTS_WITH_I.match(last):
            return f"{', '.join(before)} e {last}"
        return format_list([*before, last], locale=self._locale)

    def _fill(self, template: str, values: dict[str, str | float]) -> str:
        shown = {name: value if isinstance(value, str) else self.format_number(value) for name, value in values.items()}
        return template.format(**shown)


@cache
def get_language(code: str) -> Language:
    """Return a language by its code; English if it is not one of LANGUAGES."""
    return Language(code if code in LANGUAGES else "en")


def mark(message: str) -> str:
    """Return the message, which is translated where it is used. `translation_files` finds it by this call."""
    return message


def show_member(member: str) -> str:
    """Return the member of a scale as it is shown in English."""
    return "not rated" if member == NOT_ENOUGH_DATA else member.replace("_", " ")


def _load(code: str) -> Catalog:
    """Return the messages of all files of a language."""
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import read_po

    merged = Catalog()
    for path in sorted((DIRECTORY / code).glob("*.po")):
        for message in read_po(io.BytesIO(path.read_bytes()), abort_invalid=True):
            # The header, with the plural forms, has an empty id.
            merged[message.id] = message
    return merged

"""Headers in every locale of a phone: the locale data (CLDR) formats them, and the parser reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from babel import Locale, dates, localedata

from chats.exports import whatsapp

#: The languages of WhatsApp, and other languages of phones.
LANGUAGES = """
af am ar az be bg bn bs ca cs da de el en es et eu fa fi fil fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko ky lo
lt lv mk ml mn mr ms my nb ne nl pa pl pt ro ru si sk sl sq sr sv sw ta te th tr uk ur uz vi zh zu
"""
#: Two locales whose 12-hour times have no marker in CLDR, so that morning and evening look equal, and scripts that no
#: phone prints.
LEFT_OUT = {"fr_CM", "es_AR", "en_Dsrt", "en_Dsrt_US", "en_Shaw", "en_Shaw_GB"}
SENT = [
    datetime.fromisoformat(at)
    for at in (
        "2024-01-30T21:05:09",
        "2024-02-13T09:05:09",
        "2024-02-14T00:05:09",
        "2024-03-01T12:05:09",
        "2024-03-02T13:05:09",
    )
]


def locales() -> list[str]:
    names = sorted(set(localedata.locale_identifiers()) - LEFT_OUT)
    return [name for name in names if name.partition("_")[0] in LANGUAGES.split()]


def times(locale: Locale, *, seconds: bool) -> Iterator[str]:
    """Yield the patterns of the locale's usual clock, and of the 12-hour and 24-hour clocks to choose from."""
    yield locale.time_formats["medium" if seconds else "short"].pattern
    for skeleton in ("hms", "Hms") if seconds else ("hm", "Hm"):
        if time_format := locale.datetime_skeletons.get(skeleton):
            yield time_format.pattern


def headers(locale: Locale, time: str, joined: str) -> list[str]:
    return [
        joined.replace("{1}", dates.format_date(at, "short", locale)).replace(
            "{0}", dates.format_time(at, time, locale=locale)
        )
        for at in SENT
    ]


@pytest.mark.parametrize("language", LANGUAGES.split())
def test_every_locale_of_a_language_is_read(language: str) -> None:
    for name in locales():
        if name.partition("_")[0] == language:
            check(Locale.parse(name))


def check(locale: Locale) -> None:
    for ios in (False, True):
        # WhatsApp separates date and time with a comma, and iPhones join them as the locale does.
        for joined in {"{1}, {0}", str(locale.datetime_formats["short"])}:
            for time in dict.fromkeys(times(locale, seconds=ios)):
                printed = headers(locale, time, joined)
                lines = [f"[{header}] Asha: x\r\n" if ios else f"{header} - Asha: x\n" for header in printed]
                export = whatsapp.parse("".join(lines).encode())
                messages = [message for batch in export.batches for message in batch.messages(export.participants)]
                expected = [at if "s" in time else at.replace(second=0) for at in SENT]
                assert [message.sent_at for message in messages] == expected, (str(locale), printed[0])
                assert export.participants == ["Asha"]

"""Every locale that a phone prints WhatsApp's headers in: written by the locale data (CLDR), read by the parser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from babel import Locale, dates, localedata

from chats.exports import whatsapp

#: The languages that WhatsApp speaks, and some that phones do.
LANGUAGES = """
af am ar az be bg bn bs ca cs da de el en es et eu fa fi fil fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko ky lo
lt lv mk ml mn mr ms my nb ne nl pa pl pt ro ru si sk sl sq sr sv sw ta te th tr uk ur uz vi zh zu
"""
#: Their 12-hour times have no marker here, so no one could tell morning from evening; and scripts no phone prints.
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
    """The patterns of the locale's own clock, and of the other one, which the phone's owner may choose."""
    yield locale.time_formats["medium" if seconds else "short"].pattern
    for skeleton in ("hms", "Hms") if seconds else ("hm", "Hm"):
        if found := locale.datetime_skeletons.get(skeleton):
            yield found.pattern


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
        # WhatsApp sets a comma between date and time; iPhones join them as the locale does.
        for joined in {"{1}, {0}", str(locale.datetime_formats["short"])}:
            for time in dict.fromkeys(times(locale, seconds=ios)):
                printed = headers(locale, time, joined)
                lines = [f"[{header}] Asha: x\r\n" if ios else f"{header} - Asha: x\n" for header in printed]
                export = whatsapp.parse("".join(lines).encode())
                messages = [message for batch in export.batches for message in batch.messages(export.participants)]
                expected = [at if "s" in time else at.replace(second=0) for at in SENT]
                assert [message.sent_at for message in messages] == expected, (str(locale), printed[0])
                assert export.participants == ["Asha"]

"""Generate realistic exports: two people or a group, Hinglish, emoji, links, media, messages of several lines.

The same arguments give the same bytes. `lines` yields one record at a time, so a million messages need little memory.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words(
    "Aarav Anaya Rohan Meera Kabir Tara Vihaan Diya Arjun Isha Dev Nisha Karan Pooja Aditya Sneha Neel Riya Sameer Zoya"
)
WORDS = _words("""
haan nahi yaar kya kal aaj abhi phir chalo acha theek bata suno matlab kaise kyun kahan milte ghar office chai khana
bohot thoda sab kuch accha lagta pyaar dost bhai didi mummy papa shaadi paisa ticket train flight hotel movie gaana
the you and for that with this have not but what when how love miss home work meeting call late early morning night
tomorrow today weekend dinner lunch coffee sorry thanks please happy tired hungry sleep dream plan travel beach rain
project deadline boss salary rent doctor gym match cricket score ticket birthday gift cake party photo song don't
can't it's we're I'll okay really maybe never always sometimes together forever wait listen promise remember forget
""")
DEVANAGARI = _words("हाँ नहीं कल आज प्यार दोस्त घर चाय खाना बहुत अच्छा शादी हिन्दी")
EMOJI = _words("😂 ❤️ 😍 🙏🏽 😭 👍🏻 🔥 🥰 👩‍❤️‍👨 🇮🇳 🎉 😅")
SITES = (
    "https://youtu.be/{}",
    "https://www.instagram.com/reel/{}/",
    "https://maps.app.goo.gl/{}",
    "http://example.com/{}",
)
ENDINGS = ("", "", "", "", "!", "?", "...", " :)", "??", ".")
_STYLES = {
    "android-24h": ("%d/%m/%Y, %H:%M - ", "\n"),
    "android-12h": ("%d/%m/%y, %I:%M\u202f%p - ", "\n"),
    "android-us": ("%m/%d/%y, %I:%M %p - ", "\n"),
    "ios-24h": ("[%d/%m/%Y, %H:%M:%S] ", "\r\n"),
    "ios-12h": ("[%d/%m/%y, %I:%M:%S\u202f%p] ", "\r\n"),
}
STYLES = tuple(_STYLES)


def lines(messages: int, *, people: int = 2, seed: int = 1, style: str = "android-24h") -> Iterator[str]:
    """Yield the records of an export, each with its line end."""
    chance = random.Random(seed)
    header, end = _STYLES[style]
    names = [NAMES[number] if number < len(NAMES) else f"Guest {number}" for number in range(people)]
    ios = header.startswith("[")
    at = datetime.fromisoformat("2021-03-01T08:00")
    # A few people write most of a group's messages.
    weights = [1 / (number + 1) for number in range(people)] if people > 2 else [1] * people
    sender = names[0]
    for number in range(messages):
        at += timedelta(seconds=_pause(chance))
        if chance.random() < 0.55:
            sender = chance.choices(names, weights)[0]
        printed = at.strftime(header)
        if number == 0 or chance.random() < 0.0005:
            yield _system(chance, printed, names, ios=ios) + end
            continue
        before, body = _body(chance, ios=ios)
        yield f"{before}{printed}{sender}: {body}{end}"


def text(messages: int, *, people: int = 2, seed: int = 1, style: str = "android-24h") -> bytes:
    """Return the bytes of an export."""
    return "".join(lines(messages, people=people, seed=seed, style=style)).encode()


def write(path: Path, messages: int, *, people: int = 2, seed: int = 1, style: str = "android-24h") -> Path:
    """Write an export to a file. Return its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines(messages, people=people, seed=seed, style=style))
    return path


def zipped(content: bytes, *, name: str = "WhatsApp Chat with Meera.txt") -> bytes:
    """Return a zip archive with one file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def _pause(chance: random.Random) -> float:
    """Return seconds until the next message: most follow at once, some after hours, and a few after days."""
    kind = chance.random()
    if kind < 0.80:
        return chance.expovariate(1 / 45)
    if kind < 0.97:
        return chance.expovariate(1 / 1800)
    return chance.expovariate(1 / 30_000) + (86_400 * 3 if kind > 0.9995 else 0)


def _system(chance: random.Random, printed: str, names: list[str], *, ios: bool) -> str:
    actor, other = chance.choice(names), chance.choice(names)
    what = f"{actor} added {other}" if len(names) > 2 else "Messages and calls are end-to-end encrypted."
    return f"{printed}Our chat: \u200e{what}" if ios else f"{printed}{what}"


def _body(chance: random.Random, *, ios: bool) -> tuple[str, str]:
    """Return the marks before the header, and the text of the message."""
    kind = chance.random()
    if kind < 0.04:
        return ("\u200e", "\u200eimage omitted") if ios else ("", "<Media omitted>")
    if kind < 0.045:
        return ("\u200e", "\u200eThis message was deleted.") if ios else ("", "This message was deleted")
    if kind < 0.05:
        return ("\u200e", "\u200eMissed voice call") if ios else ("", "Missed voice call")
    sentence = _sentence(chance)
    if kind < 0.07:
        sentence += " " + chance.choice(SITES).format(chance.randrange(10**6))
    elif kind < 0.10:
        sentence += "\n" + _sentence(chance) + "\n" + _sentence(chance)
    elif kind < 0.11:
        sentence += " \u200e<This message was edited>" if ios else " <This message was edited>"
    return "", sentence


def _sentence(chance: random.Random) -> str:
    size = min(30, 1 + int(chance.expovariate(1 / 4.2)))
    words = chance.choices(WORDS, k=size)
    kind = chance.random()
    if kind < 0.12:
        words.append(chance.choice(EMOJI) * chance.choice((1, 1, 2, 3)))
    elif kind < 0.16:
        words[:] = chance.choices(DEVANAGARI, k=size)
    return " ".join(words).capitalize() + chance.choice(ENDINGS)

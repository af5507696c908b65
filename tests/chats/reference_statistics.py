"""A slow and simple implementation of docs/statistics.md, message by message, written from that page alone."""

from __future__ import annotations

import calendar
import re
import statistics
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Collection
from datetime import date, datetime, timedelta
from functools import cache
from itertools import groupby, pairwise
from math import ceil, log, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import stopwordsiso

from chats.exports.parsed import MediaKind, Message, MessageKind
from tests import exports

Figures = dict[str, Any]

LISTS = Path(__file__).parents[2] / "chats" / "statistics"
LANGUAGES: dict[str, dict[str, str | None]] = {
    "latin": {
        "english": None,
        "hinglish": None,
        "german": "de",
        "french": "fr",
        "spanish": "es",
        "portuguese": "pt",
        "italian": "it",
        "dutch": "nl",
        "indonesian": "id",
        "turkish": "tr",
    },
    "devanagari": {"hindi": "hi", "marathi": "mr", "nepali": None},
    "arabic_script": {"arabic": "ar", "persian": "fa", "urdu": "ur"},
    "cyrillic": {"russian": "ru", "ukrainian": "uk", "bulgarian": "bg"},
}
OWN_STOP_WORDS = {"english": "en", "hinglish": "hi-Latn", "hindi": "hi"}
SCRIPTS = {"ARABIC": "arabic_script", "CJK": "han", "HIRAGANA": "han", "KATAKANA": "han"}
LINK_START = re.compile(r"https?://|(?<![A-Za-z0-9_])www\.", re.IGNORECASE)
UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI")
KEYCAP = re.compile("[0-9#*]\ufe0f?\u20e3")
APOSTROPHES, DOUBLE_QUOTES, ARMENIAN_MARKS = "'’‘`´ʼ׳", '"״”', "՛՜՞"


def figures(messages: list[Message], participants: list[str], recorded: Collection[str] = ()) -> Figures:
    sent = [message for message in messages if message.sender is not None]
    wrote = Counter(message.sender for message in sent)
    ranked = sorted((name for name in participants if wrote[name]), key=lambda name: -wrote[name])
    listed, rest = ranked[:50], ranked[50:]
    mentioned = mentions_by_name(sent, participants)
    chat = Chat(sent, stop_words_of(sent))
    people = {
        name: {
            **person(chat, {name}),
            "times_mentioned": mentioned[name],
            **details_of_person(sent, {name}, recorded),
        }
        for name in listed
    }
    others = {
        "people": len(rest),
        **person(chat, set(rest)),
        "times_mentioned": sum(mentioned[name] for name in participants if name not in listed),
        **details_of_person(sent, set(participants) - set(listed), recorded),
    }
    details = details_of_chat(sent, recorded)
    links = [(link, message) for message in sent for link in links_in(own_words(message) or "")]
    sites = Counter(
        re.sub(r"https?://(www\.)?|www\.", "", link.lower()).split("/")[0].split("?")[0] for link, _ in links
    )
    return {
        "total_messages": len(sent),
        **amounts(sent),
        "calls_count": sum(is_call(message) for message in messages),
        "top_mentions": [{"name": name, "count": count} for name, count in ordered(mentioned)[:20]],
        **top_terms(chat, sent),
        **language_and_sentiment(sent),
        **days_and_hours(sent),
        "conversations_count": chat.starts.total(),
        "conversation_starts": {name: share(chat.starts[name], chat.starts.total()) for name in listed},
        "conversation_ends": {name: share(chat.ends[name], chat.ends.total()) for name in listed},
        **response_times(chat.responses),
        **longest_silence(sent),
        "links": [
            {"url": link, "user": message.sender, "timestamp": message.sent_at.isoformat()} for link, message in links
        ][:1000],
        "top_sites": [{"site": site, "count": count} for site, count in ordered(sites)[:20]],
        **details,
        "user_stats": people,
        "others": others if rest else None,
    }


class Response(NamedTuple):
    by: str
    at: datetime
    seconds: int


class Chat:
    """Figures that need the whole conversation: turns, conversations, responses."""

    def __init__(self, sent: list[Message], stop_words: frozenset[str]) -> None:
        self.sent = sent
        self.stop_words = stop_words
        self.starts = Counter([str(message.sender) for message in sent[:1]])
        self.ends: Counter[str] = Counter()
        self.responses: list[Response] = []
        for before, after in pairwise(sent):
            gap = seconds_between(before, after)
            if gap >= 6 * 3600:
                self.starts[str(after.sender)] += 1
                self.ends[str(before.sender)] += 1
            if before.sender != after.sender and 0 <= gap < 4 * 3600:
                self.responses.append(Response(str(after.sender), after.sent_at, gap))
        self.runs = [(name, len(list(group))) for name, group in groupby(sent, key=lambda message: str(message.sender))]


def person(chat: Chat, names: set[str]) -> Figures:
    mine = [message for message in chat.sent if message.sender in names]
    texts = [text for message in mine if (text := own_words(message)) is not None]
    runs = [length for name, length in chat.runs if name in names]
    starts, ends = (sum(count[name] for name in names) for count in (chat.starts, chat.ends))
    hours = [sum(message.sent_at.hour == hour for message in mine) for hour in range(24)]
    counted = amounts(mine)
    return {
        "message_count": len(mine),
        "word_count": counted["total_words"],
        "avg_words_per_message": rounded(counted["total_words"], len(texts)),
        "avg_message_length_chars": rounded(sum(map(len, texts)), len(texts)),
        "deleted_messages": counted["deleted_messages_count"],
        "media_shared": counted["media_shared_count"],
        "links_shared": counted["links_shared_count"],
        "calls": sum(message.kind == MessageKind.CALL for message in mine),
        "edited_messages": counted["edited_messages_count"],
        "conversation_initiations": starts,
        "conversation_initiations_percent": percent(starts, chat.starts.total()),
        "conversation_endings": ends,
        "conversation_endings_percent": percent(ends, chat.ends.total()),
        "double_texting_rate": percent(sum(length > 1 for length in runs), len(runs)),
        "questions_asked": counted["questions_count"],
        "mentions_written": counted["mentions_count"],
        **response_times([response for response in chat.responses if response.by in names]),
        **top_terms(chat, mine),
        "distinctive_words": distinctive_words(chat, mine),
        **language_and_sentiment(mine),
        "busiest_hour": hours.index(max(hours)) if mine else None,
        "hourly_distribution": hours,
        "messages_by_month": by_month(mine),
        "longest_message": longest_message(mine),
    }


def amounts(sent: list[Message]) -> Figures:
    texts = [text for message in sent if (text := own_words(message)) is not None]
    return {
        "total_words": sum(len(words_of(text)) for text in texts),
        "deleted_messages_count": sum(message.kind == MessageKind.DELETED for message in sent),
        "media_shared_count": sum(message.kind == MessageKind.MEDIA for message in sent),
        "links_shared_count": sum(len(links_in(text)) for text in texts),
        "edited_messages_count": sum(message.edited for message in sent),
        "questions_count": sum(is_question(without_links(text)) for text in texts),
        "mentions_count": sum(len(mentions_in(without_links(text))) for text in texts),
    }


def is_question(text: str) -> bool:
    return any(mark in text for mark in "?？؟՞") or any(re.search("[α-ωά-ώ];$", word) for word in text.split())


def is_call(message: Message) -> bool:
    return message.kind == MessageKind.CALL or (
        message.kind == MessageKind.SYSTEM and message.text == "Missed voice call"
    )


def seconds_between(before: Message, after: Message) -> int:
    gap = int((after.sent_at - before.sent_at).total_seconds())
    if before.utc_offset is not None and after.utc_offset is not None:
        gap -= after.utc_offset - before.utc_offset
    return gap


def details_of_chat(sent: list[Message], recorded: Collection[str]) -> Figures:
    sender = {message.number: message.sender for message in sent}
    replies = Counter(
        (str(message.sender), str(answered))
        for message in sent
        if message.details.reply_to is not None and (answered := sender.get(message.details.reply_to))
    )
    reactions = Counter({emoji: 0 for message in sent for emoji, *_ in message.details.reactions})
    for message in sent:
        for emoji, total, _ in message.details.reactions:
            reactions[emoji] += total
    reacted = sorted(
        (message for message in sent if message.details.reactions),
        key=lambda message: (-sum(reaction.total for reaction in message.details.reactions), message.number),
    )
    replying = sum(message.details.reply_to is not None for message in sent)
    reaction_figures = {
        "reactions_count": reactions.total(),
        "top_reactions": [{"emoji": emoji, "count": count} for emoji, count in ordered(reactions)],
        "most_reacted_messages": [
            {
                "number": message.number,
                "user": message.sender,
                "timestamp": message.sent_at.isoformat(),
                "reactions": sum(reaction.total for reaction in message.details.reactions),
                "top_emoji": max(message.details.reactions, key=lambda reaction: reaction.total).emoji,
                "message": message.text[:500],
            }
            for message in reacted[:10]
        ],
    }
    reply_figures = {
        "replies_count": replying,
        "top_replies": [
            {"from": one, "to": other, "count": count}
            for (one, other), count in sorted(replies.items(), key=lambda pair: (-pair[1], pair[0]))
        ][:50],
    }
    forwarded = {"forwarded_messages_count": sum(message.details.is_forwarded for message in sent)}
    return {
        **media_and_durations(sent, recorded),
        **(forwarded if "forwards" in recorded else dict.fromkeys(forwarded)),
        **(reply_figures if "replies" in recorded else dict.fromkeys(reply_figures)),
        **(reaction_figures if "reactions" in recorded else dict.fromkeys(reaction_figures)),
    }


def details_of_person(sent: list[Message], names: set[str], recorded: Collection[str]) -> Figures:
    mine = [message for message in sent if message.sender in names]
    sender = {message.number: message.sender for message in sent}
    answers = [message.details.reply_to for message in sent if message.details.reply_to is not None]
    reactions = [reaction for message in sent for reaction in message.details.reactions]
    mine_reacted = [reaction for message in mine for reaction in message.details.reactions]
    forwarded = sum(message.details.is_forwarded for message in mine)
    received = sum(sender.get(number) in names for number in answers)
    given = sum(person in names for reaction in reactions for person in reaction.people)
    return {
        **media_and_durations(mine, recorded),
        "forwarded_messages": forwarded if "forwards" in recorded else None,
        "replies_sent": sum(m.details.reply_to is not None for m in mine) if "replies" in recorded else None,
        "replies_received": received if "replies" in recorded else None,
        "reactions_given": given if "reactions" in recorded else None,
        "reactions_received": sum(r.total for r in mine_reacted) if "reactions" in recorded else None,
    }


def media_and_durations(sent: list[Message], recorded: Collection[str]) -> Figures:
    kinds = Counter(message.details.media for message in sent if message.details.media)
    media = sum(message.kind == MessageKind.MEDIA for message in sent)
    calls = [m.details.duration_seconds or 0 for m in sent if m.kind == MessageKind.CALL]
    voice = [m.details.duration_seconds or 0 for m in sent if m.details.media == "voice"]
    by_kind = {kind.value: kinds[kind] for kind in MediaKind}
    by_kind["unspecified"] = media - kinds.total()
    return {
        "media_by_kind": by_kind if "media_kinds" in recorded else None,
        "call_seconds": sum(calls) if "call_durations" in recorded else None,
        "voice_seconds": sum(voice) if "voice_durations" in recorded else None,
    }


def own_words(message: Message) -> str | None:
    if message.details.is_forwarded:
        return None
    if message.kind == MessageKind.TEXT:
        return message.text
    placeholder, *lines = message.text.split("\n")
    name = re.fullmatch(r'[^/\\:*?"<>|]+\.(\w+)', lines[0]) if lines else None
    if name and (
        lines[0] in placeholder
        or (name[1] in ("pdf", "xlsx") and message.details.media is None)
        or (name[1] in ("pdf", "xlsx") and message.details.media == "document" and f".{name[1]}" in placeholder)
    ):
        del lines[0]
    caption = "\n".join(lines)
    return caption if message.kind == MessageKind.MEDIA and caption else None


def without_links(text: str) -> str:
    for link in links_in(text):
        text = text.replace(link, " ", 1)
    return text


@cache
def links_in(text: str) -> list[str]:
    found, place = [], 0
    while start := LINK_START.search(text, place):
        place = start.end()
        while place < len(text) and belongs_to_link(text[start.end() : place], text[place:]):
            place += 1
        link = text[start.start() : place].rstrip(".,;:!?'*~|" + "_" * (text[start.start() - 1 : start.start()] == "_"))
        if len(link) > len(start[0]):
            found.append(link)
    return found


def belongs_to_link(before: str, rest: str) -> bool:
    char, is_path = rest[0], re.search("[/?#]", before)
    if is_unspaced(char):
        starts_part = before[-1:] in tuple("/=_-#:@(+" if is_path else ".") and not before.endswith("==")
        return not before or starts_part or is_unspaced(before[-1])
    if not char.isascii():
        return unicodedata.category(char)[0] in "LM" or char in "\u200c\u200d"
    if not is_path:
        return char.isalnum() or (bool(before) and char in "-_./?#")
    for opening, closing in ("()", "[]"):
        if char == opening:
            return closing in rest.split(maxsplit=1)[0]
        if char == closing:
            return before.count(opening) > before.count(closing)
    return not char.isspace() and char not in '<>"`\\^{}'


def is_unspaced(char: str) -> bool:
    return unicodedata.name(char, "").startswith(UNSPACED_SCRIPTS)


@cache
def words_of(text: str) -> list[str]:
    """Return the words of a text. A word is a run of letters, marks, digits and joiners that holds a letter."""
    spelled = ""
    for char in unicodedata.normalize("NFC", KEYCAP.sub(" ", without_links(text)).lower()):
        if char in APOSTROPHES:
            spelled += "'"
        elif char in DOUBLE_QUOTES:
            spelled += '"'
        elif unicodedata.category(char)[0] in "LMN" or char in "·\u200c\u200d":
            spelled += f" {char} " if is_ideograph(char) else char
        elif unicodedata.category(char) != "Cf" and char not in ARMENIAN_MARKS:
            spelled += " "
    spelled = re.sub(r"(?<![א-ת])\"|\"(?![א-ת])", " ", spelled.replace("\ufe0f", ""))
    # What joins words has a part of a word on both sides.
    pieces = re.sub(r"(?<![^\s'·])['·]|['·](?![^\s'·])", " ", spelled).split()
    return [word.strip("\u200c") for word in pieces if any(map(str.isalpha, word))]


def is_ideograph(char: str) -> bool:
    return "\u3041" <= char <= "\u309f" or "\u4e00" <= char <= "\u9fff"


@cache
def emoji_of(text: str) -> list[str]:
    text, found = without_links(text), []
    for sign in sorted({*exports.EMOJI, *KEYCAP.findall(text), "❤", "😡", "👍"}, key=len, reverse=True):
        found += [re.sub("[\U0001f3fb-\U0001f3ff]", "", sign)] * text.count(sign)
        text = text.replace(sign, " ")
    return found


def top_terms(chat: Chat, sent: list[Message]) -> Figures:
    signs = Counter(sign for message in sent for sign in emoji_of(own_words(message) or ""))
    if signs["❤"] >= signs["❤️"]:
        signs["❤"], signs["❤️"] = signs["❤"] + signs["❤️"], 0
    else:
        signs["❤️"], signs["❤"] = signs["❤"] + signs["❤️"], 0
    return {
        "top_words": [{"word": word, "count": uses} for word, uses in ordered(content_words(chat, sent))[:50]],
        "top_emojis": [{"emoji": sign, "count": uses} for sign, uses in ordered(+signs)[:40]],
    }


def content_words(chat: Chat, sent: list[Message]) -> Counter[str]:
    words = Counter(word for message in sent for word in words_of(own_words(message) or ""))
    return Counter(
        {
            word: uses
            for word, uses in words.items()
            if word not in chat.stop_words and not (len(word) == 1 and word.isascii()) and len(word) <= 100
        }
    )


def distinctive_words(chat: Chat, mine: list[Message]) -> list[Figures]:
    own, everyone = content_words(chat, mine), content_words(chat, chat.sent)
    n_own, n_all = own.total(), everyone.total()
    found: list[Figures] = []
    for word, uses in own.items():
        if uses < 5 or n_own == n_all:
            continue
        prior, priors = everyone[word] / 10, n_all / 10
        others, n_others = everyone[word] - uses, n_all - n_own
        odds = (uses + prior) / max(n_own + priors - uses - prior, 0.5)
        others_odds = (others + prior) / max(n_others + priors - others - prior, 0.5)
        score = (log(odds) - log(others_odds)) / sqrt(1 / (uses + prior) + 1 / (others + prior))
        if score >= 1.96:
            found.append({"word": word, "count": uses, "score": round(score, 2)})
    return sorted(found, key=lambda entry: (-entry["score"], entry["word"]))[:20]


def longest_message(mine: list[Message]) -> Figures | None:
    texts = [(text, message.sent_at) for message in mine if (text := own_words(message))]
    if not texts:
        return None
    size = max(len(text) for text, _ in texts)
    text, at = next((text, at) for text, at in texts if len(text) == size)
    return {"word_count": len(words_of(text)), "char_count": size, "timestamp": at.isoformat(), "message": text[:500]}


@cache
def mentions_in(text: str) -> list[str]:
    found = []
    for at in (place for place, char in enumerate(text) if char == "@"):
        if at and text[at - 1].isalnum():
            continue
        rest = text[at + 1 :]
        name, closed, _ = rest[1:].partition("\u2069")
        if rest.startswith("\u2068") and closed and "\u2068" not in name:
            label = name
        else:
            label = re.split(r"[\s,!?:;@*\u2068\u2069]", rest)[0].rstrip(".-")
        if label.strip("~ "):
            found.append(label.strip("~ "))
    return found


def mentions_by_name(sent: list[Message], participants: list[str]) -> Counter[str]:
    named: Counter[str] = Counter()
    for message in sent:
        for label in mentions_in(without_links(own_words(message) or "")):
            whole = [name for name in participants if plain(name) == plain(label)]
            first = [name for name in participants if plain(name).split()[0] == plain(label)]
            named[whole[-1] if whole else first[0] if len(first) == 1 else label] += 1
    return named


def plain(name: str) -> str:
    if re.fullmatch(r"\+?[0-9][0-9 ]+", name):
        return re.sub("[^0-9]", "", name)
    return name.strip("~ ").lower()


def language_and_sentiment(sent: list[Message]) -> Figures:
    spoken = Counter(language for message in sent if (language := language_of(own_words(message) or "")))
    months = {month: list(group) for month, group in groupby(sorted(map(month_of, sent)))}
    by_month = {
        month: totals
        for month in months
        if (totals := sentiment([m for m in sent if month_of(m) == month]))["messages"]
    }
    return {
        "language_mix": {name: share(count, spoken.total()) for name, count in ordered(spoken)},
        "sentiment": sentiment(sent),
        "sentiment_by_month": by_month,
    }


def month_of(message: Message) -> str:
    return message.sent_at.strftime("%Y-%m")


@cache
def language_of(text: str) -> str | None:
    words = words_of(text)
    if not words:
        return None
    (script, votes), *more = Counter(script_of(word) for word in words).most_common()
    if more and more[0][1] == votes:
        return "mixed"
    identified = Counter(
        language for word in words if script_of(word) == script for language in [identified_language(word)] if language
    )
    if not identified:
        return "unknown" if script == "latin" else script
    (language, votes), *more = identified.most_common()
    return "mixed" if more and more[0][1] == votes else language


@cache
def script_of(word: str) -> str:
    first = unicodedata.name(next(filter(str.isalpha, word))).split()[0]
    return SCRIPTS.get(first, first.lower())


@cache
def identified_language(word: str) -> str | None:
    if any("\u3041" <= char <= "\u30ff" for char in word):
        return "japanese"
    own = toml("languages")
    for language, lists in own.items():
        if word in lists.get("also", "").split():
            return str(language)
    languages = LANGUAGES.get(script_of(word), {})
    claims = [name for name in languages if word in common_words(name)]
    return claims[0] if len(claims) == 1 else None


@cache
def common_words(language: str) -> frozenset[str]:
    return stop_words(language) | frozenset(toml("languages").get(language, {}).get("words", "").split())


@cache
def stop_words(language: str) -> frozenset[str]:
    codes = {name: code for languages in LANGUAGES.values() for name, code in languages.items()}
    words: set[str] = set()
    if code := codes.get(language):
        listed = [word for word in stopwordsiso.stopwords(code) if len(word) > 1 or not word.isascii()]
        words |= {unicodedata.normalize("NFC", word) for word in listed}
    if language in OWN_STOP_WORDS:
        words |= set(toml("stop_words")[OWN_STOP_WORDS[language]]["words"].split())
    return frozenset(words)


def stop_words_of(sent: list[Message]) -> frozenset[str]:
    always = [frozenset(toml("stop_words")[code]["words"].split()) for code in OWN_STOP_WORDS.values()]
    mix = Counter(language for message in sent if (language := language_of(own_words(message) or "")))
    spoken = [stop_words(name) for name, count in mix.items() if count >= mix.total() / 20]
    return frozenset().union(*always, *spoken)


@cache
def toml(name: str) -> dict[str, Any]:
    return tomllib.loads((LISTS / f"{name}.toml").read_text(encoding="utf-8"))


def sentiment(sent: list[Message]) -> Figures:
    counts: Counter[str] = Counter()
    for message in sent:
        found = polar_terms(own_words(message) or "")
        counts.update(found)
        counts["messages"] += bool(found)
    polar = counts["positive"] + counts["negative"]
    balance = round((counts["positive"] - counts["negative"]) / polar, 2) if polar >= 20 else None
    return {**{key: counts[key] for key in ("positive", "negative", "messages")}, "balance": balance}


@cache
def polar_terms(text: str) -> list[str]:
    lists, polarity = toml("sentiment"), polarity_of_words()
    english = lists["english"]["negations"].split()
    hindi = [*lists["hinglish"]["negations"].split(), *lists["hindi"]["negations"].split()]
    words = words_of(text)
    polarities = [polarity.get(word) for word in words]
    negated: set[int] = set()
    for place, word in enumerate(words):
        if word in english:
            after = (later for later in range(place + 1, min(place + 4, len(words))) if polarities[later])
            negated.update(list(after)[:1])
        elif word in hindi and place and polarities[place - 1]:
            negated.add(place - 1)
        elif word in hindi and place + 1 < len(words) and polarities[place + 1]:
            negated.add(place + 1)
    other = {"positive": "negative", "negative": "positive"}
    found = [other[one] if place in negated else one for place, one in enumerate(polarities) if one]
    return found + [one for sign in emoji_of(text) if (one := polarity.get(sign.replace("\ufe0f", "")))]


@cache
def polarity_of_words() -> dict[str, str]:
    lists = toml("sentiment").values()
    return {word: field for words in lists for field in ("positive", "negative") for word in words[field].split()}


def days_and_hours(sent: list[Message]) -> Figures:
    days = sorted({message.sent_at.date() for message in sent})
    streaks: list[tuple[int, date]] = []
    for place, day in enumerate(days):
        follows = place and day - days[place - 1] == timedelta(days=1)
        streaks.append((streaks[-1][0] + 1, day) if follows else (1, day))
    length, end = max(streaks, key=lambda streak: streak[0])
    first, last = (pick(message.sent_at for message in sent).isoformat() for pick in (min, max))
    hours = [sum(message.sent_at.hour == hour for message in sent) for hour in range(24)]
    weekdays = {name: [m for m in sent if m.sent_at.weekday() == day] for day, name in enumerate(calendar.day_name)}
    total_days = (days[-1] - days[0]).days + 1
    return {
        "date_range": {"start": first, "end": last},
        "first_message_at": first,
        "last_message_at": last,
        "total_days": total_days,
        "active_days": len(days),
        "messages_per_day_avg": rounded(len(sent), total_days),
        "messages_by_date": dict(sorted(Counter(message.sent_at.date().isoformat() for message in sent).items())),
        "messages_by_month": by_month(sent),
        "busiest_hour": hours.index(max(hours)),
        "busiest_day": max(weekdays, key=lambda name: len(weekdays[name])),
        "hourly_distribution": hours,
        "daily_distribution": {name: len(messages) for name, messages in weekdays.items()},
        "weekday_hour_distribution": {
            name: [sum(message.sent_at.hour == hour for message in messages) for hour in range(24)]
            for name, messages in weekdays.items()
        },
        "longest_streak_days": length,
        "longest_streak": {"start": (end - timedelta(days=length - 1)).isoformat(), "end": end.isoformat()},
        "current_streak_days": streaks[-1][0],
    }


def by_month(sent: list[Message]) -> dict[str, int]:
    return dict(sorted(Counter(map(month_of, sent)).items()))


def response_times(responses: list[Response]) -> Figures:
    gaps = [response.seconds for response in responses]
    limits = [0, 60, 300, 900, 3600, 14400]
    months = sorted({response.at.strftime("%Y-%m") for response in responses})
    in_month = {month: [r.seconds for r in responses if r.at.strftime("%Y-%m") == month] for month in months}
    return {
        "responses": len(gaps),
        "avg_response_time_seconds": round(sum(gaps) / len(gaps), 1) if gaps else None,
        "median_response_time_seconds": statistics.median(gaps) if gaps else None,
        "p90_response_time_seconds": p90(gaps),
        "response_time_distribution": [
            {"from_seconds": start, "below_seconds": end, "count": sum(start <= gap < end for gap in gaps)}
            for start, end in pairwise(limits)
        ],
        "response_times_by_month": {
            month: {
                "responses": len(own),
                "median_response_time_seconds": statistics.median(own),
                "p90_response_time_seconds": p90(own),
            }
            for month, own in in_month.items()
        },
    }


def p90(gaps: list[int]) -> int | None:
    return sorted(gaps)[ceil(len(gaps) * 9 / 10) - 1] if gaps else None


def longest_silence(sent: list[Message]) -> Figures:
    longest, span = 0, None
    for before, after in pairwise(sent):
        gap = seconds_between(before, after)
        if gap > longest:
            longest, span = gap, {"start": before.sent_at.isoformat(), "end": after.sent_at.isoformat()}
    return {"longest_silence_seconds": longest, "longest_silence": span}


def ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return the largest counts first, equal counts in alphabetical order."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def share(count: int, of: int) -> Figures:
    return {"count": count, "share_percent": percent(count, of)}


def percent(count: int, of: int) -> float:
    return round(100 * count / of, 1) if of else 0.0


def rounded(amount: int, of: int) -> float:
    return round(amount / of, 2) if of else 0.0

"""Every figure equals that of the slow and simple implementation in reference_statistics.py, on generated chats."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework import serializers

from chats.exports import whatsapp
from chats.exports.parsed import SYSTEM_SENDER, Batch, Detail, Details, MediaKind, MessageKind, Reaction
from chats.statistics import StatisticsCounter
from chats.statistics_schema import StatisticsSerializer
from tests import exports
from tests.chats import reference_statistics as reference

Figures = dict[str, Any]

PIECES = """
    hello good bad love hate not never don't very the what are you is this mango chai haan yaar hai nahi accha bura
    bekaar mat main nicht das ist und que pero gracias मुझे अच्छा नहीं बुरा है आहे चाय привет и что مرحبا
    こんにちは 元気 你好 தமிழ் 안녕 😂 ❤️ ❤ 😡 👍🏻 👍 @Asha @asha @\u2068~Ravi|K\u2069 @\u2068Meera\u2069
    @\u2068unfinished @919876543210 me@b.org https://a.com/x?y=1 www.b.org/@z why? ؟ ώρα; ώρα;) go;
    42 gr8 x … well-known don’t a\0b https://a.com，快看 网址https://b.org/x。谢谢 (http://c.org/Ada_(name)),
    www.c.org/东京/a东 https://c.org/x? 「https://例え.jp/東京」 _https://b.org/x__ https://b.org😂 https://a.com에서
    #️⃣ *⃣ 1️⃣ room1️⃣ #️⃣tag צה"ל צה״ל "שלום" ג'ירפה col·lega a· don`t п’ять пʼять ինչո՞ւ می‌خواهم می‌ ''x'' b''c ड़ ड़
""".split()  # noqa: SIM905
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join).map(lambda text: text.replace("|", " "))
PEOPLE = ["Asha", "Ravi K", "~Meera", "+91 98765 43210", "42"]
PAUSES = st.one_of(
    st.integers(0, 600),
    st.integers(-4000, 20_000),
    st.sampled_from([14_399, 14_400, 21_599, 21_600, 90_000, 3_000_000]),
)


@st.composite
def chats(draw: st.DrawFn) -> Batch:
    rows = draw(
        st.lists(
            st.tuples(PAUSES, st.integers(-1, len(PEOPLE) - 1), TEXTS, st.integers(0, 14)), min_size=1, max_size=60
        )
    )
    batch, at = Batch(1, [], [], [], []), 1_700_000_000
    edited = set()
    details: dict[int, Details] = {}
    if draw(st.booleans()):
        offsets = st.sampled_from([None, 0, 3600, 7200, -12_600])
        batch.utc_offsets = draw(st.lists(offsets, min_size=len(rows) + 1, max_size=len(rows) + 1))
    for position, (pause, sender, text, what) in enumerate([(0, 0, "hi", 14), *rows]):
        at += pause
        kind = MessageKind(what) if what < MessageKind.SYSTEM else MessageKind.TEXT
        if sender == SYSTEM_SENDER:
            kind, text = MessageKind.SYSTEM, "Missed voice call" if what % 2 else "Asha left"
        elif kind is MessageKind.MEDIA:
            name = draw(st.sampled_from(["", "a plan.pdf\n", "x.heic\n"]))
            file = draw(st.sampled_from(["x.heic", "DOC-1.pdf"]))
            text = f"{file} (file attached)\n{name}{text}" if text or name else "<Media omitted>"
        elif kind is not MessageKind.TEXT:
            text = "placeholder words"
        if what == 14:
            edited.add(position)
        batch.seconds.append(at)
        batch.senders.append(sender)
        batch.kinds.append(int(kind))
        batch.texts.append(text)
        if sender != SYSTEM_SENDER and draw(st.booleans()):
            details[position] = draw(details_of(kind, batch.senders))
    batch.edited, batch.details = frozenset(edited), details
    return batch


@st.composite
def details_of(draw: st.DrawFn, kind: MessageKind, senders: list[int]) -> Details:
    """Draw the details of the last of the messages that these people sent."""
    reaction = st.builds(
        Reaction,
        st.sampled_from(["❤", "👍", "😂"]),
        st.integers(1, 3),
        st.lists(st.sampled_from([*PEOPLE, "Somebody"]), max_size=2, unique=True).map(tuple),
    )
    reply_to = draw(st.none() | st.integers(0, len(senders)))
    return Details(
        media=draw(st.none() | st.sampled_from(MediaKind)) if kind is MessageKind.MEDIA else None,
        duration_seconds=draw(st.none() | st.integers(0, 500)),
        is_forwarded=draw(st.booleans()),
        reply_to=reply_to,
        reply_to_sender=senders[reply_to - 1] if reply_to else SYSTEM_SENDER,
        reactions=tuple(draw(st.lists(reaction, max_size=2, unique_by=lambda each: each.emoji))),
    )


def counted(*batches: Batch, people: list[str] = PEOPLE, recorded: Collection[str] = tuple(Detail)) -> Figures:
    statistics = StatisticsCounter()
    for batch in batches:
        statistics.add(batch)
    result: Figures = json.loads(json.dumps(statistics.result(people, recorded=recorded)))
    return result


def parts(batch: Batch, cuts: list[int]) -> list[Batch]:
    ends = sorted({cut % (len(batch) + 1) for cut in cuts} | {0, len(batch)})
    return [batch.slice(start, end) for start, end in pairwise(ends)]


@settings(max_examples=40)
@given(chats())
def test_every_figure_equals_that_of_the_reference_implementation(batch: Batch) -> None:
    assert counted(batch) == reference.figures(list(batch.messages(PEOPLE)), PEOPLE, tuple(Detail))


@settings(max_examples=10)
@given(chats(), st.sets(st.sampled_from(Detail)))
def test_figures_about_what_the_export_does_not_contain_are_null(batch: Batch, recorded: set[Detail]) -> None:
    expected = reference.figures(list(batch.messages(PEOPLE)), PEOPLE, recorded)
    assert counted(batch, recorded=recorded) == expected


@settings(max_examples=25)
@given(chats(), st.lists(st.integers(0, 100), max_size=6))
def test_figures_do_not_depend_on_how_messages_are_split_into_batches(batch: Batch, cuts: list[int]) -> None:
    assert counted(*parts(batch, cuts)) == counted(batch)


@pytest.mark.parametrize(
    ("messages", "people", "style"),
    [(800, 2, "android-24h"), (800, 2, "ios-12h"), (600, 60, "android-us"), (2, 2, "android-12h")],
)
def test_every_figure_of_an_export_equals_that_of_the_reference_implementation(
    messages: int, people: int, style: str
) -> None:
    export = whatsapp.parse(exports.text(messages, people=people, style=style))
    batches = list(export.batches)
    sent = [message for batch in batches for message in batch.messages(export.participants)]
    figures = counted(*batches, people=export.participants, recorded=export.records)
    assert figures == reference.figures(sent, export.participants, export.records)


def keys(figures: Figures) -> set[str]:
    """Return the keys of the chat and of a person."""
    return {*figures, *next(iter(figures["user_stats"].values()))}


def test_the_api_schema_describes_exactly_the_figures_that_are_counted() -> None:
    export = whatsapp.parse(exports.text(3000, people=60))
    figures = counted(*export.batches, people=export.participants)
    described = StatisticsSerializer().fields
    compare(figures, described)


def compare(figures: Figures, described: Any) -> None:
    assert set(figures) == set(described)
    for key, field in described.items():
        value = figures[key]
        inner = getattr(field, "child", field)
        values = (
            value.values()
            if isinstance(field, serializers.DictField)
            else value
            if isinstance(value, list)
            else [value]
        )
        if isinstance(inner, serializers.Serializer):
            for one in list(values)[:3]:
                compare(one, inner.fields)


def test_the_documentation_lists_exactly_the_figures_that_are_counted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    export = whatsapp.parse(exports.text(300))
    tables = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall("`([a-z0-9_]+)`", tables)) == keys(counted(*export.batches, people=export.participants))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("what are you doing today", "english"),
        ("haan yaar kal milte hain office mein", "hinglish"),
        ("मुझे तुम पर गर्व है", "hindi"),
        ("खूप चांगला आहे", "marathi"),
        ("mein Gott, das ist nicht gut", "german"),
        ("это очень хорошо, спасибо", "russian"),
        ("こんにちは元気", "japanese"),
        ("你好", "han"),
        ("வணக்கம்", "tamil"),
        ("zxqv", "unknown"),
        ("office जाओ", "mixed"),
    ],
)
def test_a_text_has_a_language_only_if_its_words_identify_one(text: str, language: str) -> None:
    batch = Batch(1, [0], [0], [int(MessageKind.TEXT)], [text])
    assert counted(batch)["language_mix"] == {language: {"count": 1, "share_percent": 100.0}}


@pytest.mark.parametrize(
    ("text", "positive", "negative"),
    [
        ("a good day", 1, 0),
        ("not a very good day", 0, 1),
        ("never ever in my life good", 1, 0),
        ("accha nahi laga", 0, 1),
        ("nahi accha laga", 0, 1),
        ("बहुत अच्छा", 1, 0),
        ("अच्छा नहीं", 0, 1),
        ("❤️❤❤️ 😡", 3, 1),
        ("not 😡", 0, 1),
        ("😂😭 https://good.com/love", 0, 0),
    ],
)
def test_sentiment_counts_words_of_the_lexicon_and_reverses_negated_ones(
    text: str, positive: int, negative: int
) -> None:
    sentiment = counted(Batch(1, [0], [0], [int(MessageKind.TEXT)], [text]))["sentiment"]
    assert (sentiment["positive"], sentiment["negative"], sentiment["balance"]) == (positive, negative, None)


def test_a_mentioned_number_is_never_replaced_by_a_name() -> None:
    texts = ["@919876543210 hi", "@917777777777", "@\u2068~Ravi K\u2069 mail me@x.org", "@everyone"]
    batch = Batch(1, [0] * 4, [0] * 4, [int(MessageKind.TEXT)] * 4, texts)
    assert counted(batch)["top_mentions"] == [
        {"name": "+91 98765 43210", "count": 1},
        {"name": "917777777777", "count": 1},
        {"name": "Ravi K", "count": 1},
        {"name": "everyone", "count": 1},
    ]


def test_people_with_the_same_name_are_counted_together() -> None:
    batch = Batch(1, [0, 60, 120], [0, 1, 2], [int(MessageKind.TEXT)] * 3, ["one", "two", "three"])
    figures = counted(batch, people=["Asha", "Ravi", "Asha"])
    assert figures["total_messages"] == sum(person["message_count"] for person in figures["user_stats"].values())
    assert figures["user_stats"]["Asha"]["message_count"] == 2


def test_distinctive_words_are_those_that_only_one_person_uses_often() -> None:
    texts = ["mango chai ticket"] * 30 + ["cricket chai ticket"] * 30
    batch = Batch(1, [0] * 60, [0] * 30 + [1] * 30, [int(MessageKind.TEXT)] * 60, texts)
    people = counted(batch)["user_stats"]
    assert [entry["word"] for entry in people["Asha"]["distinctive_words"]] == ["mango"]
    assert [entry["word"] for entry in people["Ravi K"]["distinctive_words"]] == ["cricket"]

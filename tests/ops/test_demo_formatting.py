"""The demo formats the documents of the API; no text of a chat can control the terminal."""

from __future__ import annotations

import copy
from io import StringIO
from typing import Any

import pytest

from chats import exports as chat_exports
from chats.statistics import StatisticsCounter
from ops.demo import formatting
from relivchats.terminal import Layout, columns, plain
from tests import exports

LAYOUT = Layout(width=80)

MESSAGES = [
    {"number": 14, "sender": "Asha", "sent_at": "2025-06-03T13:12:00", "text": "khana khaya?"},
    {"number": 15, "sender": "Rohan", "sent_at": "2025-06-03T13:40:00", "text": "haan, rajma. " * 30},
    {"number": 16, "sender": "Asha", "sent_at": "2025-06-03T13:44:00", "text": "a third message"},
]
SECTION = {
    "key": "checkins",
    "title": "Checking in",
    "rating": "very_frequent",
    "finding": "They ask how the other is on most days.",
    "people": [{"name": "Asha", "rating": "frequent", "note": "Often at lunch."}],
    "facts": [
        {"label": "Typical time to reply", "person": "Asha", "value": 60.0, "unit": "seconds"},
        {"label": "Typical time to reply", "person": "Rohan", "value": 3_900, "unit": "seconds"},
        {"label": "Messages", "person": None, "value": 4213, "unit": "messages"},
        {"label": "Part of the messages", "person": "Asha", "value": 52.1, "unit": "percent"},
    ],
    "evidence": [
        {"context": "Over lunch", "messages": MESSAGES},
        {"context": "Another day", "messages": [{**MESSAGES[0], "number": 90, "text": "kaisa tha din?"}]},
    ],
}
INSIGHT: dict[str, Any] = {
    "icon": "💕",
    "title": "Emotional Intimacy",
    "document": {
        "overall": {"score": 8, "rating": "deeply_connected", "summary": "Both tell and both listen."},
        "sections": [SECTION],
        "recommendations": [
            {
                "title": "Say it aloud",
                "for": ["Rohan"],
                "suggestion": "Name one feeling a week.",
                "why": "It makes asking easier.",
                "example": "I felt proud today.",
            }
        ],
        "sufficiency": {"messages_read": 200, "messages_total": 443, "limits": ["Too little was said to rate: Trips."]},
        "provenance": {"engine": "local", "method": "counted"},
    },
}


def text(insight: dict[str, Any] = INSIGHT, **options: Any) -> str:
    return "\n".join(formatting.format_insight(insight, layout=LAYOUT, **options))


def statistics_of(export: bytes) -> str:
    parsed = chat_exports.read(export)
    counter = StatisticsCounter()
    for batch in parsed.batches:
        counter.add(batch)
    statistics = counter.result(parsed.participants)
    return "\n".join(formatting.format_chat({"title": "A chat", "statistics": statistics}, layout=LAYOUT))


def test_a_chat_shows_its_period_its_participants_and_its_frequent_words() -> None:
    lines = [
        "02/06/2025, 09:00 - Asha: chai chai chai 😂",
        "02/06/2025, 09:02 - Rohan: chai?",
        "03/06/2025, 20:00 - Asha: https://example.org",
        "03/06/2025, 20:05 - Rohan: <Media omitted>",
    ]
    shown = statistics_of("\n".join(lines).encode())
    assert "4 messages from 2 Jun 2025 to 3 Jun 2025, on 2 of 2 days, in 2 conversations." in " ".join(shown.split())
    assert "1 question, 1 link, 1 photo and other media" in " ".join(shown.split())
    assert "Asha 2 50% 100% 0 –" in " ".join(shown.split())
    assert "Rohan 2 50% 0% 1 4 min" in " ".join(shown.split())
    assert "Often said  chai" in shown
    assert "Emoji       😂 1" in shown


def test_a_large_group_shows_only_its_most_active_participants() -> None:
    shown = statistics_of(exports.text(600, people=12))
    assert "and 4 more" in shown
    assert sum(name in shown for name in exports.NAMES[:12]) == formatting.MAX_PEOPLE


def test_a_long_name_is_cut_to_its_column() -> None:
    shown = statistics_of(f"02/06/2025, 09:00 - {'😂' * 40}: hello".encode())
    row = next(line for line in shown.splitlines() if "😂" in line)
    assert "…" in row
    assert columns(row) <= LAYOUT.width


def test_an_insight_shows_its_rating_score_finding_figures_and_recommendation() -> None:
    shown = text()
    assert "Emotional Intimacy" in shown
    assert "deeply connected" in shown
    assert "8 of 10" in shown
    assert "Both tell and both listen." in shown
    assert "Checking in: very frequent" in shown
    assert "They ask how the other is on most days." in shown
    assert "Asha frequent · Typical time to reply: Asha 1 min, Rohan 1 h 5 min" in shown
    assert "Say it aloud (Rohan)" in shown
    assert "“I felt proud today.”" in shown
    assert (
        "Counted over 443 messages, not read. Written by the local engine. Too little was said to rate: Trips."
        in " ".join(shown.split())
    )


def test_a_quote_shows_its_date_number_and_sender() -> None:
    assert "3 Jun 2025 13:12 #14 Asha: khana khaya?" in text()


def test_the_short_report_quotes_one_exchange_of_two_messages_cut_short() -> None:
    shown = text()
    assert "#15 Rohan" in shown
    assert "haan, …" in shown or "rajma. …" in shown
    assert "a third message" not in shown
    assert "kaisa tha din?" not in shown


def test_the_full_report_shows_every_quote_in_full_and_the_reasons() -> None:
    shown = text(full=True)
    assert "Over lunch" in shown
    assert "Asha: frequent: Often at lunch." in shown
    assert "Messages: 4,213" in shown
    assert "Part of the messages: Asha 52.1%" in shown
    assert "a third message" in shown
    assert "kaisa tha din?" in shown
    assert "…" not in shown
    assert shown.count("rajma.") == 30
    assert "Why: It makes asking easier." in shown


def test_the_short_report_prefers_messages_that_it_has_not_quoted_yet() -> None:
    insight = copy.deepcopy(INSIGHT)
    insight["document"]["sections"] *= 2
    shown = text(insight)
    assert shown.count("khana khaya?") == 1
    assert shown.count("kaisa tha din?") == 1


def test_the_short_report_omits_zeros_and_figures_that_the_finding_mentions() -> None:
    insight = copy.deepcopy(INSIGHT)
    section = insight["document"]["sections"][0]
    section["finding"] = "Quick. Typical time to reply: one minute."
    section["facts"] += [{"label": "Links", "person": "Asha", "value": 0, "unit": "links"}]
    shown = text(insight)
    assert "1 h 5 min" not in shown
    assert "Messages: 4,213" in shown
    assert "Links" not in shown
    assert "Links: Asha 0" in text(insight, full=True)


def test_a_rating_that_all_people_share_is_shown_once() -> None:
    insight = copy.deepcopy(INSIGHT)
    section = insight["document"]["sections"][0]
    section["people"] = [{"name": f"Guest {number}", "rating": "quick", "note": ""} for number in range(9)]
    assert "everybody: quick" in text(insight)
    section["people"][8]["rating"] = "slow"
    assert "Guest 0 quick, Guest 1 quick, Guest 2 quick, Guest 3 quick and 5 more ·" in " ".join(text(insight).split())


def test_ratings_of_people_are_shown_if_anybody_is_rated_and_then_first() -> None:
    insight = copy.deepcopy(INSIGHT)
    section = insight["document"]["sections"][0]
    section["people"] = [{"name": f"Guest {n}", "rating": "not_enough_data", "note": ""} for n in range(6)]
    assert "Guest" not in text(insight)
    section["people"][5]["rating"] = "slow"
    assert "Guest 5 slow, Guest 0 not rated, Guest 1 not rated, Guest 2 not rated and 2 more" in " ".join(
        text(insight).split()
    )


def test_of_many_figures_the_largest_are_shown() -> None:
    facts = [{"label": "Messages", "person": f"Guest {n}", "value": n, "unit": "messages"} for n in range(3)]
    assert formatting.format_facts(facts, max_people=2) == ["Messages: Guest 2 2, Guest 1 1 and 1 more"]
    assert formatting.format_facts(facts, max_people=3) == ["Messages: Guest 0 0, Guest 1 1, Guest 2 2"]


def test_a_total_is_not_counted_as_a_person() -> None:
    people: list[dict[str, Any]] = [
        {"label": "Messages", "person": f"Guest {n}", "value": n, "unit": "messages"} for n in range(3)
    ]
    facts = [*people, {"label": "Messages", "person": None, "value": 3, "unit": "messages"}]
    assert formatting.format_facts(facts, max_people=2) == ["Messages: Guest 2 2, Guest 1 1 and 1 more"]
    assert formatting.format_facts(facts, max_people=3) == ["Messages: Guest 0 0, Guest 1 1, Guest 2 2, 3"]


def test_an_insight_without_a_score_shows_none() -> None:
    insight = copy.deepcopy(INSIGHT)
    insight["document"]["overall"].update(score=None, rating="not_enough_data")
    shown = text(insight)
    assert "not rated" in shown
    assert "of 10" not in shown


def test_no_text_of_a_chat_can_control_the_terminal() -> None:
    insight = copy.deepcopy(INSIGHT)
    insight["document"]["sections"][0]["evidence"][0]["messages"][0]["text"] = "hi\033[2J\x07\u202egnorw\r\tthere"
    shown = text(insight)
    assert "hi[2Jgnorw there" in shown
    assert not {"\033", "\x07", "\u202e", "\r"} & set(shown)


def test_joined_emoji_and_indian_scripts_stay_whole() -> None:
    assert plain("👩‍⚕️ क्‍ष नमस्ते") == "👩‍⚕️ क्‍ष नमस्ते"


def test_lines_fit_the_width_in_columns_not_in_characters() -> None:
    lines = LAYOUT.wrap("😂😂😂 बहुत अच्छा " * 30, first="  ┃ ", rest="    ")
    assert max(map(columns, lines)) <= LAYOUT.width
    assert len(lines) > 5
    assert Layout(width=40).wrap("😂 " * 20)[0].count("😂") == 13, "each takes two columns and a space"


def test_a_message_keeps_its_line_breaks() -> None:
    assert LAYOUT.wrap("one\ntwo", first="> ", rest="  ") == ["> one", "  two"]


@pytest.mark.parametrize(("no_color", "expected"), [("", "\033[1mhello\033[0m"), ("1", "hello")])
def test_emphasis_needs_a_terminal_and_no_objection(
    no_color: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("NO_COLOR", no_color)
    assert Layout.for_stream(Terminal()).bold("hello") == expected
    assert Layout.for_stream(StringIO()).bold("hello") == "hello"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3_600, "1 h"), (3_900, "1 h 5 min"), (97_200, "1 day 3 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, expected: str) -> None:
    assert formatting.format_duration(seconds) == expected


def entry(kind: str, month: int, sentence: str = "Asha wrote.") -> dict[str, Any]:
    return {"kind": kind, "title": f"A {kind}", "sentence": sentence, "starts_at": f"2025-{month:02}-03T13:12:00"}


def timeline(*entries: dict[str, Any]) -> list[str]:
    return formatting.format_timeline(entries, title="Timeline", layout=LAYOUT)


def test_a_timeline_has_at_most_eight_lines_and_one_entry_of_each_kind_first() -> None:
    silences = [entry("silence", month, f"Silence {month}.") for month in range(1, 10)]
    lines = timeline(*silences, entry("night", 10), entry("streak", 11), entry("burst", 12))
    assert len(lines) == 8
    assert lines[1].strip() == "Timeline"
    assert [line.split()[0] for line in lines[2:]] == ["3"] * 6
    assert [line.split(maxsplit=3)[3] for line in lines[2:]] == [
        "Silence 1.",
        "Silence 2.",
        "Silence 3.",
        "Asha wrote.",
        "Asha wrote.",
        "Asha wrote.",
    ]


def test_without_entries_no_timeline_is_printed() -> None:
    assert timeline() == []


def test_an_entry_of_a_timeline_takes_one_line() -> None:
    (line,) = timeline(entry("silence", 1, "long " * 40))[2:]
    assert line == "  3 Jan 2025   A silence"
    (line,) = timeline(entry("silence", 1, "\x1b[2Jred"))[2:]
    assert "\x1b" not in line

"""The figures of a chat, rule by rule. test_statistics_reference.py compares all with a simple implementation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chats.exports import whatsapp
from chats.statistics import StatisticsCounter, links, text_page, token_cache, tokens
from chats.statistics.text_page import TextPage
from chats.statistics.vocabulary import Vocabulary
from tests import exports

Figures = dict[str, Any]


def count(text: bytes | str) -> Figures:
    export = whatsapp.parse(text if isinstance(text, bytes) else text.encode())
    counter = StatisticsCounter()
    for batch in export.batches:
        counter.add(batch)
    return counter.result(export.participants)


def chat(*lines: tuple[str, str, str]) -> Figures:
    """Return the figures of lines of (time, sender, text)."""
    return count("".join(f"{at} - {sender}: {text}\n" for at, sender, text in lines))


def figures_of(*texts: str, sender: str = "Asha") -> Figures:
    return chat(*(("13/02/2024, 10:00", sender, text) for text in texts))


EXPECTED_KEYS = set(
    """
    total_messages total_words date_range total_days messages_per_day_avg messages_by_date deleted_messages_count
    media_shared_count links_shared_count links busiest_hour busiest_day hourly_distribution daily_distribution
    top_words top_emojis user_stats
    """.split()  # noqa: SIM905
)
EXPECTED_PERSON_KEYS = set(
    """
    message_count word_count avg_words_per_message avg_message_length_chars deleted_messages media_shared
    links_shared conversation_initiations double_texting_rate questions_asked avg_response_time_seconds top_words
    top_emojis busiest_hour hourly_distribution longest_message
    """.split()  # noqa: SIM905
)


def test_the_figures_serialise_to_json_with_the_expected_keys() -> None:
    figures = json.loads(json.dumps(count(exports.text(300))))
    assert set(figures) >= EXPECTED_KEYS
    assert set(figures["user_stats"]["Aarav"]) >= EXPECTED_PERSON_KEYS
    assert set(figures["user_stats"]["Aarav"]["longest_message"]) == {
        "word_count",
        "char_count",
        "timestamp",
        "message",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, hello WORLD!", ["hello", "hello", "world"]),
        ("don't DON’T 'quoted' rock'n'roll", ["don't", "don't", "quoted", "rock'n'roll"]),
        ("हिन्दी में बात", ["हिन्दी", "में", "बात"]),
        ("مرحبا، كيف حالك؟", ["مرحبا", "كيف", "حالك"]),
        ("می‌خواهم", ["می\u200cخواهم"]),
        ("Привет МИР", ["привет", "мир"]),
        ("你好吗", ["你", "好", "吗"]),
        ("カタカナ", ["カタカナ"]),
        ("안녕 하세요", ["안녕", "하세요"]),
        ("gr8 2024 10:30 x2", ["gr8", "x2"]),
        ("yes😂no ❤️ok👍🏽", ["yes", "no", "ok"]),
        ("*bold* _it_ well-known", ["bold", "it", "well", "known"]),
        ("see https://a.b/c?d=e and www.x.com/y now", ["see", "and", "now"]),
        ("https://a.b，快看 https://a.b/c谢谢", ["快", "看", "谢", "谢"]),
        # Apostrophes in every form that phones write.
        ("it's it’s it‘s it´s it`s it＇s", ["it's"] * 6),
        ("об'єкт об’єкт обʼєкт o‘zbek oʻzbek", ["об'єкт"] * 3 + ["o'zbek"] * 2),
        ("`code` ‘so’ ''x'' b''c 'em", ["code", "so", "x", "b", "c", "em"]),
        # Geresh and gershayim join Hebrew letters; other quotation marks separate words.
        ('ארה"ב ארה״ב ארה”ב', ['ארה"ב'] * 3),
        ("צ'יפס צ׳יפס צ’יפס", ["צ'יפס"] * 3),
        ('"שלום" וכו\' “טוב” ״כן״ "a"b', ["שלום", "וכו", "טוב", "כן", "a", "b"]),
        ("intel·ligent COL·LEGA coŀlega a · b·", ["intel·ligent", "col·lega", "col·lega", "a", "b"]),
        # Armenian writes its question and exclamation marks inside words.
        ("ո՞վ է, վա՜յ, հա՛", ["ով", "է", "վայ", "հա"]),
        # Joiners belong to a word, not to its end; a zero width space separates words.
        ("خانه‌ها خانه‌ ‌خانه", ["خانه\u200cها", "خانه", "خانه"]),
        ("ක්‍රීඩා അവന്‍", ["ක්\u200dරීඩා", "അവന്\u200d"]),
        ("ខ្ញុំ\u200bទៅ un\u00addo a\u200eb", ["ខ្ញុំ", "ទៅ", "undo", "ab"]),
        # One word in composed and decomposed form.
        ("café cafe\u0301 पढ़ पढ\u093c ガム カ\u3099ム", ["café"] * 2 + ["पढ\u093c"] * 2 + ["ガム"] * 2),
        ("#️⃣1️⃣ *⃣ room2️⃣ #️⃣tag", ["room", "tag"]),
        ("… — “” 😂 123 ''", []),
    ],
)
def test_words_are_counted_in_every_script(text: str, words: list[str]) -> None:
    assert (
        figures_of(text)["total_words"]
        == figures_of(text)["user_stats"]["Asha"]["longest_message"]["word_count"]
        == len(words)
    )
    if "http" not in text:
        vocabulary = Vocabulary()
        names = [vocabulary.terms[term] for term in vocabulary.tokenize(TextPage([text])).ids]
        assert [name for name in names if any(map(str.isalpha, name))] == words


@pytest.mark.parametrize(
    ("text", "emoji"),
    [
        ("👍👍🏽👍🏿", {"👍": 3}),
        ("❤️❤ ❤️", {"❤️": 3}),
        ("👩‍❤️‍👨 👨‍👩‍👧‍👦", {"👩‍❤️‍👨": 1, "👨‍👩‍👧‍👦": 1}),
        ("🇮🇳🇩🇪", {"🇮🇳": 1, "🇩🇪": 1}),
        ("1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿", {"1️⃣": 1, "🏴󠁧󠁢󠁥󠁮󠁧󠁿": 1}),
        ("#️⃣ *️⃣ *⃣ *️⃣ 0⃣ x#️⃣#️⃣ #tag *bold*", {"#️⃣": 3, "*️⃣": 3, "0⃣": 1}),
        ("see https://a.b/c😂 https://a.b❤️", {"😂": 1, "❤️": 1}),
        ("word😂😂word", {"😂": 2}),
        ("🧑🏽‍💻", {"🧑‍💻": 1}),
        ("plain © ™ ✓ → text", {}),
    ],
)
def test_emoji_are_counted_whole_with_skin_tones_merged(text: str, emoji: dict[str, int]) -> None:
    assert {entry["emoji"]: entry["count"] for entry in figures_of(text)["top_emojis"]} == emoji


def test_stop_words_count_as_words_but_are_not_top_words() -> None:
    figures = figures_of("the mango and the मैं mango hai")
    assert figures["total_words"] == 7
    assert figures["top_words"] == [{"word": "mango", "count": 2}]


def test_placeholders_add_no_words_and_no_characters() -> None:
    figures = figures_of(
        "<Media omitted>",
        "This message was deleted",
        "Missed voice call",
        "IMG-1.jpg (file attached)\nsunset at Goa",
        "hi",
    )
    person = figures["user_stats"]["Asha"]
    assert figures["total_words"] == 4
    assert figures["total_messages"] == 5
    assert (figures["media_shared_count"], figures["deleted_messages_count"], figures["calls_count"]) == (2, 1, 1)
    assert (person["avg_words_per_message"], person["avg_message_length_chars"]) == (2.0, 7.5)
    assert person["longest_message"]["message"] == "sunset at Goa"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Rental plan.pdf (file attached)\nRental plan.pdf", 0),
        ("Rental plan.pdf (file attached)\nRental plan.pdf\nread page two", 3),
        ("<Media omitted>\nRental plan.DOCX", 0),
        ("DOC-20240213-WA0001.xlsx (file attached)\nसूची 2024.xlsx", 0),
        ("scan.heic (file attached)\nscan.heic", 0),
        ("Rental plan.pdf (file attached)\nplease sign", 2),
        ("<Media omitted>\nso nice.really", 3),
        ("<Media omitted>\nread https://a.example/plan.pdf", 1),
        ("<Media omitted>\nquestion: who has the plan.pdf", 6),
        ("IMG-20240213-WA0001.jpg (file attached)\nplease read the new instructions.pdf", 6),
        ("Rental plan.pdf (file attached)\nplease send the budget.xlsx", 5),
        ("see plan.pdf", 3),
    ],
)
def test_the_file_name_of_a_document_is_no_caption(text: str, words: int) -> None:
    assert figures_of(text, "")["total_words"] == words


def test_a_missed_call_without_a_sender_counts_for_the_chat() -> None:
    figures = count("13/02/2024, 10:00 - Asha: x\n13/02/2024, 10:01 - Missed voice call\n")
    assert (figures["calls_count"], figures["total_messages"]) == (1, 1)


def test_links_beyond_the_listed_ones_are_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_LISTED_LINKS", 2)
    figures = figures_of("look: https://www.a.com/x. and WWW.b.org", "Http://a.com/y!", "www is no link, nor ://")
    assert figures["links"] == [
        {"url": "https://www.a.com/x", "user": "Asha", "timestamp": "2024-02-13T10:00:00"},
        {"url": "WWW.b.org", "user": "Asha", "timestamp": "2024-02-13T10:00:00"},
    ]
    assert figures["links_shared_count"] == figures["user_stats"]["Asha"]["links_shared"] == 3
    assert figures["top_sites"] == [{"site": "a.com", "count": 2}, {"site": "b.org", "count": 1}]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        # Punctuation outside ASCII and symbols end a link, and words of scripts without spaces after ASCII.
        ("https://a.example，好 https://a.example/x。好", ["https://a.example", "https://a.example/x"]),
        ("看http://www.a.example好不好", ["http://www.a.example"]),
        ("链接www.a.example/x好 аwww.b.example", ["www.a.example/x", "www.b.example"]),
        (
            "「https://a.example/x」『https://b.example』（http://c.example/y）",
            ["https://a.example/x", "https://b.example", "http://c.example/y"],
        ),
        ("https://a.example/x？本当 https://b.example！", ["https://a.example/x", "https://b.example"]),
        (
            "https://a.example/?n=1见 https://b.example/%E6%B8%AF好",
            ["https://a.example/?n=1", "https://b.example/%E6%B8%AF"],
        ),
        ("https://a.example/p?igsh=Zg==好", ["https://a.example/p?igsh=Zg=="]),
        ("https://a.example에서 https://b.example/xครับ", ["https://a.example", "https://b.example/x"]),
        (
            "https://a.example/x، ثم “https://b.example” «http://c.example/»",
            ["https://a.example/x", "https://b.example", "http://c.example/"],
        ),
        ("https://a.example/x। https://b.example/y։", ["https://a.example/x", "https://b.example/y"]),
        ("\u2066https://a.example\u2069 https://b.example\u200f", ["https://a.example", "https://b.example"]),
        ("https://a.example🎉 https://b.example/x👍🏽", ["https://a.example", "https://b.example/x"]),
        ("https://a.exampleпривет", ["https://a.example"]),
        # Hosts and paths in any script.
        ("https://例え.jp、https://日本.テスト/東京/駅", ["https://例え.jp", "https://日本.テスト/東京/駅"]),
        ("https://a.example/wiki/ノート・パソコン を", ["https://a.example/wiki/ノート・パソコン"]),
        ("https://a.example/?q=香港&r=x", ["https://a.example/?q=香港&r=x"]),
        (
            "https://пример.рф/Книга, https://straße.example/größe",
            ["https://пример.рф/Книга", "https://straße.example/größe"],
        ),
        ("https://उदाहरण.भारत/हिन्दी।", ["https://उदाहरण.भारत/हिन्दी"]),
        ("https://a.example/کتاب‌ها", ["https://a.example/کتاب\u200cها"]),
        # Brackets belong to a link in pairs.
        ("https://a.example/Mercury_(planet)", ["https://a.example/Mercury_(planet)"]),
        ("(https://a.example/Mercury_(planet)).", ["https://a.example/Mercury_(planet)"]),
        ("(https://a.example/x)(https://b.example)", ["https://a.example/x", "https://b.example"]),
        ("[map](https://a.example/f(g(x))/y)z", ["https://a.example/f(g(x))/y"]),
        (
            "https://a.example/?n[]=1&m=[2]] https://b.example/x(see",
            ["https://a.example/?n[]=1&m=[2]", "https://b.example/x"],
        ),
        # Punctuation and formatting after a link.
        (
            "https://a.example/x... https://b.example?! http://c.example/x:;",
            ["https://a.example/x", "https://b.example", "http://c.example/x"],
        ),
        (
            "*https://a.example/x* ~https://b.example~ ```http://c.example/x```",
            ["https://a.example/x", "https://b.example", "http://c.example/x"],
        ),
        ("https://a.example/v/a1_ _https://a.example/v/a1_", ["https://a.example/v/a1_", "https://a.example/v/a1"]),
        (
            "'https://a.example/x' {https://b.example/x} <https://c.example/x>",
            ["https://a.example/x", "https://b.example/x", "https://c.example/x"],
        ),
        (
            "https://ben:pw@a.example:8080/x http://[::1]:80/ http://localhost/x",
            ["https://ben:pw@a.example:8080/x", "http://[::1]:80/", "http://localhost/x"],
        ),
        ("https://a.example/2020/https://b.example/x", ["https://a.example/2020/https://b.example/x"]),
        ("http:// https://… https:///x www. awww.a.example ftp://a.example", []),
    ],
)
def test_a_link_ends_where_the_text_continues(text: str, urls: list[str]) -> None:
    assert [link["url"] for link in figures_of(text)["links"]] == urls


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("HTTPS://WWW.A.Example:80/X", "a.example"),
        ("www.b.example?x", "b.example"),
        ("http://me@c.example#x", "c.example"),
        ("https://ÄÖ.example/x", "äö.example"),
        ("http://[::1]:80/x", "[::1]"),
        ("https://d.example/@ben", "d.example"),
    ],
)
def test_a_site_is_the_host_of_a_link_in_lower_case(url: str, site: str) -> None:
    assert figures_of(f"see {url} now")["top_sites"] == [{"site": site, "count": 1}]


def test_a_question_mark_after_a_link_is_not_part_of_it() -> None:
    assert figures_of("seen https://a.example/x?", "seen https://a.example/?x")["questions_count"] == 1


def test_a_response_counts_from_the_same_minute_up_to_four_hours() -> None:
    figures = chat(
        ("13/02/2024, 10:00", "A", "x"),
        ("13/02/2024, 10:00", "B", "x"),
        ("13/02/2024, 13:59", "A", "x"),
        ("13/02/2024, 17:59", "B", "x"),
    )
    assert figures["user_stats"]["B"]["responses"] == 1
    assert figures["user_stats"]["B"]["avg_response_time_seconds"] == 0
    assert figures["user_stats"]["A"]["median_response_time_seconds"] == 239 * 60
    assert figures["p90_response_time_seconds"] == 239 * 60


def test_a_conversation_starts_after_six_hours_of_silence() -> None:
    figures = chat(
        ("13/02/2024, 10:00", "A", "x"),
        ("13/02/2024, 15:59", "B", "x"),
        ("13/02/2024, 21:59", "B", "x"),
    )
    assert figures["conversation_starts"] == {
        "B": {"count": 1, "share_percent": 50.0},
        "A": {"count": 1, "share_percent": 50.0},
    }


def test_a_clock_that_is_set_back_yields_no_response_and_no_silence() -> None:
    figures = chat(("13/02/2024, 10:00", "A", "x"), ("13/02/2024, 09:00", "B", "x"), ("13/02/2024, 09:30", "A", "x"))
    assert figures["responses"] == 1
    assert figures["longest_silence_seconds"] == 1800
    assert figures["first_message_at"] == "2024-02-13T09:00:00"


def test_a_streak_is_consecutive_days_and_the_current_streak_ends_on_the_last_day() -> None:
    figures = chat(*((f"{day:02}/02/2024, 10:00", "A", "x") for day in (13, 14, 15, 20, 21)))
    assert (figures["longest_streak_days"], figures["current_streak_days"]) == (3, 2)
    assert figures["longest_streak"] == {"start": "2024-02-13", "end": "2024-02-15"}
    assert figures["longest_silence"] == {"start": "2024-02-15T10:00:00", "end": "2024-02-20T10:00:00"}


def test_a_group_lists_the_50_most_active_people_and_sums_the_others() -> None:
    lines = [("13/02/2024, 10:00", f"Guest {n}", "hello friend 😂?") for n in range(60) for _ in range(60 - n)]
    figures = chat(*lines)
    assert list(figures["user_stats"]) == [f"Guest {number}" for number in range(50)]
    assert figures["others"]["people"] == 10
    assert figures["others"]["message_count"] == figures["others"]["questions_asked"] == sum(range(1, 11))
    assert figures["others"]["top_words"] == [{"word": "friend", "count": 55}, {"word": "hello", "count": 55}]
    assert chat(*lines[:60])["others"] is None


def test_pruning_a_large_vocabulary_keeps_totals_and_frequent_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chats.statistics.counter.MAX_TERMS", 200)
    export = whatsapp.parse("".join(f"13/02/2024, 10:00 - A: common w{n}x v{n}x 😂\n" for n in range(12_000)).encode())
    counter = StatisticsCounter()
    for batch in export.batches:
        counter.add(batch)
    figures = counter.result(export.participants)
    assert figures["total_words"] == 36_000
    assert figures["top_words"] == [{"word": "common", "count": 12_000}]
    assert figures["top_emojis"] == [{"emoji": "😂", "count": 12_000}]


@pytest.mark.parametrize("table_bits", [2, 16])
def test_tokens_of_any_length_that_share_a_slot_keep_their_codes(
    table_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "_TABLE_BITS", table_bits)
    monkeypatch.setattr(token_cache, "_HASH_SHIFT", np.uint64(64 - table_bits))
    tokens = [letter * length for length in range(1, 20) for letter in (b"a", b"b")] + [
        b"a" * 8 + b"b",
        b"a" * 16 + b"b",
    ]
    data = b" \0 ".join([b" ".join(tokens), b"", b" ".join(tokens[::-1])] + [b"a b  c"] * 2_000)
    ids: dict[bytes, int] = {}
    cache = token_cache.TokenCache(lambda token: [ids.setdefault(token, len(ids))])
    for page in (data, data, b"", b"a" * 100):
        assert cache.codes(page).tolist() == [-1 if token == b"\0" else ids[token] for token in page.split()]


def test_the_longest_message_is_quoted_in_part_but_measured_in_full() -> None:
    longest = figures_of("short", "word " * 200, "mid")["user_stats"]["Asha"]["longest_message"]
    assert (longest["char_count"], longest["word_count"], len(longest["message"])) == (1000, 200, 500)
    assert longest["timestamp"] == "2024-02-13T10:00:00"


@pytest.mark.parametrize("text", ["really?", "真的吗？", "حقا؟", "Γεια, τι κάνεις;", "έρχεσαι; ωραία"])
def test_question_marks_of_any_script_are_recognised(text: str) -> None:
    assert figures_of(text, "no question", "https://a.b/c?d=e", "έλα ;) γεια;)", "wait; α")["questions_count"] == 1


def test_a_chat_without_words_has_figures() -> None:
    person = figures_of("<Media omitted>")["user_stats"]["Asha"]
    assert (person["word_count"], person["avg_words_per_message"], person["longest_message"]) == (0, 0.0, None)
    assert person["avg_response_time_seconds"] is None


def test_each_mention_counts_and_an_at_sign_without_a_name_does_not() -> None:
    figures = figures_of("@Ben @Ben @... ok @", "@--")
    assert figures["top_mentions"] == [{"name": "Ben", "count": 2}]
    assert figures["mentions_count"] == 2


def test_a_text_longer_than_a_page_has_the_same_figures_as_on_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "I don't hate this, see https://a.b/c?d or www.e.org @Meera! 我们都很好。😂❤️👩\u200d🚀👍🏽🇮🇳 क्या हाल है? "
    lines = [
        f"13/02/2024, 1{number % 10}:0{number % 7} - {sender}: {text}\n"
        for number, (sender, text) in enumerate(
            [
                ("Asha", sentence * 150),
                ("Ravi", "हाँ good"),
                ("Ravi", "你好。" * 7_000),
                ("Asha", "🇮🇳" * 7_000 + "👩\u200d🚀" * 7_000),
                ("Meera", "<Media omitted>\n" + "bad " * 7_000),
                ("Asha", "x" * 20_000 + " y"),
            ]
            + [("Meera", sentence)] * 200
        )
    ]
    at_once = count("".join(lines))
    monkeypatch.setattr(text_page, "PAGE_CHARS", 5_001)
    monkeypatch.setattr(tokens, "PAGE_CHARS", 5_001)
    assert count("".join(lines)) == at_once
    assert at_once["user_stats"]["Meera"]["times_mentioned"] == 350


def test_counting_a_million_words_in_one_text_or_one_batch_takes_little_memory() -> None:
    """Each word takes about a hundred bytes while it is processed. Here are 1.5 million words, twice."""
    run = [sys.executable, "-c", _MEASURE_MEMORY]
    result = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert max(map(int, result.stdout.split())) < 130_000_000, result.stdout


#: Prints how many bytes the peak memory grows by for each input.
_MEASURE_MEMORY = """
import resource
from chats.exports.parsed import Batch
from chats.statistics import StatisticsCounter

def count(texts):
    counter, rows = StatisticsCounter(), [0] * len(texts)
    counter.add(Batch(1, rows, rows, rows, texts))
    return counter.result(["A"])["total_words"]

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

signs = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
shapes = [signs * 75], [signs[number : number + 300] for number in range(5_000)]
count(["warm"])
for texts in shapes:
    before = peak_bytes()
    assert count(texts) == 1_500_000
    print(peak_bytes() - before)
"""

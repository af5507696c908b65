"""Hostile files: each is read to its end or refused, in linear time and bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chats import exports
from chats.exports import batching, senders, unpacking
from chats.exports.errors import ExportRefused
from chats.statistics import StatisticsCounter
from tests.exports import zipped

AT = b"13/02/2024, 21:05 - "


def read_and_count(upload: bytes) -> dict[str, object] | None:
    """Return the statistics, or None if the upload is refused. Other errors are defects."""
    try:
        export = exports.read(upload)
        counter = StatisticsCounter()
        for batch in export.batches:
            assert len(batch.seconds) == len(batch.senders) == len(batch.kinds) == len(batch.texts)
            counter.add(batch)
    except ExportRefused:
        return None
    return counter.result(export.participants)


HEADERS = st.sampled_from(
    [
        "13/02/2024, 21:05 - ",
        "1/2/24, 9:05 PM - ",
        "[13/02/2024, 21:05:09] ",
        "\u200e[13.2.24, 9.05.09 p. m.] ",
        "2024-02-31 24:61 - ",
        "99/99/9999, 99:99 - ",
        "٣١/٢/٢٠٢٤, ٢١:٠٥ - ",
        "1/1/0001 1:01:01: ",
    ]
)
LINES = st.tuples(
    st.sampled_from(["", "\r\n", "\n", "\r", "\ufeff", "\u200e"]),
    HEADERS,
    st.sampled_from(["", "A: ", "A:", "~ B: \u200e", "A: b: \u200e", '"C: ', ": ", "::::"]),
    st.text(max_size=20)
    | st.sampled_from(["<Media omitted>", "http://[x", "www.", "<This message was edited>", "😂❤️"]),
    st.sampled_from(["\n", "\r\n", "\r", ""]),
).map("".join)


@settings(max_examples=200)
@given(st.lists(LINES, max_size=12).map("".join))
def test_text_that_looks_like_headers_is_read_or_refused(text: str) -> None:
    read_and_count(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: AT + b"A: " + tail + b"\n" + AT + b"B: x"))
def test_any_bytes_are_read_or_refused(upload: bytes) -> None:
    read_and_count(upload)
    assert len(unpacking.header_shape(upload)) <= 60


@pytest.mark.parametrize("rest", ["", "   "])
def test_a_message_that_ends_with_a_mark_after_a_second_colon_is_read(rest: str) -> None:
    """A keyboard of a right-to-left script types such a mark."""
    export = exports.read(f"[13.02.24, 10:00:00] Asha: hi\r\n[13.02.24, 10:00:00] Trip: Goa: \u200e{rest}\r\n".encode())
    assert sum(map(len, export.batches)) == 2
    assert export.participants == ["Asha", "Trip"]


@settings(max_examples=100)
@given(st.binary(min_size=1, max_size=8), st.integers(min_value=4, max_value=400))
def test_an_archive_with_any_damage_is_read_or_refused(junk: bytes, place: int) -> None:
    upload = zipped(AT + b"A: hello\n" * 20)
    read_and_count(upload[:place] + junk + upload[place + len(junk) :])


HEADER = b"[13/02/2024, 21:05:09] "
MARK = b"\xe2\x80\x8e"
SIZE = 1_000_000


def filled(unit: bytes, size: int = SIZE) -> bytes:
    return unit * (size // len(unit))


#: Text, number of messages by people, number of people. Backtracking could make each of them quadratic.
SHAPES: dict[str, tuple[bytes, int, int]] = {
    "one long line": (AT + b"A: " + b"x" * SIZE, 1, 1),
    "one long line without a colon": (AT + b"x" * SIZE, 0, 0),
    "separators": (AT + filled(b": "), 0, 0),
    "separators in a name": (AT + filled(b"a:"), 0, 0),
    "spaces": (AT + b"A:" + b" " * SIZE, 1, 1),
    "line feeds": (AT + b"A: x" + b"\n" * SIZE, 1, 1),
    "carriage returns": (AT + b"A: x" + b"\r" * SIZE, 1, 1),
    "digits": (AT + b"A: x\n" + b"1" * SIZE, 1, 1),
    "lines of a digit": (AT + b"A: x\n" + filled(b"1\n"), 1, 1),
    "slashes": (AT + b"A: x\n" + filled(b"1/1/"), 1, 1),
    "half headers": (AT + b"A: x\n" + filled(b"13/02/2024, "), 1, 1),
    "lines of half headers": (AT + b"A: x\n" + filled(b"13/02/2024, 21:05\n"), 1, 1),
    "lines of dates and words": (AT + b"A: x\n" + filled(b"13/02/2024 aaaaaaaaa bbbbbbbbb \n"), 1, 1),
    "brackets": (HEADER + b"A: x\n" + b"[" * SIZE, 1, 1),
    "lines of brackets": (HEADER + b"A: x\n" + filled(b"[\n"), 1, 1),
    "marks": (HEADER + b"A: x\n" + filled(MARK), 1, 1),
    "marks in a body": (HEADER + b"A: x" + filled(MARK), 1, 1),
    "marks and brackets": (HEADER + b"A: x" + filled(MARK + b"<"), 1, 1),
    "quotes": (AT + b'"' * SIZE + b": x", 0, 0),
    "headers on one line": (filled(AT), 0, 0),
    "headers without a name": (filled(AT + b"\n"), 0, 0),
    "combining marks": (AT + b"A: a" + filled("\u0301".encode()), 1, 1),
    "names of combining marks": ((AT + ("a" + "\u0301" * 100).encode() + b": x\n") * 1_000, 1_000, 1),
    "joined emoji": (AT + b"A: " + filled("👩\u200d".encode()), 1, 1),
    "addresses": (AT + b"A: " + filled(b"www.http://"), 1, 1),
    "empty messages": ((AT + b"A:\n") * 10_000, 10_000, 1),
    "old line ends": ((AT + b"A: x\r") * 10_000, 10_000, 1),
    "bad bytes": (AT + b"A: " + filled(b"\xff\xc3"), 1, 1),
    "many people": (b"".join(AT + b"Guest %d: hi\n" % number for number in range(20_000)), 20_000, 20_000),
    "long names": (b"".join(AT + b"%0255d: hi\n" % number for number in range(2_000)), 2_000, 2_000),
    "names too long by a letter": (AT + b"A: x\n" + (AT + b"x" * 256 + b": hi\n") * 2_000, 1, 1),
    "impossible dates": (AT + b"A: x\n" + filled(b"31/02/2024, 21:05 - B: x\n"), 1, 1),
    "another dialect after nine thousand lines": ((AT + b"A: x\n") * 9_000 + (HEADER + b"B: y\n") * 9_000, 18_000, 2),
    "two dialects in turn": ((AT + b"A: x\n" + HEADER + b"B: y\n") * 9_000, 18_000, 2),
    "distinct words": (b"".join(AT + b"A: w%x w%xq\n" % (each, each) for each in range(9_000)), 9_000, 1),
    "links": ((AT + b"A: http://a.b/c\n") * 9_000, 9_000, 1),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hostile_shape_is_read_to_its_end(shape: str) -> None:
    upload, messages, people = SHAPES[shape]
    figures = read_and_count(upload)
    assert (figures or {"total_messages": 0})["total_messages"] == messages
    if messages:
        export = exports.read(upload)
        assert sum(map(len, export.batches)) == messages + export.n_system
        assert len(export.participants) == people


_WEB_MESSAGE = (
    b'<!DOCTYPE html><html><div class="page_body chat_page"><div class="message default" id="message1">'
    b'<div class="date" title="14.03.2024 21:05:33"></div><div class="from_name">A</div>'
    b'<div class="text">%b</div></html>'
)
#: Each takes minutes if a pattern backtracks, or matches a part again for each one around it.
SLOW_SHAPES: dict[str, bytes] = {
    "the name of a tag that is not closed": _WEB_MESSAGE % (b"<" + b"a" * 400_000 + b"<"),
    "nested lists of JSON that are not closed": b'{"messages":' + b'["",' * 11 + b'"",' * 100_000,
    "the end of a tag that is not closed": _WEB_MESSAGE % (b"</" + b"a1" * 200_000 + b"<"),
}


@pytest.mark.parametrize("shape", SLOW_SHAPES)
def test_a_shape_of_half_a_megabyte_takes_less_than_two_seconds(shape: str) -> None:
    begun = time.process_time()
    read_and_count(SLOW_SHAPES[shape])
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "lines",
    [
        HEADER + b"A: " + MARK + b"x\n" + MARK + "（".encode() * 16_000,
        HEADER + b"A: cap " + MARK + b"<attached: x." + b"12345678-" * 16_000,
        (HEADER + b"A: " + b"." * 1_900 + b"document omitted\n") * 4_000,
    ],
    ids=["parentheses of an option", "numbers of a file", "dots of a document"],
)
def test_a_line_that_resembles_words_of_an_iphone_takes_linear_time(lines: bytes) -> None:
    """Each takes less than a second, and with backtracking at least 10."""
    before = time.process_time()
    read_and_count(HEADER + b"A: hi\n" + lines)
    assert time.process_time() - before < 3


def test_a_line_of_ten_megabytes_is_one_message() -> None:
    figures = read_and_count(AT + b"A: " + b"x" * 10_000_000 + b"\n" + AT + b"B: y")
    assert figures is not None
    assert figures["total_messages"] == 2


def test_a_hundred_thousand_senders_are_counted_and_fifty_are_listed() -> None:
    figures = read_and_count(b"".join(AT + b"Guest %d: hi\n" % number for number in range(100_000)))
    assert figures is not None
    assert len(figures["user_stats"]) == 50  # type: ignore[arg-type]
    assert figures["others"]["people"] == 99_950  # type: ignore[index]


def test_more_people_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (senders, batching):
        monkeypatch.setattr(module, "PEOPLE_LIMIT", 3_000)
    header = {"type": "message", "date": "2024-02-13T21:05:00", "text": "hi"}
    for people in (3_000, 3_001):
        guests = [f"Guest {number}" for number in range(people)]
        text = "".join(f"13/02/2024, 21:05 - {name}: hi\n" for name in guests)
        chat = {"type": "private_group", "id": 1, "messages": [header | {"from": name} for name in guests]}
        figures = [read_and_count(upload.encode()) for upload in (text, json.dumps(chat))]
        assert [each is not None for each in figures] == [people == 3_000] * 2


READ_AND_MEASURE = """
import os, resource, sys
from chats.exports import whatsapp

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

def read(text):
    for batch in whatsapp.parse(text).batches:
        pass

texts = sys.stdin.buffer.read().split(b"\\0")
# The first export of a process compiles the patterns.
read(texts[0][:1_000])
for text in texts:
    # The peak of a child begins with what the parent uses.
    if not os.fork():
        before = peak_bytes()
        read(text)
        print((peak_bytes() - before) / len(text), flush=True)
        os._exit(0)
    os.wait()
"""
MEMORY_SHAPES = {
    "distinct impossible days": b"".join(
        b"%02d/13/%04d, 21:05 - B: x\n" % divmod(each, 10_000) for each in range(100_000)
    ),
    "an impossible day": b"31/02/2024, 21:05 - B: x\n" * 100_000,
    "an impossible time": b"13/02/2024, 99:99 - x\n" * 100_000,
    "headers on one line": filled(AT, 2_000_000),
}


def test_reading_any_file_takes_at_most_eight_times_its_size_in_memory() -> None:
    texts = b"\0".join(AT + b"A: x\n" + lines for lines in MEMORY_SHAPES.values())
    done = subprocess.run([sys.executable, "-c", READ_AND_MEASURE], input=texts, capture_output=True, check=True)
    times = dict(zip(MEMORY_SHAPES, map(float, done.stdout.split()), strict=True))
    assert min(times.values()) > 0, times
    assert max(times.values()) < 8, times


def test_a_word_of_thousands_of_characters_is_counted_but_not_listed() -> None:
    lines = f"13/02/2024, 21:05 - A: hello e{chr(0x301) * 5_000}\n13/02/2024, 21:06 - B: @{'q' * 5_000}\n"
    figures: Any = read_and_count(lines.encode())
    assert [each["word"] for each in figures["top_words"]] == ["hello"]
    assert figures["user_stats"]["A"]["word_count"] == 2
    assert len(str(figures)) < 20_000

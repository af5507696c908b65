"""Files made to hurt: each is read or refused, in time that grows with its size alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chats import exports
from chats.exports import intake
from chats.exports.refusals import ExportRefused
from chats.statistics import Statistics
from tests.exports import zipped

AT = b"13/02/2024, 21:05 - "


def read_and_count(upload: bytes) -> dict[str, object] | None:
    """The statistics, or None for a refusal. Anything else is a defect."""
    try:
        export = exports.read(upload)
        counter = Statistics()
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
    st.sampled_from(["", "A: ", "A:", "~ B: \u200e", '"C: ', ": ", "::::"]),
    st.text(max_size=20)
    | st.sampled_from(["<Media omitted>", "http://[x", "www.", "<This message was edited>", "😂❤️"]),
    st.sampled_from(["\n", "\r\n", "\r", ""]),
).map("".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, max_size=12).map("".join))
def test_text_that_looks_like_headers_is_read_or_refused(text: str) -> None:
    read_and_count(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: AT + b"A: " + tail + b"\n" + AT + b"B: x"))
def test_any_bytes_are_read_or_refused(upload: bytes) -> None:
    read_and_count(upload)
    assert len(intake.header_shape(upload)) <= 60


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=8), st.integers(min_value=4, max_value=400))
def test_any_damage_to_an_archive_is_read_or_refused(junk: bytes, place: int) -> None:
    upload = zipped(AT + b"A: hello\n" * 20)
    read_and_count(upload[:place] + junk + upload[place + len(junk) :])


def many_senders(size: int) -> bytes:
    return b"".join(AT + b"Guest %d: hi\n" % number for number in range(size // 30))


def impossible_dates(size: int) -> bytes:
    return AT + b"A: x\n" + b"31/02/2024, 21:05 - B: x\n" * (size // 25)


def distinct_words(size: int) -> bytes:
    return b"".join(AT + b"A: w%x w%xq\n" % (number, number) for number in range(size // 36))


def links(size: int) -> bytes:
    return (AT + b"A: http://a.b/c\n") * (size // 40)


SHAPES: dict[str, Callable[[int], bytes]] = {
    "one long line": lambda size: AT + b"A: " + b"x" * size,
    "one long line without a colon": lambda size: AT + b"x" * size,
    "separators": lambda size: AT + b": " * (size // 2),
    "separators in a name": lambda size: AT + b"a:" * (size // 2),
    "spaces": lambda size: AT + b"A:" + b" " * size,
    "line feeds": lambda size: AT + b"A: x" + b"\n" * size,
    "carriage returns": lambda size: AT + b"A: x" + b"\r" * size,
    "digits": lambda size: AT + b"A: x\n" + b"1" * size,
    "slashes": lambda size: AT + b"A: x\n" + b"1/1/" * (size // 4),
    "half headers": lambda size: AT + b"A: x\n" + b"13/02/2024, " * (size // 12),
    "brackets": lambda size: b"[13/02/2024, 21:05:09] A: x\n" + b"[" * size,
    "marks": lambda size: b"[13/02/2024, 21:05:09] A: x\n" + b"\xe2\x80\x8e" * (size // 3),
    "quotes": lambda size: AT + b'"' * size + b": x",
    "headers on one line": lambda size: AT * (size // len(AT)),
    "joined emoji": lambda size: AT + b"A: " + "👩\u200d".encode() * (size // 7),
    "flags": lambda size: AT + b"A: " + "🇮".encode() * (size // 4),
    "addresses": lambda size: AT + b"A: " + b"www.http://" * (size // 11),
    "empty messages": lambda size: (AT + b"A:\n") * (size // 23),
    "bad bytes": lambda size: AT + b"A: " + b"\xff\xc3" * (size // 2),
    "many senders": many_senders,
    "impossible dates": impossible_dates,
    "distinct words": distinct_words,
    "links": links,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_reading_takes_time_in_proportion_to_size(shape: str) -> None:
    """Eight times the bytes may cost at most twenty-four times the time: a quadratic step would cost sixty-four."""

    def seconds(size: int) -> float:
        upload = SHAPES[shape](size)
        times = []
        for _ in range(2):
            start = time.process_time()
            read_and_count(upload)
            times.append(time.process_time() - start)
        return min(times)

    small = max(seconds(60_000), 0.002)
    assert seconds(480_000) < 24 * small


def test_a_line_of_ten_megabytes_is_one_message() -> None:
    figures = read_and_count(AT + b"A: " + b"x" * 10_000_000 + b"\n" + AT + b"B: y")
    assert figures is not None
    assert figures["total_messages"] == 2


def test_a_hundred_thousand_senders_are_counted_and_fifty_listed() -> None:
    figures = read_and_count(b"".join(AT + b"Guest %d: hi\n" % number for number in range(100_000)))
    assert figures is not None
    assert len(figures["user_stats"]) == 50  # type: ignore[arg-type]
    assert figures["others"]["people"] == 99_950  # type: ignore[index]

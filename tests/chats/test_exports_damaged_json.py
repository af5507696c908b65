"""The array of messages of a damaged JSON text: everything intact is read, and the rest is counted."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chats.exports import damaged_json
from chats.exports.damaged_json import DamagedArray, repair
from chats.exports.json_stream import JsonCursor, MalformedJson

#: Texts that look like the end of a message and the beginning of the next one.
TEXTS = st.text(max_size=8) | st.sampled_from(['}, {"id": ', '},\n {\n  "id": 1', "],\n", "\\", '"'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "list"]), inner),
    max_leaves=6,
)
MESSAGES = st.lists(st.dictionaries(st.sampled_from(["date", "text", "from"]), VALUES), min_size=2, max_size=6).map(
    lambda messages: [{"id": number, **message} for number, message in enumerate(messages)]
)
#: As Telegram Desktop prints them, and without any blank.
LAYOUTS = st.sampled_from([{"indent": 1}, {"separators": (",", ":")}, {}])
BYTES = st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"x", b"\x0b", b"\n"])


def read(array: bytes) -> tuple[list[Any], int]:
    """Return the readable elements of an array in a document, and the number of unreadable values."""
    text = b'{"messages": ' + array + b"}"
    found = DamagedArray(text, text.index(b"["), len(text), b'"id"')
    return [row for window in found.windows() for row in window.rows], found.unreadable


def places(text: str, elements: list[Any]) -> list[tuple[int, int]]:
    """Return where each element is in the text of the array."""
    found = []
    end = 1
    for _ in elements:
        start = len(text) - len(text[end:].lstrip(" \n,"))
        _, end = json.JSONDecoder().raw_decode(text, start)
        found.append((start, end))
    return found


@settings(max_examples=60)
@given(st.lists(VALUES) | MESSAGES, LAYOUTS)
def test_valid_json_gives_the_same_elements_as_the_strict_reader(elements: list[Any], layout: dict[str, Any]) -> None:
    text = json.dumps(elements, **layout).encode()
    assert [row for window in JsonCursor(text).windows() for row in window.rows] == elements
    assert read(text) == (elements, 0)


@settings(max_examples=200)
@given(MESSAGES, LAYOUTS, BYTES, st.data())
def test_one_broken_byte_loses_at_most_its_message(
    messages: list[dict[str, Any]], layout: dict[str, Any], byte: bytes, data: Any
) -> None:
    text = json.dumps(messages, **layout)
    broken = data.draw(st.integers(0, len(messages) - 1))
    start, end = places(text, messages)[broken]
    place = data.draw(st.integers(start, end - 1))
    array = text.encode()
    rows, unreadable = read(array[:place] + byte + array[place + data.draw(st.integers(0, 1)) :])
    intact = messages[:broken] + messages[broken + 1 :]
    assert [row for row in rows if row in intact] == intact
    assert len(rows) >= len(messages) or unreadable


@settings(max_examples=60)
@given(MESSAGES, LAYOUTS, st.data())
def test_a_text_that_breaks_off_loses_only_its_last_message(
    messages: list[dict[str, Any]], layout: dict[str, Any], data: Any
) -> None:
    text = json.dumps(messages, **layout)
    broken = data.draw(st.integers(0, len(messages) - 1))
    start, end = places(text, messages)[broken]
    cut = b'{"messages": ' + text[: data.draw(st.integers(start, end - 1))].encode()
    found = DamagedArray(cut, cut.index(b"["), len(cut), b'"id"')
    rows = [row for window in found.windows() for row in window.rows]
    assert [row for row in rows if row in messages] == messages[:broken]
    assert found.unreadable


@pytest.mark.parametrize(
    ("printed", "meant", "missing"),
    [
        (rb'{"a": "one\x0Btwo\q \u12 \" \\x0B"}', {"a": 'one\x0btwo\\q \\u12 " \\x0B'}, 0),
        (b'{"a": files/sticker (2).webm\n}', {"a": "files/sticker (2).webm"}, 0),
        (b'{"a": files/a, b [1].webm,\n"b": 1}', {"a": "files/a, b [1].webm", "b": 1}, 0),
        (b'{"a":files/a.webm,"b":[{"c":x y}]}', {"a": "files/a.webm", "b": [{"c": "x y"}]}, 0),
        (b'{"a": ,\n"b": }', {"a": None, "b": None}, 2),
        (b'{"a": [1, 2,\n], "b": 007,}', {"a": [1, 2], "b": "007"}, 0),
        (b'{"a": "1,]", "b": -1.5e3, "c": "\x01"}', {"a": "1,]", "b": -1500, "c": "\x01"}, 0),
    ],
)
def test_known_mistakes_are_repaired(printed: bytes, meant: dict[str, Any], missing: int) -> None:
    repaired, counted, _ = repair(printed)
    assert json.loads(repaired, strict=False) == meant
    assert counted == missing


@pytest.mark.parametrize("escapes", [rb"\"", rb"\\\"", rb"a\":"])
def test_a_string_that_is_not_closed_is_repaired_in_linear_time(escapes: bytes) -> None:
    """Else one of 100 KB takes minutes."""
    begun = time.process_time()
    text = b'{"id":1,"a":"' + escapes * (100_000 // len(escapes))
    assert repair(text) == (text, 0, 1)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("last", [b'{"id":2}', b'{"x":2}', b"2"])
def test_intact_elements_before_a_broken_one_are_found_in_linear_time(last: bytes) -> None:
    """Else the text up to the next beginning of an element is decoded once for each of them, which takes minutes."""
    begun = time.process_time()
    rows, unreadable = read(b'[{"id":1},' + b'{"x":1},' * 20_000 + b'{"x" 1},' + last + b"]")
    assert rows[:20_001] == [{"id": 1}] + [{"x": 1}] * 20_000
    assert unreadable
    assert time.process_time() - begun < 4


def test_the_beginning_of_a_list_inside_of_a_damaged_text_does_not_lose_intact_messages() -> None:
    nested = {"list": [{"id": number} for number in range(5)]}
    messages = [{"id": number, "nested": nested} for number in range(9)]
    text = json.dumps(messages, separators=(",", ":")).encode()
    rows, unreadable = read(text.replace(b'{"id":3,"nested":', b'{"id":3,"nested"', 1))
    assert [row for row in rows if "nested" in row] == messages[:3] + messages[4:]
    assert unreadable


def test_more_unreadable_values_than_any_messenger_writes_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damaged_json, "UNREADABLE_LIMIT", 20)
    broken = b'{"id": 1 "text": "a"}'
    assert read(b"[" + b", ".join([broken] * 20) + b"]") == ([], 20)
    with pytest.raises(MalformedJson):
        read(b"[" + b", ".join([broken] * 21) + b"]")


def test_more_repaired_values_than_any_messenger_writes_wrongly_are_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(damaged_json, "REPAIRS_LIMIT", 20)
    bare = b'{"id":1,"text":a b}'
    assert read(b"[" + b",".join([bare] * 20) + b"]") == ([{"id": 1, "text": "a b"}] * 20, 0)
    with pytest.raises(MalformedJson):
        read(b"[" + b",".join([bare] * 21) + b"]")


def test_more_brackets_that_close_nothing_than_unreadable_values_are_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(damaged_json, "UNREADABLE_LIMIT", 20)
    beginning, end = b'[{"id":1},{"x" 1},', b'{"id":2}]'
    assert read(beginning + b'{"id":1}],' * 20 + end) == ([{"id": 1}] * 21 + [{"id": 2}], 1)
    with pytest.raises(MalformedJson):
        read(beginning + b'{"id":1}],' * 21 + end)

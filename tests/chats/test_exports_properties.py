"""Any chat, damaged or not, is read or refused; each message appears once, and no text of a person is lost."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from chats import exports
from chats.exports.bidi import BIDI_MARKS
from chats.exports.errors import ExportRefused
from chats.exports.parsed import Message, MessageKind
from tests import exports as generator
from tests import platforms

AT = datetime.fromisoformat("2024-02-13T21:05:09")
#: The strftime format of the header, and the line end.
DIALECTS = [
    ("%d/%m/%Y, %H:%M - ", "\n"),
    ("%m/%d/%y, %I:%M %p - ", "\n"),
    ("%d.%m.%y, %H:%M - ", "\n"),
    ("%Y. %m. %d. 오후 %I:%M - ", "\n"),
    ("%Y/%m/%d 下午%I:%M - ", "\n"),
    ("%d.%m.%Y klo %H.%M - ", "\n"),
    ("%H:%M, %d/%m/%Y - ", "\n"),
    ("%d/%m/%Y %H:%M:%S: ", "\n"),
    ("[%d/%m/%Y, %H:%M:%S] ", "\r\n"),
    ("[%m/%d/%y, %I:%M:%S\u202f%p] ", "\r\n"),
    ("\u200e[%d\u200f/%m\u200f/%Y، %I:%M:%S م] ", "\r\n"),
    ("[%H:%M:%S %d/%m/%Y] ", "\r\n"),
    ("[令和6年%m月%d日 %H:%M:%S] ", "\r\n"),
]
NAMES = st.sampled_from(["Asha", "Ben:the boss", "نرگس\u200cجان", "👩🏽\u200d🚀", "+91 98765 43210"])
#: A text that begins with a mark is WhatsApp's own, so texts of people contain none.
NO_LETTERS = "\u0085" + "".join(map(chr, BIDI_MARKS))
LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters=NO_LETTERS), max_size=30)
BODIES = st.lists(LINE, min_size=1, max_size=3).map("\n".join)


def read(upload: bytes) -> list[Message] | None:
    """Return the messages, or None if the upload is refused. Every other error fails the test."""
    try:
        export = exports.read(upload)
        messages = [message for batch in export.batches for message in batch.messages(export.participants)]
    except ExportRefused:
        return None
    assert [message.number for message in messages] == list(range(1, len(messages) + 1))
    people = [message for message in messages if message.sender is not None]
    assert (len(people), len(messages) - len(people)) == (export.n_messages, export.n_system)
    assert {message.sender for message in people} == set(export.participants)
    assert all((message.kind is MessageKind.SYSTEM) == (message.sender is None) for message in messages)
    return messages


@settings(max_examples=150)
@given(
    st.sampled_from(DIALECTS),
    st.lists(st.tuples(NAMES, BODIES), min_size=1, max_size=6),
)
def test_every_word_of_every_person_is_kept_in_every_dialect(
    dialect: tuple[str, str], said: list[tuple[str, str]]
) -> None:
    header, end = dialect
    printed = AT.strftime(header)
    messages = read("".join(f"{printed}{name}: {body}{end}" for name, body in said).encode())
    assert messages is not None
    assert [(message.sender, message.text.strip()) for message in messages] == [
        (name, body.strip()) for name, body in said
    ]
    assert all(message.sent_at.replace(second=9) == AT for message in messages)


@settings(max_examples=100)
@given(st.booleans(), st.lists(st.tuples(NAMES, BODIES), min_size=1, max_size=6))
def test_every_word_of_every_person_is_kept_in_both_exports_of_messenger(
    is_encrypted: bool, said: list[tuple[str, str]]
) -> None:
    """Only texts without a character are replaced by a placeholder."""
    written = [Message(number, AT, name, MessageKind.TEXT, body) for number, (name, body) in enumerate(said, start=1)]
    upload = platforms.encrypted(written)
    if not is_encrypted:
        upload = platforms.zipped(platforms.inbox(platforms.instagram(written), top=platforms.MESSENGER_TOP))
    messages = read(upload)
    assert messages is not None
    expected = [(name, body or "<Message without text>") for name, body in said]
    assert [(message.sender, message.text) for message in messages] == expected


CUTS = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=5_000),
        st.integers(min_value=0, max_value=40),
        st.binary(max_size=6)
        | st.sampled_from(
            [b"\n", b"\r\n", b"\r", b": ", b"\xe2\x80\x8e", b"[", b"] ", b" - ", b"99/99/99", b"\0", b'"']
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200)
@given(st.sampled_from(generator.STYLES), st.integers(min_value=1, max_value=4), CUTS)
def test_an_export_with_any_damage_is_read_or_refused(
    style: str, seed: int, cuts: list[tuple[int, int, bytes]]
) -> None:
    text = generator.text(40, people=3, seed=seed, style=style)
    for place, length, junk in cuts:
        text = text[:place] + junk + text[place + length :]
    read(text)


@settings(max_examples=100)
@given(st.permutations(range(12)), st.sampled_from(generator.STYLES))
def test_lines_in_any_order_give_the_same_messages(order: list[int], style: str) -> None:
    lines = list(generator.lines(12, people=3, seed=7, style=style))
    shuffled = read("".join(lines[place] for place in order).encode())
    straight = read("".join(lines).encode())
    assert shuffled is not None
    assert straight is not None

    def said(messages: list[Message]) -> list[tuple[str, str]]:
        return sorted((message.sender or "", message.text) for message in messages)

    assert said(shuffled) == said(straight)

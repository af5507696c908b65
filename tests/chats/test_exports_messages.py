"""The sender, the kind and the text of each line."""

from __future__ import annotations

import pytest

from chats import exports
from chats.exports import parsed, whatsapp
from chats.exports.errors import OnlySystemMessages
from chats.exports.parsed import Message, MessageKind, ParsedExport
from tests import exports as generator

MARK = "\u200e"
AT = "13/02/2024, 21:05 - "
IOS = "[13/02/2024, 21:05:09] "
END = f"{AT}Zoya: end"
IOS_END = f"{IOS}Zoya: end"


def read(*lines: str, end: str = "\n") -> tuple[ParsedExport, list[Message]]:
    export = exports.read(end.join(lines).encode())
    return export, [message for batch in export.batches for message in batch.messages(export.participants)]


def first(line: str) -> Message:
    return read(line, IOS_END if "[" in line[:2] else END)[1][0]


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("Asha", "Asha"),
        ("Asha 👩🏽\u200d🚀 ❤️", "Asha 👩🏽\u200d🚀 ❤️"),
        ("نرگس\u200cجان", "نرگس\u200cجان"),
        ("\u202a+91 98765 43210\u202c", "+91 98765 43210"),
        ("\u2068Asha\u2069", "Asha"),
        ("~ Asha", "Asha"),
        ("~\u202fAsha", "Asha"),
        ("~Asha", "~Asha"),
        ("Team:A", "Team:A"),
        ("Dr. O'Neil - Work", "Dr. O'Neil - Work"),
        ("x" * 255, "x" * 255),
        ("अ" * 200 + " 👩🏽\u200d🚀", "अ" * 200 + " 👩🏽\u200d🚀"),
    ],
)
def test_a_name_keeps_its_unicode_without_marks_and_tilde(printed: str, name: str) -> None:
    for header, end in ((AT, END), (IOS, IOS_END)):
        export, messages = read(f"{header}{printed}: hi: there", end)
        assert export.participants == [name, "Zoya"]
        assert (messages[0].sender, messages[0].text) == (name, "hi: there")


@pytest.mark.parametrize(
    "name",
    [
        "张三“小张”",
        '"小明"',
        '田中"太郎"',
        '김"철수"',
        '"Mom',
        "“Mom",
        "Ravi « Raju »",
        "Ravi « Raju",
        "Ash ”Ashy”",
        "»Ash« Rao",
        '5" Ravi',
    ],
)
def test_a_name_with_quotation_marks_is_a_person_whether_they_are_paired_or_not(name: str) -> None:
    for header, end in ((AT, END), (IOS, IOS_END)):
        export, messages = read(f'{header}{name}: she said "yes" and 6" more', f"{header}{name}: ok", end)
        assert export.participants == [name, "Zoya"]
        assert [message.sender for message in messages] == [name, name, "Zoya"]


def test_two_printed_forms_of_a_name_are_one_participant() -> None:
    export, messages = read(f"{AT}~ Asha: a", f"{AT}\u200eAsha: b", END)
    assert export.participants == ["Asha", "Zoya"]
    assert [message.sender for message in messages] == ["Asha", "Asha", "Zoya"]


@pytest.mark.parametrize("body", ["", " "])
def test_a_name_at_the_end_of_the_line_is_an_empty_message(body: str) -> None:
    for end in ("\n", "\r\n"):
        messages = read(f"{AT}Asha:{body}", END, f"{AT}Asha:{body}", end=end)[1]
        assert [(message.sender, message.text) for message in messages] == [("Asha", ""), ("Zoya", "end"), ("Asha", "")]


@pytest.mark.parametrize(
    "line",
    [
        "Messages and calls are end-to-end encrypted. No one outside of this chat can read them. Tap to learn more.",
        "Messages and calls are end-to-end encrypted. Learn more: https://example.com",
        "Asha created group “Trip: Goa 2024”",
        'Asha changed the subject from "Trip: Goa" to "Goa: done"',
        'Asha hat die Gruppe "Reise: Goa" erstellt',
        "Asha a créé le groupe « Voyage : Goa »",
        "Asha changed the group description",
        "You added Ben: Work",
        "Ben left",
        "Missed voice call",
        "x" * 300 + ": far too long for a name",
    ],
)
def test_an_android_system_line_never_becomes_a_person(line: str) -> None:
    export, messages = read(f"{AT}{line}", END)
    assert export.participants == ["Zoya"]
    assert (messages[0].sender, messages[0].kind, messages[0].text) == (None, MessageKind.SYSTEM, line)
    assert (export.n_messages, export.n_system) == (1, 1)


@pytest.mark.parametrize(
    ("sender", "line"),
    [
        ("Trip: Goa", "Messages and calls are end-to-end encrypted."),
        ("Trip Goa", "Asha created this group"),
        ("Asha", "Asha added you"),
        ("Viaje", "Asha cambió el nombre del grupo"),
    ],
)
def test_an_iphone_system_line_is_recognised_by_its_mark_in_any_language(sender: str, line: str) -> None:
    export, messages = read(f"{IOS}{sender}: {MARK}{line}", IOS_END, end="\r\n")
    assert export.participants == ["Zoya"]
    assert (messages[0].sender, messages[0].kind) == (None, MessageKind.SYSTEM)
    assert messages[0].text.endswith(line)


@pytest.mark.parametrize("words", [f"note: {MARK}+91 98765 43210", f"טלפון: {MARK}03-1234567", f"a: {MARK}b: {MARK}c"])
def test_a_pasted_number_and_the_words_before_it_stay_a_message_of_their_author(words: str) -> None:
    line = f"{IOS}Asha: {words}"
    for lines in ([line], [line, f"{IOS}Asha: hi", line], [f"{IOS}Asha: hi"] * 6_000 + [line, line]):
        export, messages = read(*lines, IOS_END)
        said = [message.text for message in messages if message.sender == "Asha"]
        assert said == [printed.removeprefix(f"{IOS}Asha: ") for printed in lines]
        assert export.n_system == 0


@pytest.mark.parametrize("line", ["“Ravi: ok” he said", "“Ravi: Asha kişisini eklediniz"])
def test_a_name_like_the_beginning_of_a_system_line_is_a_person_after_plain_messages(line: str) -> None:
    export, messages = read(f"{AT}{line}", *[f"{AT}Zed: x"] * 6_000, *[f"{AT}“Ravi: plain words"] * 5)
    assert (export.participants, export.n_system) == (["Zed", "“Ravi"], 1)
    assert [message.sender for message in messages[-5:]] == ["“Ravi"] * 5


def test_a_group_whose_subject_contains_a_colon_is_not_a_person_and_its_lines_stay_whole() -> None:
    lines = [f"{IOS}Trip: Goa: {MARK}Asha hat Ben entfernt", f"{IOS}Trip: Goa: {MARK}Ben ging"]
    export, messages = read(lines[0], IOS_END, lines[1], end="\r\n")
    assert export.participants == ["Zoya"]
    assert [message.text for message in messages] == ["Trip: Goa: Asha hat Ben entfernt", "end", "Trip: Goa: Ben ging"]


def test_the_title_of_an_iphone_group_is_the_sender_of_its_first_notice() -> None:
    people = [f"{IOS}{name}: hi" for name in ("Asha", "Ben", "Cy")]
    notice = f"{IOS}Goa 🌴: {MARK}Messages and calls are end-to-end encrypted."
    by_others = [f"{IOS}Dan: {MARK}Dan created this group", f"{IOS}Du: {MARK}Du hast die Gruppe erstellt"]
    for lines in ([notice], [notice.replace(MARK, "")], [notice, *by_others], [*by_others, notice]):
        assert read(*lines, *people)[0].title == "Goa 🌴"
    for lines in (by_others, [notice.replace("Goa 🌴", "x" * 256)]):
        assert read(*lines, *people)[0].title == ""
    for lines in (people, [notice, *people[:2]], [*people, notice], [notice.replace("Goa 🌴", "Asha"), *people]):
        assert read(*lines)[0].title == ""


def test_a_marked_body_after_a_marked_header_is_an_attachment_in_an_unknown_language() -> None:
    message = first(f"{MARK}{IOS}Asha: {MARK}imagen omitida")
    assert (message.sender, message.kind, message.text) == ("Asha", MessageKind.MEDIA, "imagen omitida")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<Media omitted>", MessageKind.MEDIA),
        ("IMG-20240213-WA0001.jpg (file attached)", MessageKind.MEDIA),
        (f"{MARK}PTT-20240213-WA0001.opus (file attached)", MessageKind.MEDIA),
        ("<attached: 00000012-PHOTO-2024-02-13.jpg>", MessageKind.MEDIA),
        ("image omitted", MessageKind.MEDIA),
        ("GIF omitted", MessageKind.MEDIA),
        (f"Bill.pdf • {MARK}2 pages {MARK}document omitted", MessageKind.MEDIA),
        ("This message was deleted", MessageKind.DELETED),
        ("You deleted this message.", MessageKind.DELETED),
        ("This message was deleted by admin Ben", MessageKind.DELETED),
        ("Missed video call", MessageKind.CALL),
        ("Missed voice call at 9:05 PM", MessageKind.CALL),
        (f"Voice call, {MARK}3 min", MessageKind.CALL),
        (f"Silenced voice call, {MARK}Focus mode", MessageKind.CALL),
        ("Silenced video call", MessageKind.CALL),
        (f"Call failed, {MARK}Try again", MessageKind.CALL),
        (f"Group call, {MARK}3 invited", MessageKind.CALL),
        ("Waiting for this message. This may take a while.", MessageKind.MEDIA),
        ("location: https://maps.google.com/?q=1.5,2.5", MessageKind.LOCATION),
        ("Location: https://maps.google.com/?q=1.5,2.5", MessageKind.LOCATION),
        ("live location shared", MessageKind.LOCATION),
        ("Asha Rao.vcf (file attached)", MessageKind.CONTACT),
        ("Contact card omitted", MessageKind.CONTACT),
        ("POLL:\nWhere?\nOPTION: Goa (2 votes)\nOPTION: Pune (0 votes)", MessageKind.POLL),
    ],
)
def test_placeholders_are_distinguished_from_text(body: str, kind: MessageKind) -> None:
    for line in (
        f"{AT}Asha: {body}",
        f"{MARK}{IOS}Asha: {MARK}{body}",
        f"{IOS}Asha: {MARK}{body}",
        f"{IOS}Asha: {body}",
    ):
        message = first(line)
        assert (message.sender, message.kind) == ("Asha", kind)
        assert message.text == body.replace(MARK, "")


@pytest.mark.parametrize(
    "body",
    [
        "<Media omitted> was all I got",
        "the image omitted",
        "I saw This message was deleted",
        "This message was deleted\nreally?",
        "Voice call, 8 pm?",
        "Call failed",
        "Group call, 8 pm?",
        "missed voice call",
        "see (file attached)",
        "location: home",
        "the document omitted",
        f"right {MARK}to left",
    ],
)
def test_text_that_contains_a_placeholder_stays_text(body: str) -> None:
    message = first(f"{AT}Asha: {body}")
    assert (message.kind, message.text, message.edited) == (MessageKind.TEXT, body, False)


def test_a_caption_is_on_the_line_after_its_placeholder() -> None:
    message = first(f"{AT}Asha: IMG-1.jpg (file attached)\nat the beach\nlast year")
    assert (message.kind, message.text) == (MessageKind.MEDIA, "IMG-1.jpg (file attached)\nat the beach\nlast year")


@pytest.mark.parametrize("placeholder", ["image omitted", "<attached: 00000002-PHOTO.jpg>"])
def test_a_caption_that_an_iphone_prints_first_is_moved_after_its_placeholder(placeholder: str) -> None:
    for caption in ("at the beach", "two\nlines: yes"):
        message = first(f"{MARK}{IOS}Asha: {caption} {MARK}{placeholder}")
        assert (message.sender, message.kind, message.text) == ("Asha", MessageKind.MEDIA, f"{placeholder}\n{caption}")
    assert first(f"{IOS}Asha: an image omitted").kind is MessageKind.TEXT


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{AT}\u202a+91 98765 43210\u202c added \u2068Ben\u2069", "+91 98765 43210 added Ben"),
        (f"{AT}Asha: \u202a+91 98765 43210\u202c", "+91 98765 43210"),
        (f"{AT}Asha: \u200f\u202b@\u2068Ben Rao\u2069 ok\u202c \u202ax\u202c", "@\u2068Ben Rao\u2069 ok \u202ax\u202c"),
        (f"{AT}Asha: \u2068@\u2068Ben Rao\u2069 hi\u2069 \u2069", "@\u2068Ben Rao\u2069 hi \u2069"),
        (f"{AT}Asha: @\u2068Ben Rao\u2069 \u200e<This message was edited>", "@\u2068Ben Rao\u2069"),
        (f"{IOS}Family: {MARK}\u202aAsha\u202c created this group", "Asha created this group"),
    ],
)
def test_a_direction_mark_is_removed_together_with_its_closing_mark(line: str, text: str) -> None:
    assert first(line).text == text


def test_a_poll_keeps_its_lines_without_marks() -> None:
    message = first(f"{MARK}{IOS}Asha: {MARK}POLL:\nWhere?\n{MARK}OPTION: Goa (3 votes)\n")
    assert (message.kind, message.text) == (MessageKind.POLL, "POLL:\nWhere?\nOPTION: Goa (3 votes)")


@pytest.mark.parametrize("mark", ["", MARK])
def test_an_edited_message_is_flagged_and_its_note_removed(mark: str) -> None:
    message = first(f"{AT}Asha: see you\nat nine {mark}<This message was edited>")
    assert (message.text, message.edited) == ("see you\nat nine", True)
    assert first(f"{AT}Asha: <This message was edited> is odd").edited is False


def test_several_lines_blank_lines_and_indentation_belong_to_the_message() -> None:
    text = "one\n\n  two\n\tthree: four\n- five"
    for end in ("\n", "\r\n"):
        assert read(f"{AT}Asha: {text}".replace("\n", end), END, end=end)[1][0].text == text


def test_messages_are_numbered_from_one_in_file_order_across_batches() -> None:
    export = whatsapp.parse(generator.text(12_345, people=5))
    batches = list(export.batches)
    assert [len(batch) for batch in batches] == [5_000, 5_000, 2_345]
    assert [batch.first_number for batch in batches] == [1, 5_001, 10_001]
    assert whatsapp.BATCH_MESSAGES % 500 == 0
    assert export.n_messages + export.n_system == 12_345
    numbers = [message.number for batch in batches for message in batch.messages(export.participants)]
    assert numbers == list(range(1, 12_346))


@pytest.mark.parametrize("style", generator.STYLES)
def test_messages_do_not_depend_on_the_size_of_the_windows(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = generator.text(600, style=style)

    def messages() -> list[Message]:
        export = whatsapp.parse(text)
        return [message for batch in export.batches for message in batch.messages(export.participants)]

    whole = messages()
    assert len(whole) == 600
    for size in (1, 64, 1000):
        monkeypatch.setattr(whatsapp, "WINDOW_BYTES", size)
        assert messages() == whole


def test_an_impossible_date_at_the_edge_of_a_window_is_still_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatsapp, "WINDOW_BYTES", 1)
    messages = read(f"{AT}Asha: a", "31/02/2024, 21:05 - Ben: b", END)[1]
    assert [message.text for message in messages] == ["a\n31/02/2024, 21:05 - Ben: b", "end"]


def test_exactly_the_system_lines_have_no_sender() -> None:
    export = whatsapp.parse(generator.text(4000, people=6, style="ios-24h"))
    for batch in export.batches:
        for sender, kind in zip(batch.senders, batch.kinds, strict=True):
            assert (sender == parsed.SYSTEM_SENDER) == (kind == MessageKind.SYSTEM)


@pytest.mark.parametrize("lines", [[f"{AT}Ben left"], [f"{AT}You created group “A: b”", f"{AT}Ben left"]])
def test_a_chat_with_only_system_lines_is_refused_after_it_is_read(lines: list[str]) -> None:
    with pytest.raises(OnlySystemMessages):
        read(*lines)

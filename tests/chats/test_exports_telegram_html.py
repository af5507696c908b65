"""Telegram's web pages give the same messages, kinds and details as its JSON."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chats import exports
from chats.exports import errors
from chats.exports.parsed import SYSTEM_SENDER, Detail, MediaKind, Message, MessageKind, ParsedExport, Reaction
from tests import platforms
from tests.telegram_pages import div, file, message, page, poll, reaction, reactions, service, text, wrap

DAY = service(-1, "14 March 2024")


def read(upload: bytes, chat_id: str | None = None) -> tuple[ParsedExport, list[Message]]:
    export = exports.read(upload, chat=chat_id)
    return export, [each for batch in export.batches for each in batch.messages(export.participants)]


def content(*parts: str) -> tuple[MessageKind, str, MediaKind | None, int | None]:
    [only] = read(page(DAY, message(1, *parts, name="Asha")))[1]
    return only.kind, only.text, only.details.media, only.details.duration_seconds


def test_names_times_and_texts_are_read() -> None:
    upload = page(
        DAY,
        message(1, text("one<br>two &lt;3 &amp; <strong>more</strong>"), name="Asha & co"),
        message(2, text("joined"), date="14.03.2024 21:06:00 UTC+05:30"),
        message(3, text("old"), name="Ravi via @gif", date="15.03.2024 00:00:01"),
        message(4, text("gone"), name="Deleted Account", date="15.03.2024 09:00:00 UTC-03:00"),
    )
    export, messages = read(upload)
    assert (export.platform, export.dialect, export.clock) == ("telegram", "telegram-html", "local")
    assert (export.records, export.n_unreadable) == (frozenset(Detail), 0)
    assert [(m.sent_at.isoformat(), m.sender, m.text, m.utc_offset) for m in messages] == [
        ("2024-03-14T21:05:33", "Asha & co", "one\ntwo <3 & more", 3_600),
        ("2024-03-14T21:06:00", "Asha & co", "joined", 19_800),
        ("2024-03-15T00:00:01", "Ravi", "old", None),
        ("2024-03-15T09:00:00", "Deleted account", "gone", -10_800),
    ]


def test_a_utc_offset_that_no_time_zone_has_is_left_out() -> None:
    offsets = ("+99:99", "-14:15", "+05:07", "+04:75", "+14:00", "-09:30")
    dates = [f"14.03.2024 21:05:33 UTC{offset}" for offset in offsets]
    upload = page(DAY, *(message(1, text("a"), name="Asha", date=date) for date in dates))
    assert [m.utc_offset for m in read(upload)[1]] == [None, None, None, None, 50_400, -34_200]


def test_messages_that_continue_an_unreadable_one_are_not_those_of_another_person() -> None:
    unreadable = message(2, text("b"), name="Ravi").replace("title=", "tit=")
    upload = page(
        DAY,
        message(1, text("a"), name="Asha"),
        unreadable,
        message(3, text("c")),
        message(4, text("d"), name="Asha"),
        unreadable.replace("clearfix", "clearfix joined"),
        message(5, text("e")),
    )
    export, messages = read(upload)
    assert [(m.sender, m.text) for m in messages] == [
        ("Asha", "a"),
        ("Unknown", "c"),
        ("Asha", "d"),
        ("Asha", "e"),
    ]
    assert export.n_unreadable == 2


@pytest.mark.parametrize(
    "date", ["2024-03-14 21:05:33", "14.03.2024", "31.02.2024 21:05:33", "14.03.2024 21:05:33 GMT"]
)
def test_a_message_without_a_possible_time_is_counted_and_the_next_ones_are_still_those_of_its_sender(
    date: str,
) -> None:
    upload = page(
        DAY,
        message(1, text("a"), name="Asha"),
        message(2, text("b"), name="Ravi", date=date),
        message(3, text("c")),
    )
    export, messages = read(upload)
    assert [(m.sender, m.text) for m in messages] == [("Asha", "a"), ("Ravi", "c")]
    assert export.n_unreadable == 1


def test_a_service_message_before_any_time_is_counted() -> None:
    export, messages = read(page(service(1, "Ravi joined"), DAY, message(2, text("a"), name="Asha")))
    assert ([m.text for m in messages], export.n_unreadable) == (["a"], 1)


def test_links_behind_words_are_kept_as_in_json() -> None:
    words = (
        '<a href="https://a.b/c">this</a> <a href="https://a.b/d">https://a.b/d</a> <a href="x.com/y">x.com/y</a> '
        '<a href="https://t.me/ravi">@ravi</a> <a href="" onclick="return ShowHashtag(&quot;tag&quot;)">#tag</a>'
    )
    expected = "this (https://a.b/c) https://a.b/d http://x.com/y @ravi #tag"
    assert content(text(words)) == (MessageKind.TEXT, expected, None, None)


def test_pages_are_read_in_the_order_of_their_numbers() -> None:
    pages = {"messages.html": page(DAY, message(1, text("number 1"), name="Asha"))}
    for number in range(2, 13):
        pages[f"messages{number}.html"] = page(message(number, text(f"number {number}")))
    upload = platforms.zipped(
        {f"ChatExport/{name}": pages[name] for name in sorted(pages)} | {"ChatExport/css/style.css": b"a {}"}
    )
    export, messages = read(upload)
    assert [m.text for m in messages] == [f"number {number}" for number in range(1, 13)]
    assert export.participants == ["Asha"]


def test_service_messages_have_the_time_of_the_message_before_them_or_begin_the_day() -> None:
    upload = page(
        DAY,
        service(1, "Ravi created group &laquo;Goa&raquo;"),
        message(2, text("hi"), name="Asha"),
        service(3, 'Asha pinned <a href="#go_to_message2">this message</a>'),
        service(-2, "16 March 2024"),
        service(4, "Ravi started voice chat (65 seconds)"),
    )
    _, messages = read(upload)
    assert [(m.sent_at.isoformat(), m.sender, m.kind, m.text) for m in messages] == [
        ("2024-03-14T00:00:00", None, MessageKind.SYSTEM, "Ravi created group «Goa»"),
        ("2024-03-14T21:05:33", "Asha", MessageKind.TEXT, "hi"),
        ("2024-03-14T21:05:33", None, MessageKind.SYSTEM, "Asha pinned this message"),
        ("2024-03-16T00:00:00", "Ravi", MessageKind.CALL, "Group call, 1 min 5 s"),
    ]
    assert messages[-1].details.duration_seconds == 65


NOT_INCLUDED = "Not included, change data exporting settings to download."


@pytest.mark.parametrize(
    ("part", "kind", "printed", "media", "seconds"),
    [
        (wrap("photo_wrap"), MessageKind.MEDIA, "<Photo>", MediaKind.PHOTO, None),
        (wrap("video_file_wrap", div("video_duration", "01:05")), MessageKind.MEDIA, "<Video>", MediaKind.VIDEO, 65),
        (wrap("animated_wrap"), MessageKind.MEDIA, "<GIF>", MediaKind.GIF, None),
        (wrap("sticker_wrap"), MessageKind.MEDIA, "<Sticker>", MediaKind.STICKER, None),
        (file("media_photo", "Photo", description=NOT_INCLUDED), MessageKind.MEDIA, "<Photo>", MediaKind.PHOTO, None),
        (file("media_photo", "Sticker", status="😂, 9 KB"), MessageKind.MEDIA, "<Sticker 😂>", MediaKind.STICKER, None),
        (file("media_video", "Animation", status="9 KB"), MessageKind.MEDIA, "<GIF>", MediaKind.GIF, None),
        (
            file("media_video", "Video message", status="00:07"),
            MessageKind.MEDIA,
            "<Video message>",
            MediaKind.VIDEO,
            7,
        ),
        (
            file("media_voice_message", "Voice message", status="00:07, 9 KB", href="voice/1.ogg"),
            MessageKind.MEDIA,
            "<Voice message>",
            MediaKind.VOICE,
            7,
        ),
        (
            file("media_audio_file", "A – B", status="1:02:03, 9 KB"),
            MessageKind.MEDIA,
            "<Audio>",
            MediaKind.AUDIO,
            3_723,
        ),
        (
            file("media_file", "a.pdf", status="9 KB", href="files/a.pdf"),
            MessageKind.MEDIA,
            "<File>",
            MediaKind.DOCUMENT,
            None,
        ),
        (
            file("media_call success", "Ravi", status="Outgoing (125 seconds)"),
            MessageKind.CALL,
            "Phone call, 2 min 5 s",
            None,
            125,
        ),
        (file("media_call", "Ravi", status="Missed"), MessageKind.CALL, "Missed phone call", None, None),
        (file("media_call", "Ravi", status="Declined"), MessageKind.CALL, "Declined phone call", None, None),
        (poll("Goa?", "yes", "no"), MessageKind.POLL, "POLL:\nGoa?\nOPTION: yes\nOPTION: no", None, None),
        (poll("Buy", "milk", note="To-do List"), MessageKind.TEXT, "Buy\nmilk", None, None),
        (
            file("media_contact", "Meera Rao", status="+91 1 - vCard"),
            MessageKind.CONTACT,
            "Contact: Meera Rao +91 1",
            None,
            None,
        ),
        (
            file(
                "media_venue", "Cafe", description="Main St", href="https://maps.google.com/maps?q=1.5,-2&amp;ll=1.5,-2"
            ),
            MessageKind.LOCATION,
            "Location\nCafe, Main St\nhttps://maps.google.com/?q=1.5,-2",
            None,
            None,
        ),
        (
            file("media_invoice", "Poster", description="signed", status="€1"),
            MessageKind.TEXT,
            "Poster\nsigned",
            None,
            None,
        ),
        (
            div("media_wrap clearfix", div("media_giveaway", div("section_title bold", "Prizes"))),
            MessageKind.TEXT,
            "",
            None,
            None,
        ),
    ],
)
def test_kinds_are_those_of_json(
    part: str, kind: MessageKind, printed: str, media: MediaKind | None, seconds: int | None
) -> None:
    assert content(part) == (kind, printed, media, seconds)


def test_a_caption_is_on_the_line_after_its_placeholder() -> None:
    assert content(wrap("photo_wrap"), text("at the beach"))[:2] == (MessageKind.MEDIA, "<Photo>\nat the beach")


def test_the_blocks_of_a_rich_message_are_lines() -> None:
    inner = "<h1>\nPlan\n</h1>\n<p>see <em>this</em> now</p>\n<ul>\n<li>\none\n</li>\n<li>two</li>\n</ul>\n"
    assert content(div("text rich_message", inner))[:2] == (MessageKind.TEXT, "Plan\nsee this now\none\ntwo")


def test_forwards_replies_and_reactions_are_read() -> None:
    origin = div("from_name", 'News <span class="date details" title="01.01.2020 00:00:00"> 01.01.2020</span>')
    other = div("reply_to details", "In reply to a message in another chat")
    upload = page(
        DAY,
        message(
            10,
            text("one"),
            reactions(reaction("👍", "Ravi", "Zoe", count=5), reaction("⭐", count=30, paid=True)),
            name="Asha",
        ),
        message(11, div("forwarded body", origin, text("news")), name="Ravi"),
        message(
            12,
            div("reply_to details", '<a href="messages.html#go_to_message10">this message</a>'),
            text("re"),
            name="Ravi",
        ),
        message(13, other, text("else"), reactions(reaction('<a href = "stickers/a.tgs">👋</a>', "Asha")), name="Ravi"),
    )
    messages = {m.text: m for m in read(upload)[1]}
    assert [m.text for m in messages.values() if m.details.is_forwarded] == ["news"]
    assert messages["news"].sender == "Ravi"
    assert (messages["re"].details.reply_to, messages["re"].details.reply_to_sender) == (1, 0)
    assert (messages["else"].details.reply_to, messages["else"].details.reply_to_sender) == (0, SYSTEM_SENDER)
    assert messages["one"].details.reactions == (Reaction("👍", 5, ("Ravi", "Zoe")), Reaction("⭐", 30))
    assert messages["else"].details.reactions == (Reaction("custom", 1, ("Asha",)),)


def test_a_group_is_titled_and_a_chat_of_two_is_not() -> None:
    two = [message(1, text("a"), name="Asha"), message(2, text("b"), name="Ravi")]
    assert read(page(*two, title="Ravi"))[0].title == ""
    assert read(page(*two, message(3, text("c"), name="Zoe"), title="Goa & co"))[0].title == "Goa & co"


def test_the_chats_of_an_account_are_listed() -> None:
    files = {
        "export_results.html": b"<!DOCTYPE html><html><body>lists</body></html>",
        "chats/chat_001/messages.html": page(message(1, text("a"), name="Asha"), title="Asha"),
        "chats/chat_002/messages.html": page(message(1, text("b"), name="Ravi"), title="Ravi"),
    }
    with pytest.raises(errors.SeveralChats) as refusal:
        read(platforms.zipped(files))
    assert [chat["title"] for chat in refusal.value.extra["chats"]] == ["Asha", "Ravi"]
    assert [m.text for m in read(platforms.zipped(files), "2")[1]] == ["b"]


def test_the_pages_beside_a_json_export_are_the_same_chat() -> None:
    json_export = b'{"name": "Asha", "type": "personal_chat", "id": 7, "messages": [{"id": 1, "type": "message",'
    json_export += b' "date": "2024-03-14T21:05:33", "from": "Asha", "from_id": "user1", "text": "a"}]}'
    files = {"a/result.json": json_export, "a/messages.html": page(message(1, text("a"), name="Asha"))}
    assert read(platforms.zipped(files))[0].dialect == "telegram-json"


def test_a_page_that_breaks_off_is_read_up_to_there_and_counted() -> None:
    whole = page(DAY, *(message(number, text(f"number {number}"), name="Asha") for number in range(1, 40)))
    export, messages = read(whole[: len(whole) // 2])
    assert [m.text for m in messages][:-1] == [f"number {number}" for number in range(1, len(messages))]
    assert export.n_unreadable == 1


@pytest.mark.parametrize(
    "upload",
    [
        b"<!DOCTYPE html><html><body>hello</body></html>",
        platforms.zipped({"messages.html": b"<html><title>Exported Data</title></html>"}),
    ],
)
def test_other_web_pages_are_refused(upload: bytes) -> None:
    with pytest.raises(errors.WebPage):
        read(upload)


def test_an_empty_page_is_refused_as_a_chat_without_messages() -> None:
    with pytest.raises(errors.NoMessages):
        read(page())


WHOLE = page(DAY, message(1, wrap("photo_wrap"), text("one"), name="Asha"), message(2, poll("a", "b")), service(3, "x"))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, len(WHOLE)), st.binary(max_size=6) | st.sampled_from([b"<div>", b"</div>", b"<", b'"', b"<a href='"])
)
def test_a_damaged_page_is_read_or_refused(place: int, junk: bytes) -> None:
    for upload in (WHOLE[:place] + junk + WHOLE[place:], WHOLE[:place] + junk):
        try:
            for batch in exports.read(upload).batches:
                "".join(batch.texts).encode()
        except errors.ExportRefused:
            pass

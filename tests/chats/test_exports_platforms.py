"""Telegram, Instagram and Messenger exports give the same messages, kinds and errors as WhatsApp exports."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chats import exports
from chats.exports import batching, errors
from chats.exports.json_stream import VALUE_LIMIT_BYTES, WINDOW_BYTES
from chats.exports.parsed import Message, MessageKind, ParsedExport
from chats.statistics import StatisticsCounter
from ops import demo
from tests import platforms
from tests.exports import text as whatsapp_text

WHATSAPP = whatsapp_text(700)
#: Telegram exports do not contain deleted messages.
MESSAGES = [message for message in platforms.messages_of(WHATSAPP) if message.kind is not MessageKind.DELETED]
BY_PEOPLE = sum(message.kind is not MessageKind.SYSTEM for message in MESSAGES)
TELEGRAM = "".join(platforms.telegram(MESSAGES)).encode()
PAGES = platforms.instagram(MESSAGES, page_messages=60)
INSTAGRAM = platforms.zipped(platforms.inbox(PAGES))
MESSENGER = platforms.zipped(platforms.inbox(PAGES, top=platforms.MESSENGER_TOP))
ENCRYPTED = platforms.encrypted(MESSAGES)

FIGURES = ("total_messages", "total_words", "links_shared_count", "calls_count", "conversations_count", "top_words")


def read(upload: bytes, chat: str | None = None) -> tuple[ParsedExport, list[Message]]:
    export = exports.read(upload, chat=chat)
    return export, [message for batch in export.batches for message in batch.messages(export.participants)]


def telegram(*messages: dict[str, Any], **about: Any) -> bytes:
    """Return an export of one chat with a message each minute, oldest first."""
    start = datetime.fromisoformat("2024-03-14 09:00")
    rows = [
        {"id": number, "type": "message", "date": (start + timedelta(minutes=number)).isoformat()}
        | {"from": "Asha", "from_id": "user1"}
        | row
        for number, row in enumerate(messages)
    ]
    return json.dumps({"name": "Asha", "type": "personal_chat", "id": 77} | about | {"messages": rows}).encode()


def instagram(*messages: dict[str, Any], title: str = "Asha") -> bytes:
    """Return a page with a message each minute, newest first."""
    rows = [
        {"sender_name": "Asha", "timestamp_ms": 1_710_400_000_000 - 60_000 * number} | row
        for number, row in enumerate(messages)
    ]
    return json.dumps({"participants": [{"name": "Asha"}], "messages": rows, "title": title}).encode()


def written_by_people(messages: list[Message]) -> list[str]:
    return [message.text for message in messages if message.kind is MessageKind.TEXT]


def kinds(upload: bytes) -> list[tuple[MessageKind, str | None, str]]:
    return [(message.kind, message.sender, message.text) for message in read(upload)[1]]


@pytest.mark.parametrize(
    ("upload", "clock"), [(TELEGRAM, "local"), (INSTAGRAM, "utc"), (MESSENGER, "utc"), (ENCRYPTED, "utc")]
)
def test_the_same_chat_gives_the_same_messages_on_every_platform(upload: bytes, clock: str) -> None:
    export, messages = read(upload)
    assert (export.clock, export.date_order, export.ambiguous_dates) == (clock, "ymd", False)
    assert [message[1:4] for message in messages] == [message[1:4] for message in MESSAGES]
    assert [message.number for message in messages] == list(range(1, len(MESSAGES) + 1))
    assert written_by_people(messages) == written_by_people(MESSAGES)
    assert sorted(export.participants) == ["Aarav", "Anaya"]


def test_the_same_chat_gives_the_same_statistics_on_every_platform() -> None:
    figures = []
    for upload in (TELEGRAM, INSTAGRAM, MESSENGER, ENCRYPTED):
        export, counter = exports.read(upload), StatisticsCounter()
        for batch in export.batches:
            counter.add(batch)
        counted = counter.result(export.participants)
        figures.append([counted[key] for key in FIGURES])
    assert figures[1:] == figures[:1] * 3
    assert figures[0][0] == BY_PEOPLE


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_json_is_recognised_by_its_content_in_any_encoding_and_under_any_name(encoding: str) -> None:
    written = TELEGRAM.decode().encode(encoding)
    assert read(written)[0].platform == "telegram"
    assert read(platforms.zipped({"photos/1.jpg": b"\xff\xd8\x00\x01", "chat.txt": written}))[0].platform == "telegram"


def test_messages_of_many_windows_are_all_read_in_order() -> None:
    rows = [{"text": f"number {number} " + "x" * 300, "extra": [{"a": [1, {"id": 2}]}]} for number in range(4_000)]
    for upload in (telegram(*rows), telegram(*rows).replace(b"}, {", b"},\n   {")):
        assert len(upload) > 4 * WINDOW_BYTES
        assert [m.text.split()[1] for m in read(upload)[1]] == [str(number) for number in range(4_000)]


def test_a_batch_of_long_texts_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_CHARS", 1_000)
    batches = list(exports.read(telegram(*({"text": f"{number:0300d}"} for number in range(10)))).batches)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [int(text) for batch in batches for text in batch.texts] == list(range(10))


@pytest.mark.parametrize("name", ["sample-telegram.json", "sample-instagram.zip", "sample-messenger.zip"])
def test_the_samples_are_one_conversation(name: str) -> None:
    """`python -m tests.platforms` creates them from sample.txt."""
    folder = Path(demo.__file__).parent
    kept = [m for m in platforms.messages_of((folder / "sample.txt").read_bytes()) if m.kind is not MessageKind.DELETED]
    messages = [m for m in read((folder / name).read_bytes())[1] if m.kind is not MessageKind.DELETED]
    assert [message[1:4] for message in messages] == [message[1:4] for message in kept]
    assert written_by_people(messages) == written_by_people(kept)


# Telegram


def test_telegram_text_is_joined_from_its_parts() -> None:
    parts = ["see ", {"type": "link", "text": "https://a.b"}, " or ", {"type": "bold", "text": "this"}]
    assert kinds(telegram({"text": parts}, {"text": "", "text_entities": [{"type": "plain", "text": "hi"}]})) == [
        (MessageKind.TEXT, "Asha", "see https://a.b or this"),
        (MessageKind.TEXT, "Asha", "hi"),
    ]


def test_each_telegram_account_is_one_person_under_any_name() -> None:
    upload = telegram(
        {"text": "a"},
        {"text": "b", "from": None, "from_id": "user2"},
        {"text": "c", "from": None, "from_id": "user3"},
        {"text": "d", "from": "Asha", "from_id": "user4"},
        {"text": "e", "from": None, "from_id": "user2"},
    )
    assert [m.sender for m in read(upload)[1]] == [
        "Asha",
        "Deleted account",
        "Deleted account (2)",
        "Asha (2)",
        "Deleted account",
    ]


def test_an_old_telegram_export_is_read() -> None:
    upload = json.dumps(
        {
            "name": "Asha",
            "type": "personal_chat",
            "id": 4_410_000_001,
            "messages": [
                {"id": 1, "type": "message", "date": "2018-09-01T10:00:00", "edited": "1970-01-01T01:00:00"}
                | {"from": "Asha", "from_id": 4_410_000_001, "text": "old"},
                {"id": 2, "type": "message", "date": "2018-09-01T10:01:00", "from": "Ravi", "text": "older"},
                {"id": 3, "type": "message", "date": "2018-09-01T10:02:00", "edited": "1969-12-31T16:00:00"}
                | {"edited_unixtime": "0", "from": "Ravi", "text": "oldest"},
            ],
        }
    ).encode()
    expected = [("Asha", "old", False), ("Ravi", "older", False), ("Ravi", "oldest", False)]
    assert [(m.sender, m.text, m.edited) for m in read(upload)[1]] == expected


def test_telegram_kinds() -> None:
    not_included = platforms.NOT_INCLUDED
    service = {"type": "service", "from": None, "actor": "Ravi", "actor_id": "user2", "text": ""}
    upload = telegram(
        {"text": "at the beach", "photo": not_included},
        {"text": "", "file": not_included, "media_type": "sticker", "sticker_emoji": "😂"},
        {"text": "", "file": not_included, "media_type": "voice_message"},
        {"text": "", "file": "files/a.pdf", "mime_type": "application/pdf"},
        {"text": "", "location_information": {"latitude": 12.5, "longitude": 77.25}},
        {"text": "", "contact_information": {"first_name": "Meera", "phone_number": "+91 1"}},
        {"text": "", "poll": {"question": "Goa?", "answers": [{"text": "yes", "voters": 1}, {"text": "no"}]}},
        service | {"action": "phone_call", "duration_seconds": 125, "discard_reason": "hangup"},
        service | {"action": "phone_call", "discard_reason": "missed"},
        service | {"action": "edit_group_title", "title": "{members}"},
        service | {"action": "invite_members", "members": ["Zoya", None]},
        service | {"action": "something_new"},
        {"text": "forwarded", "forwarded_from": "News", "via_bot": "@bot"},
        {"text": "corrected", "edited": "2024-03-14T10:00:00"},
    )
    assert kinds(upload) == [
        (MessageKind.MEDIA, "Asha", "<Photo>\nat the beach"),
        (MessageKind.MEDIA, "Asha", "<Sticker 😂>"),
        (MessageKind.MEDIA, "Asha", "<Voice message>"),
        (MessageKind.MEDIA, "Asha", "<File>"),
        (MessageKind.LOCATION, "Asha", "Location\nhttps://maps.google.com/?q=12.5,77.25"),
        (MessageKind.CONTACT, "Asha", "Contact: Meera +91 1"),
        (MessageKind.POLL, "Asha", "POLL:\nGoa?\nOPTION: yes\nOPTION: no"),
        (MessageKind.CALL, "Ravi", "Phone call, 2 min 5 s"),
        (MessageKind.CALL, "Ravi", "Missed phone call"),
        (MessageKind.SYSTEM, None, "Ravi named the group {members}"),
        (MessageKind.SYSTEM, None, "Ravi added Zoya, Deleted account"),
        (MessageKind.SYSTEM, None, "Ravi something new"),
        (MessageKind.TEXT, "Asha", "forwarded"),
        (MessageKind.TEXT, "Asha", "corrected"),
    ]
    assert [m.edited for m in read(upload)[1]] == [False] * 13 + [True]


def test_telegram_times_are_the_printed_wall_clock() -> None:
    upload = telegram({"text": "a", "date": "2024-12-31T23:59:58", "date_unixtime": "1"})
    assert read(upload)[1][0].sent_at == datetime.fromisoformat("2024-12-31 23:59:58")


def test_a_telegram_message_without_a_printed_time_uses_its_instant() -> None:
    at = 1_710_400_000
    upload = telegram(
        {"text": "a", "date": "2024-03-14T12:36:40", "date_unixtime": str(at)},
        {"text": "b", "date": None, "date_unixtime": str(at + 60)},
        {"text": "c", "date": None, "date_unixtime": at + 120},
    )
    assert [m.sent_at.isoformat() for m in read(upload)[1]] == [f"2024-03-14T12:3{minute}:40" for minute in (6, 7, 8)]
    only = telegram({"text": "a", "date": None, "date_unixtime": str(at)})
    assert [m.sent_at.isoformat() for m in read(only)[1]] == ["2024-03-14T07:06:40"]


def account(*chats: bytes) -> bytes:
    listed = [json.loads(chat) for chat in chats]
    left = {"about": "", "list": listed[-1:]}
    return json.dumps(
        {"about": "x", "contacts": {"list": [{}]}, "chats": {"list": listed[:-1]}, "left_chats": left}
    ).encode()


def test_a_telegram_account_lists_its_chats_for_the_owner_to_choose() -> None:
    upload = account(
        telegram({"text": "a"}),
        telegram(id=78, name="Empty"),
        telegram({"text": "b"}, {"text": "c"}, id=-79, name="Trip", type="private_group"),
        telegram({"text": "d"}, {"type": "service", "action": "pin_message"}, id=80, name=None),
    )
    with pytest.raises(errors.SeveralChats) as refusal:
        read(upload)
    assert refusal.value.extra["chats"] == [
        {"id": "-79", "title": "Trip", "messages": 2},
        {"id": "77", "title": "Asha", "messages": 1},
        {"id": "80", "title": "Deleted account", "messages": 1},
    ]
    assert "Trip" not in str(refusal.value)
    assert [m.text for m in read(upload, "-79")[1]] == ["b", "c"]
    assert read(platforms.zipped({"result.json": upload}), "80")[1][0].text == "d"
    with pytest.raises(errors.NoSuchChat):
        read(upload, "78")


def test_only_groups_have_a_title() -> None:
    group = telegram({"text": "a"}, name="Goa \u200ftrip \0🌴", type="private_supergroup")
    assert read(group)[0].title == "Goa trip 🌴"
    assert read(account(group, telegram({"text": "b"}, id=3)), "77")[0].title == "Goa trip 🌴"
    for about in ({}, {"type": "private_group", "name": None}):
        assert read(telegram({"text": "a"}, **about))[0].title == ""
    pages = [instagram({"content": "a"}, title="Goa trip"), instagram({"content": "b"}, title="Asha")]
    pages[0] = pages[0].replace(b'{"name": "Asha"}', b'{"name": "Asha"}, {"name": "Ben"}, {"name": "Cy"}')
    assert [read(page)[0].title for page in pages] == ["Goa trip", ""]


def test_a_telegram_account_with_one_chat_needs_no_choice() -> None:
    assert [m.text for m in read(account(telegram({"text": "a"}), telegram(id=78)))[1]] == ["a"]


def test_a_single_chat_is_selected_only_by_its_own_id() -> None:
    assert read(telegram({"text": "a"}), "77")[1]
    with pytest.raises(errors.NoSuchChat) as refusal:
        read(telegram({"text": "a"}), "78")
    assert refusal.value.extra["chats"] == [{"id": "77", "title": "Asha", "messages": 1}]


# Instagram


def test_instagram_messages_are_ordered_from_the_oldest_to_the_newest() -> None:
    pages = platforms.instagram(MESSAGES[:120], page_messages=10)
    assert len(pages) == 12
    assert [m.sent_at for m in read(platforms.zipped(platforms.inbox(pages)))[1]] == [m.sent_at for m in MESSAGES[:120]]
    at = {"timestamp_ms": 1_710_400_000_000}
    assert [
        m.text for m in read(instagram({"content": "c"} | at, {"content": "b"} | at, {"content": "a"} | at))[1]
    ] == [
        "a",
        "b",
        "c",
    ]


def test_a_page_with_ascending_times_is_not_reversed() -> None:
    late = {"content": "late", "timestamp_ms": 1_710_500_000_000}
    assert [m.text for m in read(instagram({"content": "early"}, late))[1]] == ["early", "late"]


def test_an_instagram_time_can_be_an_integer_a_float_or_a_string() -> None:
    at = 1_710_400_000_000
    upload = instagram(*({"content": "x", "timestamp_ms": written} for written in (at, float(at), str(at))))
    assert [m.sent_at.isoformat() for m in read(upload)[1]] == ["2024-03-14T07:06:40"] * 3


def test_instagram_notices_are_recognised_in_other_languages() -> None:
    taps = ["Le gustó un mensaje", "Reaccionó con ❤ a tu mensaje ", "A aimé un message", "A réagi 😂 à votre message "]
    taps += ["Curtiu uma mensagem", "Reagiu com 👍🏽 à sua mensagem ", "Bir mesajı beğendi"]
    taps += ["Ha messo “Mi piace” a un messaggio", "Ha aggiunto la reazione ❤️ al tuo messaggio "]
    taps += ["Gefällt eine Nachricht", "Hat mit 🔥 auf deine Nachricht reagiert "]
    sent = ["Asha a envoyé une pièce jointe.", "Vous avez envoyé une pièce jointe.", "Asha hat einen Anhang gesendet."]
    words = ["Reagiu com raiva à sua mensagem", "A aimé un message de toi", "Ravi a envoyé une pièce jointe hier"]
    said = [*taps, *sent, *words]
    upload = instagram(*({"content": each.encode().decode("latin-1")} for each in reversed(said)))
    expected = [MessageKind.SYSTEM] * len(taps) + [MessageKind.MEDIA] * len(sent) + [MessageKind.TEXT] * len(words)
    assert list(zip(said, [kind for kind, *_ in kinds(upload)], strict=True)) == list(zip(said, expected, strict=True))


def test_mojibake_is_repaired_string_by_string() -> None:
    upload = instagram(
        {"content": "\u00c3\u00a9t\u00c3\u00a9 \u00e2\u009d\u00a4", "sender_name": "Zo\u00c3\u00ab"},
        {"content": "été ❤"},
        {"content": "caf\u00e9"},
    )
    assert [(m.sender, m.text) for m in read(upload)[1]] == [("Asha", "café"), ("Asha", "été ❤"), ("Zoë", "été ❤")]


def test_instagram_kinds() -> None:
    upload = instagram(
        {"content": "hello", "reactions": [{"reaction": "x", "actor": "Ravi"}]},
        {"photos": [{"uri": "1.jpg"}], "content": "at the beach"},
        {"photos": [{"uri": "1.jpg"}, {"uri": "2.jpg"}]},
        {"audio_files": [{"uri": "1.mp4"}]},
        {"sticker": {"uri": "1.png"}},
        {
            "content": "Asha sent an attachment.",
            "share": {"link": "https://a.b/reel/1/", "share_text": "ad"},
        },
        {"content": "Asha sent an attachment."},
        {"is_unsent": True},
        {"content": "Audio call ended", "call_duration": 61},
        {"content": "Asha started an audio call"},
        {"content": "You missed a video chat"},
        {"content": "Ravi missed your call", "call_duration": 0},
        {"content": "Liked a message"},
        {"content": "Reacted \u00e2\u009d\u00a4 to your message "},
        {"content": "Asha named the group Goa."},
        {"content": "You added Ravi to the group."},
        {"content": "Asha is a name that I would give a cat"},
        {"share": {"link": "https://a.b"}},
        {},
    )
    assert list(reversed(kinds(upload))) == [
        (MessageKind.TEXT, "Asha", "hello"),
        (MessageKind.MEDIA, "Asha", "<Photo>\nat the beach"),
        (MessageKind.MEDIA, "Asha", "<2 photos>"),
        (MessageKind.MEDIA, "Asha", "<Voice message>"),
        (MessageKind.MEDIA, "Asha", "<Sticker>"),
        (MessageKind.TEXT, "Asha", "https://a.b/reel/1/"),
        (MessageKind.MEDIA, "Asha", "<Attachment>"),
        (MessageKind.DELETED, "Asha", "This message was unsent"),
        (MessageKind.CALL, "Asha", "Audio call ended, 1 min 1 s"),
        (MessageKind.SYSTEM, None, "Asha started an audio call"),
        (MessageKind.CALL, "Asha", "You missed a video chat"),
        (MessageKind.CALL, "Asha", "Ravi missed your call"),
        (MessageKind.SYSTEM, None, "Liked a message"),
        (MessageKind.SYSTEM, None, "Reacted ❤ to your message "),
        (MessageKind.SYSTEM, None, "Asha named the group Goa."),
        (MessageKind.SYSTEM, None, "You added Ravi to the group."),
        (MessageKind.TEXT, "Asha", "Asha is a name that I would give a cat"),
        (MessageKind.TEXT, "Asha", "https://a.b"),
        (MessageKind.MEDIA, "Asha", "<Message without text>"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        "sorry I missed your call",
        "Ravi missed a video call",
        "They already started a call",
        "oops I liked a message",
        "Reacted badly to your message",
        "my grandma shared a story",
        "I shared a post.",
        "Asha shared a story",
        "I sent an attachment.",
        "You changed the group chat so much that nobody writes",
        "You joined the call late again",
    ],
)
def test_a_sentence_that_resembles_a_notice_stays_text_of_the_person(said: str) -> None:
    assert kinds(instagram({"content": said})) == [(MessageKind.TEXT, "Asha", said)]
    sent = {"content": said, "photos": [{"uri": "1.jpg"}]}
    assert said.startswith("Asha") or kinds(instagram(sent)) == [(MessageKind.MEDIA, "Asha", f"<Photo>\n{said}")]


def test_the_notice_of_a_shared_post_is_not_text_of_the_sender() -> None:
    beside = {"share": {"link": "https://a.b/p/1/"}}
    for said in ("Asha shared a post.", "You shared a story", "Asha sent an attachment."):
        assert kinds(instagram({"content": said} | beside)) == [(MessageKind.TEXT, "Asha", "https://a.b/p/1/")]


def test_each_folder_is_a_chat_and_other_json_is_ignored() -> None:
    other = [instagram({"content": "only"}, title="Zo\u00c3\u00ab")]
    upload = platforms.zipped(
        {"likes.json": b'{"likes": []}', "broken.json": b'{"a": ['}
        | platforms.inbox(other, folder="zoe_1")
        | platforms.inbox(PAGES)
    )
    with pytest.raises(errors.SeveralChats) as refusal:
        read(upload)
    assert refusal.value.extra["chats"] == [
        {"id": "2", "title": "Asha", "messages": BY_PEOPLE},
        {"id": "1", "title": "Zoë", "messages": 1},
    ]
    assert [m.text for m in read(upload, "1")[1]] == ["only"]


def test_a_mixed_archive_lists_the_chats_of_every_platform() -> None:
    upload = platforms.zipped(
        {"WhatsApp Chat with Anaya.txt": WHATSAPP, "result.json": telegram({"text": "a"})} | platforms.inbox(PAGES)
    )
    with pytest.raises(errors.SeveralChats) as refusal:
        read(upload)
    assert [chat["title"] for chat in refusal.value.extra["chats"]] == ["Anaya", "Asha", "Asha"]
    assert [read(upload, name)[0].platform for name in "123"] == ["whatsapp", "telegram", "instagram"]


def test_a_chat_without_messages_by_people_is_not_listed() -> None:
    empty = {
        **platforms.inbox([instagram()], folder="empty_1"),
        **platforms.inbox([instagram({"content": "Liked a message"})], folder="taps_2"),
        "WhatsApp Chat with Meera.txt": b"13/02/2024, 21:05 - Messages are end-to-end encrypted.\n" * 3,
    }
    one = platforms.inbox([instagram({"content": "only"})], folder="zoe_1")
    assert [m.text for m in read(platforms.zipped(empty | one))[1]] == ["only"]
    with pytest.raises(errors.SeveralChats) as refusal:
        read(platforms.zipped(empty | one | platforms.inbox(PAGES, folder="asha_3")))
    assert [chat["messages"] for chat in refusal.value.extra["chats"]] == [BY_PEOPLE, 1]
    with pytest.raises((errors.OnlySystemMessages, errors.NoMessages)):
        read(platforms.zipped(empty))


# Refused uploads


@pytest.mark.parametrize(
    ("upload", "refusal"),
    [
        (b"{}", errors.OtherJson),
        (b'{"a": [1, 2, {"b": null}]}', errors.OtherJson),
        (b"{", errors.OtherJson),
        (b'{"messages": {}}', errors.OtherJson),
        (PAGES[0][: len(PAGES[0]) // 2], errors.DamagedExport),
        (telegram({"text": "a"}).partition(b'"text"')[0], errors.DamagedExport),
        (instagram({"content": "a"}).partition(b'"content"')[0], errors.DamagedExport),
        (telegram(), errors.NoMessages),
        (instagram(), errors.NoMessages),
        (instagram({"content": "Liked a message"}), errors.OnlySystemMessages),
        (telegram({"type": "service", "action": "pin_message"}), errors.OnlySystemMessages),
        (telegram({"date": "x"}), errors.DamagedExport),
        (account(telegram(), telegram()), errors.OnlySystemMessages),
        (b"<!DOCTYPE html>\n<html><body>tgme</body></html>", errors.WebPage),
        (platforms.zipped({"messages.html": b"\n<html lang='en'>", "a.jpg": b"\xff\xd8\0\1"}), errors.WebPage),
        (b"SQLite format 3\0" + bytes(500), errors.Backup),
        (b"\x7f\x08\x01" + bytes(90) + b"2.22.8.1\x1a" + bytes(range(256)), errors.Backup),
    ],
)
def test_each_cause_has_its_own_error(upload: bytes, refusal: type[errors.ExportRefused]) -> None:
    with pytest.raises(errors.ExportRefused) as raised:
        read(upload)
    assert type(raised.value) is refusal


@pytest.mark.parametrize(
    "upload",
    [
        telegram({"text": "a"}, {"from": 7, "text": 7, "date": "2024-03-14T09:00:00"}, {"date": 5}),
        telegram({"text": "\ud83d", "from": "\udc00 \0"}),
        telegram({"text": "a", "id": 10**400}),
        telegram({"text": "a"}, name=7, id="x", type=[]),
        telegram({"text": [["a"], 7, {"text": 7}]}, {"action": [], "type": "service", "members": {}}),
        telegram({"text": "a"}).replace(b'"text": "a"', b'"text": "a", "text": "b"'),
        telegram({"text": "a"}).replace(b'"messages"', b'"deep": ' + b"[" * 8 + b"]" * 8 + b', "messages"'),
        telegram({"text": "a"}).replace(b'"text": "a"', b'"text": "a", "n": 1e999, "m": NaN'),
        instagram({"content": "a"}, {"timestamp_ms": "x"}, {"timestamp_ms": 10**30}, {"timestamp_ms": True}),
        instagram({"content": 7, "photos": {}, "share": [], "call_duration": "x"}, {"sender_name": None}),
        TELEGRAM.replace(b"\n", b"\r\n"),
        b" \n" * 90 + TELEGRAM,
    ],
)
def test_values_of_wrong_types_do_not_make_a_chat_unreadable(upload: bytes) -> None:
    export, messages = read(upload)
    assert export.n_messages >= 1
    for message in messages:
        message.text.encode()
        assert "\0" not in message.text + (message.sender or "")


@pytest.mark.parametrize(
    "inner",
    [
        b"[" * 100_000,
        b"[],[]," * 100_000 + b"1",
        b'{"a": "' + b"x" * (VALUE_LIMIT_BYTES + 9) + b'"}',
        b"1" * 6_000 + b"," * 2,
        b'"' * 200_000,
    ],
)
def test_hostile_json_costs_only_itself(inner: bytes) -> None:
    head, _, tail = telegram({"text": "a"}, {"text": "b"}).partition(b"}, ")
    assert [m.text for m in read(head + b"}, " + inner + b", " + tail)[1]] in (["a"], ["a", "b"])
    with pytest.raises(errors.ExportRefused):
        read(telegram()[:-2] + inner + b"]}")


# Random input

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "id", "list", "name"]), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["id", "type", "date", "from", "from_id", "text", "messages", "list", "sender_name", "timestamp_ms", "content"]
) | st.sampled_from(["action", "actor", "members", "photo", "poll", "share", "call_duration", "photos", "reactions"])
KEYS |= st.sampled_from(["is_unsent", "senderName", "timestamp", "media", "isUnsent"])
LIKELY = st.sampled_from(["2024-03-14T09:00:00", "service", "phone_call", 1_710_400_000_000])
ROWS = st.lists(st.dictionaries(KEYS, VALUES | LIKELY))
DOCUMENTS = st.dictionaries(
    st.sampled_from(["messages", "chats", "name", "type", "participants", "threadName", "title"]), ROWS | VALUES
)


def read_or_refused(upload: bytes) -> None:
    try:
        export = exports.read(upload)
        counter = StatisticsCounter()
        for batch in export.batches:
            counter.add(batch)
            "".join(batch.texts).encode()
    except errors.ExportRefused:
        return
    counter.result(export.participants)


@settings(max_examples=80)
@given(DOCUMENTS)
def test_any_json_is_read_or_refused(document: dict[str, Any]) -> None:
    written = json.dumps(document).encode()
    read_or_refused(written)
    read_or_refused(platforms.zipped({"a/message_1.json": written, "a/message_2.json": written[:-1]}))


@settings(max_examples=150)
@given(
    st.sampled_from([TELEGRAM[:3_000], PAGES[-1][:3_000], INSTAGRAM, ENCRYPTED[:3_000]]),
    st.integers(0, 2_900),
    st.binary(max_size=6),
)
def test_an_export_with_any_damage_is_read_or_refused(whole: bytes, place: int, junk: bytes) -> None:
    read_or_refused(whole[:place] + junk + whole[place + len(junk) :])
    read_or_refused(whole[:place] + junk + whole[place:])

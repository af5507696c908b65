"""Messenger's pages and encrypted chats are read, and distinguished from Instagram's pages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chats import exports
from chats.exports import errors, meta, unpacking
from chats.exports.parsed import Detail, MediaKind, Message, MessageKind, ParsedExport, Reaction
from tests import platforms

AT_MS = 1_710_400_000_000


def read(upload: bytes, chat: str | None = None) -> tuple[ParsedExport, list[Message]]:
    export = exports.read(upload, chat=chat)
    return export, [message for batch in export.batches for message in batch.messages(export.participants)]


def encrypted(*messages: dict[str, Any], people: tuple[str, ...] = ("Asha", "Zoë"), title: str = "Zoë_12") -> bytes:
    """Return the file of an encrypted chat with a message each minute, oldest first."""
    rows = [
        {"isUnsent": False, "media": [], "reactions": [], "senderName": "Asha", "text": "", "type": "text"}
        | {"timestamp": AT_MS + 60_000 * number}
        | message
        for number, message in enumerate(messages)
    ]
    return json.dumps(
        {"participants": list(people), "threadName": title, "messages": rows}, ensure_ascii=False
    ).encode()


def page(*messages: dict[str, Any], title: str = "Zoë", **members: Any) -> bytes:
    """Return a page with a message each minute, newest first, in which texts are written as Meta does."""
    rows = [
        {"sender_name": "Asha", "timestamp_ms": AT_MS - 60_000 * number} | message
        for number, message in enumerate(messages or ({"content": "hello"},))
    ]
    header = {"participants": [{"name": "Asha"}, {"name": platforms.mojibake("Zoë")}]}
    return json.dumps(header | {"messages": rows, "title": platforms.mojibake(title)} | members).encode()


def platform_of(upload: bytes) -> str:
    return read(upload)[0].platform


# Encrypted chats


def test_an_encrypted_chat_is_read_without_repairing_its_texts() -> None:
    upload = encrypted(
        {"text": "kommst du um sechs?"},
        {"senderName": "Zoë", "text": "schön Ã© ❤", "reactions": [{"actor": "Asha", "reaction": "😆"}]},
    )
    export, messages = read(upload)
    assert (export.platform, export.clock, export.participants) == ("messenger", "utc", ["Asha", "Zoë"])
    assert [(message.sender, message.text) for message in messages] == [
        ("Asha", "kommst du um sechs?"),
        ("Zoë", "schön Ã© ❤"),
    ]
    assert messages[1].details.reactions == (Reaction("😆", 1, ("Asha",)),)
    assert export.records == {Detail.MEDIA_KINDS, Detail.REACTIONS}


@pytest.mark.parametrize("is_newest_first", [False, True])
def test_an_encrypted_chat_is_read_from_old_to_new_in_either_order(is_newest_first: bool) -> None:
    document = json.loads(encrypted(*({"text": f"number {number}"} for number in range(9))))
    if is_newest_first:
        document["messages"].reverse()
    assert [m.text for m in read(json.dumps(document).encode())[1]] == [f"number {number}" for number in range(9)]


def test_kinds_of_an_encrypted_chat() -> None:
    upload = encrypted(
        {"type": "media", "media": [{"uri": "./media/1.jpeg"}]},
        {"type": "media", "media": [{"uri": "./media/1.MP4"}], "text": "look"},
        {"type": "media", "media": [{"uri": "./media/1.jpg"}, {"uri": "./media/2.jpg"}]},
        {"type": "media", "media": [{"uri": "./media/1.aac"}]},
        {"type": "media", "media": [{"uri": "./media/1.gif"}]},
        {"type": "media", "media": [{"uri": "./media/1.pdf"}]},
        {"type": "media", "media": [{"uri": "Failed to download media"}]},
        {"type": "media"},
        {"isUnsent": True, "type": "placeholder", "text": "User unsent a message"},
        {"isUnsent": True, "media": [{"uri": "./media/1.jpg"}]},
        {"text": "Asha unsent a message"},
        {"type": "placeholder", "text": "This message is unavailable."},
        {"type": "placeholder", "text": "Dieser Satz ist keiner Person"},
        {"type": "placeholder"},
        {"type": "placeholder", "text": "You sent an attachment."},
        {"type": "link", "text": "https://a.b/c"},
        {"text": "You missed a video call from Zoë."},
        {"text": "The audio call ended."},
        {"text": "Asha named the group Goa."},
        {"text": 'You voted for "Tea" in the poll.'},
        {"text": "You can now message and call each other."},
        {"text": "hello"},
    )
    media, deleted, call, system = (MessageKind.MEDIA, MessageKind.DELETED, MessageKind.CALL, MessageKind.SYSTEM)
    assert [(m.kind, m.text, m.details.media) for m in read(upload)[1]] == [
        (media, "<Photo>", MediaKind.PHOTO),
        (media, "<Video>\nlook", MediaKind.VIDEO),
        (media, "<2 photos>", MediaKind.PHOTO),
        (media, "<Voice message>", MediaKind.VOICE),
        (media, "<GIF>", MediaKind.GIF),
        (media, "<File>", MediaKind.DOCUMENT),
        (media, "<Attachment>", None),
        (media, "<Attachment>", None),
        (deleted, "This message was unsent", None),
        (deleted, "This message was unsent", None),
        (deleted, "Asha unsent a message", None),
        (deleted, "This message is unavailable.", None),
        (deleted, "Dieser Satz ist keiner Person", None),
        (deleted, "This message is unavailable", None),
        (media, "<Attachment>", None),
        (MessageKind.TEXT, "https://a.b/c", None),
        (call, "You missed a video call from Zoë", None),
        (call, "The audio call ended", None),
        (system, "Asha named the group Goa.", None),
        (system, 'You voted for "Tea" in the poll.', None),
        (system, "You can now message and call each other.", None),
        (MessageKind.TEXT, "hello", None),
    ]


def test_the_number_of_the_file_is_not_part_of_the_title_of_a_group() -> None:
    assert read(encrypted({"text": "a"}))[0].title == ""
    assert read(encrypted({"text": "a"}, people=("Asha", "Ben", "Cy"), title="Goa_2024_3"))[0].title == "Goa_2024"


def test_each_file_of_an_archive_of_encrypted_chats_is_a_chat() -> None:
    upload = platforms.zipped(
        {
            "messages/Ben_1.json": encrypted({"text": "a"}, title="Ben_1"),
            "messages/Zoë_12.json": encrypted({"text": "b"}, {"text": "c"}),
            "messages/Nobody_3.json": encrypted(title="Nobody_3"),
            "messages/autofill_information.json": b'{"label_values": []}',
            "messages/media/1.jpeg": b"\xff\xd8\xff\xe0" + bytes(50),
        }
    )
    with pytest.raises(errors.SeveralChats) as refusal:
        read(upload)
    assert refusal.value.extra["chats"] == [
        {"id": "2", "title": "Zoë", "messages": 2},
        {"id": "1", "title": "Ben", "messages": 1},
    ]
    assert [m.text for m in read(upload, "2")[1]] == ["b", "c"]


# Pages


def test_pages_of_messenger_are_repaired_and_read_in_order() -> None:
    pages = [page({"content": platforms.mojibake("été ❤"), "sender_name": platforms.mojibake("Zoë")}), page()]
    pages[1] = pages[1].replace(b'"timestamp_ms": 17', b'"timestamp_ms": 16')
    export, messages = read(platforms.zipped(platforms.inbox(pages, top="your_activity_across_facebook")))
    assert (export.platform, export.participants) == ("messenger", ["Asha", "Zoë"])
    assert [(m.sender, m.text) for m in messages] == [("Asha", "hello"), ("Zoë", "été ❤")]


def test_members_that_only_pages_of_messenger_have_decide_the_kind() -> None:
    upload = page(
        {"type": "Unsubscribe", "content": "Zoë hat den Chat verlassen"},
        {"type": "Call", "call_duration": 125, "content": "Zoë called you."},
        {"type": "Call", "call_duration": 0, "missed": True, "content": "Asha a manqué votre appel."},
        {"type": "Share", "content": "look", "share": {"link": "https://a.b"}},
        {"type": "Generic", "is_unsent": True},
        {"type": "Generic", "is_taken_down": True},
        {"type": "Generic", "sticker": {"uri": "messages/stickers_used/1.png"}},
        {"type": "Generic", "content": "hello"},
    )
    export, messages = read(upload)
    assert export.platform == "messenger"
    assert [(m.kind, m.details.duration_seconds) for m in reversed(messages)] == [
        (MessageKind.SYSTEM, None),
        (MessageKind.CALL, 125),
        (MessageKind.CALL, None),
        (MessageKind.TEXT, None),
        (MessageKind.DELETED, None),
        (MessageKind.DELETED, None),
        (MessageKind.MEDIA, None),
        (MessageKind.TEXT, None),
    ]


@pytest.mark.parametrize(
    ("path", "platform"),
    [
        ("your_facebook_activity/messages/inbox/zoe_1", "messenger"),
        ("your_activity_across_facebook/messages/archived_threads/zoe_1", "messenger"),
        ("facebook-asha-2024-03-14/messages/inbox/zoe_1", "messenger"),
        ("messages/e2ee_cutover/zoe_1", "messenger"),
        ("messages/inbox/zoe_1", "messenger"),
        ("your_instagram_activity/messages/inbox/zoe_1", "instagram"),
        ("instagram-asha-2024-03-14/messages/inbox/zoe_1", "instagram"),
        ("zoe_1", "instagram"),
    ],
)
def test_the_path_in_the_archive_names_the_platform(path: str, platform: str) -> None:
    assert platform_of(platforms.zipped({f"{path}/message_1.json": page()})) == platform


URI = "/messages/inbox/zoe_1/photos/1.jpg"


@pytest.mark.parametrize(
    ("upload", "platform"),
    [
        (page(), "instagram"),
        (page(thread_path="inbox/zoe_1", magic_words=[], is_still_participant=True), "instagram"),
        (page({"photos": [{"uri": f"your_facebook_activity{URI}"}]}), "messenger"),
        (page({"photos": [{"uri": f"your_instagram_activity{URI}"}]}), "instagram"),
        (page({"photos": [{"uri": f"your_facebook_activity{URI}"}]}).replace(b"/", b"\\/"), "messenger"),
        (page(joinable_mode={"mode": 1, "link": "https://m.me/j/abc/"}), "messenger"),
        (page(joinable_mode={"mode": 1, "link": "https://ig.me/j/abc/"}), "instagram"),
        (page(thread_path="archived_threads/zoe_1"), "messenger"),
        (page({"sender_name": "Facebook user", "content": "a"}), "messenger"),
        (page(participants=[{"name": "Asha"}, {"name": "Facebook user"}]), "messenger"),
        (page({"sender_name": "Instagram User", "content": "a"}), "instagram"),
        (page({"type": "Generic", "content": "a"}), "messenger"),
        (page({"share": {"link": "https://a.b", "original_content_owner": "x"}}), "instagram"),
        (page({"content": '"uri": "your_facebook_activity/messages'}), "instagram"),
    ],
)
def test_the_members_of_a_single_file_name_the_platform(upload: bytes, platform: str) -> None:
    assert platform_of(upload) == platform


@pytest.mark.parametrize("word", ["Liked a message", "Instagram upgraded the security of this chat.", "Instagram user"])
def test_what_people_type_or_share_does_not_make_a_page_instagrams(word: str) -> None:
    old = {"type": "Generic", "content": "hello"}
    assert platform_of(page(old, {"content": word})) == "messenger"
    assert platform_of(page(old, {"share": {"link": "https://ig.me/m/asha", "share_text": word}})) == "messenger"
    assert platform_of(page(old, title=word)) == "messenger"


@pytest.mark.parametrize("word", ["You are now connected on Messenger", "Say hi to your new Facebook friend, Zoë."])
def test_what_people_type_or_share_does_not_make_a_page_messengers(word: str) -> None:
    assert platform_of(page({"content": word}, {"content": "a"})) == "instagram"
    assert platform_of(page({"share": {"link": "https://m.me/asha", "share_text": word}})) == "instagram"
    assert platform_of(page(title="Facebook user")) == "instagram"


def test_a_page_that_could_be_of_both_is_of_the_platform_of_the_chats_beside_it() -> None:
    named = page({"photos": [{"uri": f"your_facebook_activity{URI}"}]})
    upload = platforms.zipped({"chats/ben_1/message_1.json": page(), "chats/zoe_2/message_1.json": named})
    assert [read(upload, number)[0].platform for number in "12"] == ["messenger", "messenger"]
    apart = platforms.zipped({"one/ben_1/message_1.json": page(), "two/zoe_2/message_1.json": named})
    assert {read(apart, number)[0].platform for number in "12"} == {"instagram", "messenger"}


def test_an_archive_of_both_platforms_lists_the_chats_of_each() -> None:
    upload = platforms.zipped(
        platforms.inbox([page(title="Zoë")], top="your_facebook_activity")
        | platforms.inbox([page(title="Ben")])
        | {"messages/Cy_3.json": encrypted({"text": "a"}, title="Cy_3")}
    )
    with pytest.raises(errors.SeveralChats) as refusal:
        read(upload)
    assert [chat["title"] for chat in refusal.value.extra["chats"]] == ["Ben", "Zoë", "Cy"]
    assert [read(upload, number)[0].platform for number in "123"] == ["instagram", "messenger", "messenger"]


def test_a_chat_above_the_limit_of_one_text_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (meta, unpacking):
        monkeypatch.setattr(module, "UNPACKED_LIMIT_BYTES", 40_000)
    # The beginnings of all files together count as one text.
    monkeypatch.setattr(unpacking, "_HEAD_BYTES", 4_000)
    large = [page({"content": "x" * 15_000})] * 3
    files = platforms.inbox(large, top="your_facebook_activity", folder="large_1")
    assert [m.text for m in read(platforms.zipped(files | platforms.inbox([page()])))[1]] == ["hello"]
    with pytest.raises(errors.UnpackedTooLarge):
        read(platforms.zipped(files))


# Refused uploads


@pytest.mark.parametrize(
    ("upload", "refusal"),
    [
        (encrypted(), errors.NoMessages),
        (encrypted({"timestamp": "soon", "text": "a"}), errors.NoMessages),
        (encrypted({"text": "Asha left the group."}), errors.OnlySystemMessages),
        (encrypted({"text": "a" * 99})[:-40], errors.DamagedExport),
        (platforms.zipped({"messages/Zoë_1.json": encrypted()}), errors.NoMessages),
        (b'{"participants": ["Asha"], "threadName": "Zo\xc3\xab_1"}', errors.OtherJson),
        (platforms.zipped({"messages/inbox/zoe_1/message_1.html": b"<html>"}), errors.WebPage),
    ],
)
def test_each_cause_has_its_own_error(upload: bytes, refusal: type[errors.ExportRefused]) -> None:
    with pytest.raises(errors.ExportRefused) as raised:
        read(upload)
    assert type(raised.value) is refusal


@pytest.mark.parametrize(
    "wrong",
    [
        {"media": {}, "text": 7},
        {"media": [7, None], "reactions": {}},
        {"media": [{"uri": 7}], "type": []},
        {"senderName": None, "text": "a"},
        {"senderName": "\ud83d\0", "text": "\udc00\0"},
        {"timestamp": 1e300, "text": "a"},
        {"isUnsent": "yes", "text": "a"},
        {"reactions": [{"actor": 7, "reaction": "❤"}] * 50, "text": "a"},
    ],
)
def test_values_of_wrong_types_do_not_make_a_chat_unreadable(wrong: dict[str, Any]) -> None:
    document = json.loads(encrypted({"text": "hello"}))
    document["messages"].append(document["messages"][0] | wrong)
    for message in read(json.dumps(document).encode())[1]:
        message.text.encode()
        assert "\0" not in message.text + (message.sender or "")

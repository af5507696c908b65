"""Telegram's exports: messages of every type, what they say besides their text, and damaged files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chats import exports
from chats.exports import damaged_json, errors
from chats.exports.parsed import SYSTEM_SENDER, Detail, Details, MediaKind, Message, MessageKind, ParsedExport, Reaction
from chats.statistics import StatisticsCounter
from tests import platforms

START = datetime.fromisoformat("2024-03-14 09:00")
NOT_INCLUDED = platforms.NOT_INCLUDED


def chat(*messages: dict[str, Any], **about: Any) -> dict[str, Any]:
    """Return a chat with a message each minute, from Asha unless the message says otherwise."""
    rows = []
    for number, message in enumerate(messages, start=1):
        sender = {} if "type" in message else {"from": "Asha", "from_id": "user1"}
        row = {"id": number, "type": "message", "date": (START + timedelta(minutes=number)).isoformat()}
        rows.append({key: value for key, value in (row | sender | message).items() if value != "absent"})
    return {"name": "Asha", "type": "personal_chat", "id": 77} | about | {"messages": rows}


def printed(document: dict[str, Any]) -> bytes:
    """Return the document as Telegram Desktop prints it."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def service(action: str, **members: Any) -> dict[str, Any]:
    return {"type": "service", "action": action, "text": "", "text_entities": [], **members}


def read(upload: bytes, chat_id: str | None = None) -> tuple[ParsedExport, list[Message]]:
    export = exports.read(upload, chat=chat_id)
    return export, [message for batch in export.batches for message in batch.messages(export.participants)]


def kinds(*messages: dict[str, Any], **about: Any) -> list[tuple[MessageKind, str | None, str]]:
    return [(m.kind, m.sender, m.text) for m in read(printed(chat(*messages, **about)))[1]]


# Files that are not JSON


@pytest.mark.parametrize(
    ("written", "damaged", "meant"),
    [
        ('"one|two"', rb'"one\x0Btwo"', "one\x0btwo"),
        ('"one|two"', b'"one\x0btwo"', "one\x0btwo"),
        ('"one|two"', rb'"one\x1Ftwo"', "one\x1ftwo"),
        ('"one|two"', rb'"one\ud83dtwo"', "one�two"),
        ('"one|two"', rb'"one\qtwo"', "one\\qtwo"),
        ('"one|two"', b"one two", "one two"),
    ],
)
def test_what_telegram_writes_wrongly_is_read_as_it_was_meant(written: str, damaged: bytes, meant: str) -> None:
    whole = printed(chat({"text": "before"}, {"text": "one|two"}, {"text": "after"}))
    export, messages = read(whole.replace(written.encode(), damaged))
    assert [m.text for m in messages] == ["before", meant, "after"]
    assert export.n_unreadable == 0


def test_a_value_without_quotation_marks_loses_neither_its_message_nor_the_others() -> None:
    emoji = {"type": "custom_emoji", "text": "😮", "document_id": "DOCUMENT"}
    whole = printed(chat({"text": ["so ", emoji, ""]}, {"text": "ok"}))
    for name in (b"video_files/sticker (2).webm", b"stickers/a, b [1].tgs", b"files/c:d.webm"):
        export, messages = read(whole.replace(b'"DOCUMENT"', name))
        assert [m.text for m in messages] == ["so 😮", "ok"]
        assert export.n_unreadable == 0


def test_a_message_that_cannot_be_repaired_is_left_out_and_counted() -> None:
    whole = printed(chat(*({"text": f"number {number}"} for number in range(5))))
    export, messages = read(whole.replace(b'"text": "number 2"', b'"text": "number 2'))
    assert [m.text for m in messages] == [f"number {number}" for number in (0, 1, 3, 4)]
    assert export.n_unreadable == 1


@pytest.mark.parametrize("date", ["absent", "14 March", "2024-02-31T10:00:00", "9024-03-14T10:00:00", None, 5])
def test_a_message_without_a_possible_time_is_counted(date: Any) -> None:
    export, messages = read(printed(chat({"text": "a"}, {"text": "b", "date": date}, {"text": "c"})))
    assert [m.text for m in messages] == ["a", "c"]
    assert export.n_unreadable == 1


def test_a_value_that_is_no_message_is_counted_and_an_unsupported_message_is_not() -> None:
    document = chat({"text": "a"}, {"text": "b"})
    document["messages"] += [None, 7, {"id": 3, "type": "unsupported"}]
    export, messages = read(printed(document))
    assert ([m.text for m in messages], export.n_unreadable) == (["a", "b"], 2)


def test_the_other_chats_of_an_account_are_read_whatever_is_broken_in_one() -> None:
    chats = [
        chat({"text": f"{name} one"}, {"text": f"{name} two"}, id=number, name=name)
        for number, name in enumerate(("Ada", "Ben", "Cem"), start=1)
    ]
    account = printed({"about": "x", "contacts": {"list": [{"first_name": "Ada"}]}, "chats": {"list": chats}})
    for broken in (
        account.replace(b'"text": "Ben one"', b'"text": "Ben one'),
        account.replace(b'"text": "Ben one"', rb'"text": "Ben\x0Bone"'),
        account.replace(b'"text": "Ben one"', b'"text": ]]}}'),
        account.replace(b'"first_name": "Ada"', b'"first_name": "Ada'),
        account.replace(b'"name": "Ben"', b'"name": Ben'),
    ):
        assert broken != account
        with pytest.raises(errors.SeveralChats) as refusal:
            read(broken)
        assert {each["id"] for each in refusal.value.extra["chats"]} == {"1", "2", "3"}
        for number, name in ((1, "Ada"), (3, "Cem")):
            export, messages = read(broken, str(number))
            assert [m.text for m in messages] == [f"{name} one", f"{name} two"]
            assert export.n_unreadable == 0
        assert read(broken, "2")[1][-1].text == "Ben two"


def test_repaired_values_of_all_chats_are_limited_together(monkeypatch: pytest.MonkeyPatch) -> None:
    chats = [chat({"text": "bare"}, {"text": "bare"}, id=number, name=f"Guest {number}") for number in range(1, 4)]
    account = printed({"chats": {"list": chats}}).replace(b'"bare"', b"bare")
    for limit, ids in ((100, ["1", "2", "3"]), (5, ["1", "2"])):
        monkeypatch.setattr(damaged_json, "REPAIRS_LIMIT", limit)
        with pytest.raises(errors.SeveralChats) as refusal:
            read(account)
        assert [each["id"] for each in refusal.value.extra["chats"]] == ids


def test_a_file_that_breaks_off_is_read_up_to_there() -> None:
    whole = printed(chat(*({"text": f"number {number}"} for number in range(50))))
    export, messages = read(whole[: len(whole) // 2])
    assert [m.text for m in messages] == [f"number {number}" for number in range(len(messages))]
    assert 20 < len(messages) < 27
    assert export.n_unreadable == 1


def test_a_file_without_a_readable_message_is_refused_as_damaged() -> None:
    whole = printed(chat({"text": "a"}, {"text": "b"}))
    with pytest.raises(errors.DamagedExport):
        read(whole.replace(b'"date"', b'"date'))


# Types of messages


def test_every_kind_of_call_is_counted() -> None:
    actor = {"actor": "Ravi", "actor_id": "user2"}
    messages = (
        service("phone_call", duration_seconds=5, discard_reason="hangup", **actor),
        service("group_call", duration=65, **actor),
        service("conference_call", duration_seconds=125, is_active=False, is_missed=False, **actor),
        service("conference_call", is_active=False, is_missed=True, **actor),
    )
    assert kinds(*messages) == [
        (MessageKind.CALL, "Ravi", "Phone call, 5 s"),
        (MessageKind.CALL, "Ravi", "Group call, 1 min 5 s"),
        (MessageKind.CALL, "Ravi", "Conference call, 2 min 5 s"),
        (MessageKind.CALL, "Ravi", "Missed conference call"),
    ]
    assert [m.details.duration_seconds for m in read(printed(chat(*messages)))[1]] == [5, 65, 125, None]


def test_a_service_message_names_nobody_whom_telegram_does_not_name() -> None:
    upload = chat(
        service("send_payment", amount=1200, currency="EUR", invoice_message_id=1),
        service("proximity_reached", **{"from": "Ravi", "from_id": "user2", "to": "Asha", "to_id": "user1"}),
        service("gift_code_prize", months=3),
        service("pin_message", actor=None, actor_id="user3"),
        {"text": "hello"},
    )
    export, messages = read(printed(upload))
    assert [m.text for m in messages] == [
        "Sent a payment",
        "Ravi came close",
        "Gift code prize",
        "Deleted account pinned a message",
        "hello",
    ]
    assert (export.n_system, export.participants) == (4, ["Asha"])


def test_the_words_of_a_to_do_list_are_those_of_the_sender() -> None:
    title = ["Shopping for ", {"type": "bold", "text": "Goa"}]
    todo = {
        "title": title,
        "others_can_append": True,
        "answers": [{"text": "bread", "id": 1}, {"text": "milk", "id": 2}],
    }
    assert kinds({"todo_list": todo, "text": ""}) == [(MessageKind.TEXT, "Asha", "Shopping for Goa\nbread\nmilk")]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"giveaway_information": {"quantity": 3, "additional_prize": "a mug"}}, ""),
        ({"giveaway_results": {"winners": [1], "winners_count": 1}}, ""),
        ({"invoice_information": '{\n "title": "Poster",\n "description": "signed"\n}'}, "Poster\nsigned"),
        ({"invoice_information": {"title": "Poster", "description": ""}}, "Poster"),
        ({"paid_stars_amount": 5}, ""),
        ({"paid_stars_amount": 5, "text": "look"}, "look"),
    ],
)
def test_giveaways_invoices_and_paid_media_are_no_media(members: dict[str, Any], text: str) -> None:
    assert kinds({"text": "", **members}) == [(MessageKind.TEXT, "Asha", text)]


def rich(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"rich_message": {"rtl": False, "part": False, "blocks": list(blocks)}}


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain", "text": text}


def test_the_words_of_a_rich_message_are_read() -> None:
    mixed = {"type": "concat", "text": [plain("see "), {"type": "bold", "text": plain("this")}]}
    item = {"task_state": "none", "content": "blocks", "blocks": [{"type": "paragraph", "text": plain("nested")}]}
    message = rich(
        {"type": "heading", "level": 1, "text": plain("Plan")},
        {"type": "paragraph", "text": mixed},
        {"type": "paragraph", "text": {"type": "text_link", "href": "https://a.b/c", "text": plain("map")}},
        {"type": "list", "kind": "ordered", "items": [{"content": "text", "text": plain("first")}, item]},
        {
            "type": "table",
            "title": {"type": "empty"},
            "rows": [{"cells": [{"text": plain("a")}, {"text": plain("b")}]}],
        },
        {"type": "quote", "content": "text", "text": plain("wise"), "caption": plain("somebody")},
        {
            "type": "photo",
            "photo_id": "1",
            "photo": NOT_INCLUDED,
            "caption": {"text": plain("us"), "credit": {"type": "empty"}},
        },
        {
            "type": "embed_post",
            "url": "https://x.y",
            "author": "News",
            "blocks": [{"type": "paragraph", "text": plain("quoted")}],
        },
        {"type": "math", "formula": "x^2"},
        {"type": "divider"},
    )
    expected = "Plan\nsee this\nmap (https://a.b/c)\nfirst\nnested\na b\nwise\nsomebody\nus\nx^2"
    assert kinds(message) == [(MessageKind.TEXT, "Asha", expected)]


def test_a_rich_message_of_files_only_is_media() -> None:
    _, messages = read(printed(chat(rich({"type": "video", "document_id": "1", "caption": {}}))))
    assert (messages[0].kind, messages[0].details.media) == (MessageKind.MEDIA, MediaKind.VIDEO)


def test_a_rich_message_of_any_depth_is_read() -> None:
    text: dict[str, Any] = plain("deep")
    for _ in range(30):
        text = {"type": "bold", "text": text}
    assert kinds(rich({"type": "paragraph", "text": text}))[0][2] == "deep"
    for _ in range(200):
        text = {"type": "bold", "text": text}
    assert kinds(rich({"type": "paragraph", "text": text}))[0][0] is MessageKind.MEDIA


def test_posts_without_a_sender_are_those_of_the_author_or_of_the_channel() -> None:
    nobody = {"from": "absent", "from_id": "absent"}
    posts = (
        {"text": "a"} | nobody,
        {"text": "b", "author": "Ravi"} | nobody,
        {"text": "c", "from": "News", "from_id": "channel9"},
    )
    channel = {"type": "public_channel", "name": "News", "id": 9}
    assert [sender for _, sender, _ in kinds(*posts, **channel)] == ["News", "Ravi", "News"]
    assert kinds({"text": "a", "from": None, "from_id": "user5"}, **channel)[0][1] == "Deleted account"


def test_links_behind_words_and_without_a_scheme_are_counted() -> None:
    upload = printed(
        chat(
            {"text": ["see ", {"type": "text_link", "text": "this", "href": "https://a.b/c"}, " now"]},
            {"text": [{"type": "text_link", "text": "a.b/d", "href": "http://a.b/d/"}]},
            {"text": [{"type": "text_link", "text": "https://a.b/e", "href": "https://a.b/e"}]},
            {"text": ["at ", {"type": "link", "text": "example.com/f"}, "!"]},
            {"text": [{"type": "text_link", "text": "him", "href": "tg://user?id=1"}]},
        )
    )
    export, counter = exports.read(upload), StatisticsCounter()
    texts = []
    for batch in export.batches:
        counter.add(batch)
        texts += batch.texts
    assert texts == [
        "see this (https://a.b/c) now",
        "http://a.b/d/",
        "https://a.b/e",
        "at http://example.com/f!",
        "him",
    ]
    assert counter.result(export.participants)["links_shared_count"] == 4


# What a message says besides its text


def details(*messages: dict[str, Any]) -> list[Details]:
    return [message.details for message in read(printed(chat(*messages)))[1]]


def test_the_kind_and_the_duration_of_media_are_read() -> None:
    types = {
        "voice_message": (MediaKind.VOICE, 7),
        "video_message": (MediaKind.VIDEO, 7),
        "video_file": (MediaKind.VIDEO, 7),
        "audio_file": (MediaKind.AUDIO, 7),
        "animation": (MediaKind.GIF, None),
        "sticker": (MediaKind.STICKER, None),
        "absent": (MediaKind.DOCUMENT, None),
    }
    files = ({"text": "", "file": NOT_INCLUDED, "media_type": each, "duration_seconds": 7} for each in types)
    found = details({"text": "", "photo": NOT_INCLUDED}, *files)
    assert [(each.media, each.duration_seconds) for each in found] == [(MediaKind.PHOTO, None), *types.values()]


@pytest.mark.parametrize("seconds", [10**19, 2**31, -5, 0, True, 61.5, "61", None])
def test_a_duration_is_a_possible_number_of_seconds(seconds: object) -> None:
    call = service("phone_call", duration_seconds=seconds, actor="Ravi", actor_id="user2")
    voice = {"text": "", "file": NOT_INCLUDED, "media_type": "voice_message", "duration_seconds": seconds}
    [called, said] = read(printed(chat(call, voice)))[1]
    assert (called.text, called.details.duration_seconds, said.details.duration_seconds) == ("Phone call", None, None)


def test_forwards_and_replies_are_read() -> None:
    upload = printed(
        chat(
            {"text": "one", "id": 10},
            {"text": "two", "id": 20, "forwarded_from": None, "from": "Ravi", "from_id": "user2"},
            service("pin_message", id=30, actor="Ravi", actor_id="user2"),
            {"text": "three", "id": 40, "reply_to_message_id": 20},
            {"text": "four", "id": -7, "reply_to_message_id": 11},
            {"text": "five", "id": 50, "reply_to_message_id": 10, "reply_to_peer_id": "channel3"},
            {"text": "six", "id": 60, "reply_to_message_id": -7},
        )
    )
    export, messages = read(upload)
    assert export.records == frozenset(Detail)
    assert [m.number for m in messages if m.details.is_forwarded] == [2]
    replies = {
        m.text: (m.details.reply_to, m.details.reply_to_sender) for m in messages if m.details.reply_to is not None
    }
    assert replies == {"three": (2, 1), "four": (0, SYSTEM_SENDER), "five": (0, SYSTEM_SENDER), "six": (5, 0)}


def test_reactions_are_read_with_their_people() -> None:
    recent = [{"from": "Ravi", "from_id": "user2", "date": "2024-03-14T10:00:00"}, {"from": None, "from_id": "user3"}]
    reactions = [
        {"type": "emoji", "count": 5, "emoji": "👍", "recent": recent},
        {"type": "custom_emoji", "count": 1, "document_id": "stickers/a.tgs"},
        {"type": "custom_emoji", "count": 2, "document_id": "stickers/b.tgs"},
        {"type": "paid", "count": 30},
    ]
    assert details({"text": "a", "reactions": reactions})[0].reactions == (
        Reaction("👍", 5, ("Ravi", "Deleted account")),
        Reaction("custom", 3),
        Reaction("⭐", 30),
    )


def reacted(name: str, account: str) -> dict[str, Any]:
    return {"reactions": [{"type": "emoji", "count": 1, "emoji": "👍", "recent": [{"from": name, "from_id": account}]}]}


def test_a_reaction_of_another_account_with_the_name_of_a_participant_is_not_the_participants() -> None:
    export, messages = read(printed(chat({"text": "a", **reacted("Asha", "user2")})))
    assert export.participants == ["Asha"]
    assert messages[0].details.reactions == (Reaction("👍", 1, ("Asha (2)",)),)


def test_an_account_that_reacts_before_it_writes_keeps_its_name() -> None:
    export, messages = read(
        printed(
            chat(
                {"text": "a", **reacted("Asha", "user2")},
                {"text": "b", **reacted("Ravi", "user3")},
                {"text": "c", "from": "Ravi", "from_id": "user4", **reacted("Asha", "user2")},
                {"text": "d", "from": "Asha", "from_id": "user2", **reacted("Asha", "user1")},
            )
        )
    )
    assert export.participants == ["Asha", "Ravi (2)", "Asha (2)"]
    assert [m.details.reactions[0].people for m in messages] == [("Asha (2)",), ("Ravi",), ("Asha (2)",), ("Asha",)]
    assert [m.sender for m in messages] == ["Asha", "Asha", "Ravi (2)", "Asha (2)"]


def test_the_utc_offset_is_the_difference_of_both_times_if_a_zone_can_have_it() -> None:
    instants = {"a": -3600, "b": 5 * 3600 + 1800, "c": 17, "d": 15 * 3600}
    rows = [
        {"text": text, "date_unixtime": str(int(START.replace(tzinfo=UTC).timestamp()) + 60 * number - offset)}
        for number, (text, offset) in enumerate(instants.items(), start=1)
    ]
    assert [m.utc_offset for m in read(printed(chat(*rows, {"text": "e"})))[1]] == [-3600, 19_800, None, None, None]

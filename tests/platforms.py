"""Write the messages of a parsed export as Telegram, Instagram or Messenger would export them.

Create a file for a benchmark or a sample; with --instagram or --messenger it is a zip of pages, with --encrypted the
zip of an encrypted chat of Messenger:

    .venv/bin/python -m tests.platforms FROM.txt TO.json
    .venv/bin/python -m tests.platforms FROM.txt TO.zip --instagram
    .venv/bin/python -m tests.platforms FROM.txt TO.zip --encrypted
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

from chats import exports
from chats.exports.parsed import Message, MessageKind

NO_LIMIT_BYTES = 2**40
PAGE_MESSAGES = 10_000
MESSENGER_TOP = "your_facebook_activity"
NOT_INCLUDED = "(File not included. Change data exporting settings to download.)"


def messages_of(upload: bytes) -> Iterator[Message]:
    export = exports.read(upload, limit_bytes=NO_LIMIT_BYTES)
    for batch in export.batches:
        yield from batch.messages(export.participants)


def telegram(messages: Iterable[Message], *, name: str = "Asha", chat_id: int = 4_410_000_001) -> Iterator[str]:
    """Yield `result.json` in pieces, indented by one space as in Telegram Desktop, without deleted messages."""
    yield f'{{\n "name": {json.dumps(name)},\n "type": "personal_chat",\n "id": {chat_id},\n "messages": ['
    accounts: dict[str | None, str] = {}
    kept = (message for message in messages if message.kind != MessageKind.DELETED)
    for position, message in enumerate(kept):
        account = accounts.setdefault(message.sender, f"user{len(accounts) + 7_000_000_000}")
        row = json.dumps(_telegram(message, account), indent=1, ensure_ascii=False).replace("\n", "\n  ")
        yield f"{',' * bool(position)}\n  {row}"
    yield "\n ]\n}"


def _telegram(message: Message, account: str) -> dict[str, Any]:
    instant = int(message.sent_at.replace(tzinfo=UTC).timestamp())
    row: dict[str, Any] = {
        "id": message.number,
        "type": "message",
        "date": message.sent_at.isoformat(),
        "date_unixtime": str(instant),
    }
    if message.kind == MessageKind.SYSTEM:
        return row | {"type": "service", "actor": "Asha", "action": "pin_message", "text": "", "text_entities": []}
    if message.kind == MessageKind.CALL:
        actor = {"actor": message.sender, "actor_id": account}
        return row | {"type": "service", "action": "phone_call", "discard_reason": "missed", "text": ""} | actor
    if message.edited:
        row |= {"edited": row["date"], "edited_unixtime": row["date_unixtime"]}
    row |= {"from": message.sender, "from_id": account}
    text = message.text
    if message.kind == MessageKind.MEDIA:
        row |= {"photo": NOT_INCLUDED, "width": 1280, "height": 960}
        text = text.partition("\n")[2]
    return row | {"text": text, "text_entities": [{"type": "plain", "text": text}] if text else []}


def instagram(messages: Iterable[Message], *, page_messages: int = PAGE_MESSAGES) -> list[bytes]:
    """Return `message_1.json`, `message_2.json`, …, newest message first."""
    rows = [_instagram(message) for message in messages]
    rows.reverse()
    names = dict.fromkeys(row["sender_name"] for row in rows)
    header = {
        "participants": [{"name": name} for name in names],
        "title": mojibake("Asha"),
        "is_still_participant": True,
        "thread_path": "inbox/asha_1234567890",
        "magic_words": [],
    }
    return [
        # Meta writes the messages between the participants and the other members.
        json.dumps(
            {"participants": header["participants"], "messages": rows[at : at + page_messages]} | header, indent=2
        ).encode()
        for at in range(0, len(rows), page_messages)
    ]


def _instagram(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {
        "sender_name": mojibake(message.sender or "Asha"),
        "timestamp_ms": int(message.sent_at.replace(tzinfo=UTC).timestamp()) * 1000 + 123,
    }
    if message.kind == MessageKind.SYSTEM:
        row["content"] = f"{row['sender_name']} changed the theme to Love."
    elif message.kind == MessageKind.DELETED:
        row["is_unsent"] = True
    elif message.kind == MessageKind.CALL:
        row |= {"content": "Audio call ended", "call_duration": 0}
    elif message.kind == MessageKind.MEDIA:
        caption = message.text.partition("\n")[2]
        row |= {"photos": [{"uri": "photos/1.jpg", "creation_timestamp": 1}]}
        row |= {"content": mojibake(caption)} if caption else {}
    else:
        row["content"] = mojibake(message.text)
    return row | {"is_geoblocked_for_viewer": False}


def encrypted(messages: Iterable[Message], *, title: str = "Asha", number: int = 12) -> bytes:
    """Return `NAME_12.json` of Messenger's encrypted chats, newest message first."""
    rows = [_encrypted(message) for message in messages]
    names = dict.fromkeys(row["senderName"] for row in rows)
    document = {"participants": list(names), "threadName": f"{title}_{number}", "messages": rows[::-1]}
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


def _encrypted(message: Message) -> dict[str, Any]:
    sender = message.sender or "Asha"
    row: dict[str, Any] = {"isUnsent": False, "media": [], "reactions": [], "senderName": sender, "text": ""}
    row |= {"timestamp": int(message.sent_at.replace(tzinfo=UTC).timestamp()) * 1000 + 123, "type": "text"}
    if message.kind == MessageKind.SYSTEM:
        return row | {"text": f"{sender} changed the theme to Love."}
    if message.kind == MessageKind.DELETED:
        return row | {"isUnsent": True, "type": "placeholder", "text": "User unsent a message"}
    if message.kind == MessageKind.CALL:
        return row | {"text": "The audio call ended."}
    if message.kind == MessageKind.MEDIA:
        caption = message.text.partition("\n")[2]
        return row | {"media": [{"uri": f"./media/{message.number}.jpg"}], "type": "media", "text": caption}
    if message.number % 12 == 0:
        row["reactions"] = [{"actor": sender, "reaction": "❤" if message.number % 24 else "😆"}]
    return row | {"text": message.text}


def mojibake(text: str) -> str:
    """Return the text as Meta writes it: UTF-8 decoded as Latin-1."""
    return text.encode().decode("latin-1")


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # ZipInfo has a fixed time, so that the same chat gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def inbox(
    pages: list[bytes], *, folder: str = "asha_1234567890", top: str = "your_instagram_activity"
) -> dict[str, bytes]:
    """Return the pages of a chat by their paths in Meta's zip; `top` is the folder of the platform."""
    path = f"{top}/messages/inbox/{folder}"
    return {f"{path}/message_{number}.json": page for number, page in enumerate(pages, start=1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert a WhatsApp export to the format of another platform.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--instagram", action="store_true")
    parser.add_argument("--messenger", action="store_true")
    parser.add_argument("--encrypted", action="store_true")
    parser.add_argument("--page-messages", type=int, default=200)
    options = parser.parse_args()
    messages = messages_of(options.source.read_bytes())
    if options.instagram or options.messenger:
        top = "your_instagram_activity" if options.instagram else MESSENGER_TOP
        options.target.write_bytes(zipped(inbox(instagram(messages, page_messages=options.page_messages), top=top)))
        return
    if options.encrypted:
        options.target.write_bytes(zipped({"messages/Asha_12.json": encrypted(messages)}))
        return
    with options.target.open("w", encoding="utf-8") as file:
        file.writelines(telegram(messages))


if __name__ == "__main__":
    main()

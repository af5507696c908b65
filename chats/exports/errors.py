"""Why an upload is refused: each title names the cause, each detail says what to do next."""

from __future__ import annotations

from typing import Any

from chats.exports.parsed import PEOPLE_LIMIT
from relivchats.errors import DomainError

HOW_TO_EXPORT = (
    "In WhatsApp open the chat, choose Export chat, and upload the .txt or .zip that it makes, unchanged."
    " Telegram Desktop (Export chat history), Instagram and Messenger (Download your information, and of encrypted"
    " chats Download secure storage data) make one as JSON, Telegram Desktop also as HTML."
)


class ExportRefused(DomainError):
    """An upload that cannot become a chat. Its title and its detail never contain text of the file."""

    code, status, title = "ERR_3003", 422, "This file cannot be read"
    advice = HOW_TO_EXPORT

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.advice, **extra)


class EmptyExport(ExportRefused):
    """The file, or each text in it, contains no characters except white space."""

    code, status, title = "ERR_3002", 400, "The file is empty"
    advice = f"It holds no text at all. {HOW_TO_EXPORT}"


class ExportTooLarge(ExportRefused):
    """The upload exceeds the limit in bytes, which `extra` contains with the size."""

    code, status, title = "ERR_3004", 413, "The file is too large"

    def __init__(self, *, limit_bytes: int, size_bytes: int) -> None:
        super().__init__(
            f"Up to {limit_bytes / 2**20:.4g} MB are taken. Export the chat again without media. A .txt or .json is"
            " much smaller as a .zip.",
            limit_bytes=limit_bytes,
            size_bytes=size_bytes,
        )


class UnpackedTooLarge(ExportRefused):
    """The content of an archive exceeds the limit in bytes, entries or compression ratio."""

    code, status, title = "ERR_3004", 413, "The archive is too large once unpacked"
    advice = "Export the chat again without media, or for a shorter time, and upload what it makes."


class TooCostly(ExportRefused):
    """Parsing exceeds the limit of memory or of processor time."""

    code, status, title = "ERR_3004", 413, "The file takes too much work to read"
    advice = "Export the chat again without media, or for a shorter time, and upload what it makes, unchanged."


class PasswordProtected(ExportRefused):
    """All texts of the archive are encrypted."""

    title = "The archive is password-protected"
    advice = "Unpack it with its password and upload the chat inside: the .txt or .json."


class DamagedArchive(ExportRefused):
    """The archive cannot be unpacked."""

    title = "The archive is damaged"
    advice = f"It may have been cut short on its way, or packed in an unusual manner. {HOW_TO_EXPORT}"


class DamagedExport(ExportRefused):
    """A JSON export is not well-formed."""

    title = "The export is damaged"
    advice = "Its JSON breaks off or is not well-formed. Export the chat again and upload the file unchanged."


class NoChatText(ExportRefused):
    """The archive contains no text."""

    title = "There is no chat text inside the archive"
    advice = f"A chat export holds a .txt or .json file with the messages. {HOW_TO_EXPORT}"


class WebPage(ExportRefused):
    """The file is HTML other than the pages of a chat that Telegram Desktop writes."""

    title = "This is a web page, not a chat export"
    advice = (
        "Of web pages, only the messages.html of Telegram Desktop are read: upload them in one .zip. On Instagram and"
        " Messenger choose JSON instead of HTML, and upload the .json or the .zip that it makes."
    )


class Backup(ExportRefused):
    """The file is a database or an encrypted backup of WhatsApp."""

    title = "This is a database or a backup, not a chat export"
    advice = f"It holds every chat at once, often encrypted, and is not read here. {HOW_TO_EXPORT}"


class SeveralChats(ExportRefused):
    """The upload contains several chats; `chats` in `extra` lists them as `{"id", "title", "messages"}`."""

    title = "There is more than one chat in this upload"
    advice = "Upload it again with `chat` set to the id of the one you want; `chats` lists them."


class NoSuchChat(ExportRefused):
    """No chat of the upload has the requested id; `chats` in `extra` lists them as in SeveralChats."""

    title = "There is no such chat in this upload"
    advice = "Set `chat` to one of the ids that `chats` lists."


class NotAChatExport(ExportRefused):
    """No line begins like a message."""

    title = "This is not a chat export"
    advice = f"None of its lines begins like a message, with a date, a time and a name. {HOW_TO_EXPORT}"


class Picture(NotAChatExport):
    """The file is an image."""

    title = "This is a picture, not a chat export"
    advice = f"The words in it cannot be read. {HOW_TO_EXPORT}"


class Recording(NotAChatExport):
    """The file is audio or video."""

    title = "This is a video or a sound, not a chat export"
    advice = f"What is said in it cannot be read. {HOW_TO_EXPORT}"


class Pdf(NotAChatExport):
    """The file is a PDF."""

    title = "This is a PDF, not a chat export"
    advice = f"It shows pages, and single messages cannot be recognised in it. {HOW_TO_EXPORT}"


class FormattedText(NotAChatExport):
    """The file is a document of a word processor."""

    title = "This is a formatted document, not a chat export"
    advice = f"A word processor has changed the text. {HOW_TO_EXPORT}"


class OtherArchive(NotAChatExport):
    """The file is an archive other than .zip."""

    title = "This archive is not a .zip"
    advice = "Unpack it first, and upload the chat's text or a .zip."


class NotText(NotAChatExport):
    """The file is binary, in no known format."""

    title = "This is not a text"
    advice = f"If it is a backup (.crypt15), it is encrypted and cannot be read. {HOW_TO_EXPORT}"


class OtherJson(NotAChatExport):
    """The file is JSON of no known platform."""

    title = "This looks like JSON, but not of Telegram, Instagram or Messenger"
    advice = (
        "Upload Telegram's result.json (Export chat history, Machine-readable JSON), the message_1.json of Instagram or"
        " Messenger (Download your information, format JSON) or the file of an encrypted chat of Messenger, unchanged."
    )


class TooManyPeople(ExportRefused):
    """More than PEOPLE_LIMIT people wrote."""

    title = "The chat has too many people"
    advice = f"Up to {PEOPLE_LIMIT:,} are read, more than any group has. Look whether this is the export of one chat."


class NoMessages(ExportRefused):
    """The export of a chat contains no message with a possible time."""

    code, status, title = "ERR_3002", 422, "The chat has no messages"
    advice = (
        "The file is the export of a chat, but no messages are in it. Choose another chat, or a longer period, and"
        " export it again."
    )


class OnlySystemMessages(ExportRefused):
    """No person wrote a message."""

    code, status, title = "ERR_3002", 422, "The chat has only system messages"
    advice = "No person wrote anything in it. Choose a chat in which people talk, and export it again."

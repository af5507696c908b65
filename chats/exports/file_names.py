"""What the name of a file that WhatsApp exports says about its content."""

from __future__ import annotations

import re

from chats.exports.parsed import MediaKind

_EXTENSION = re.compile(rb"\.([0-9A-Za-z]{1,5})(?![^\s>)])")
#: `IMG-20240213-WA0001.jpg` on Android, `00000012-PHOTO-2024-02-13-21-05-09.jpg` on an iPhone.
_PREFIX = re.compile(rb"(?<![^\s<:\x9a])(?:\d{8}-)?(IMG|PHOTO|VID|VIDEO|PTT|AUD|STK|STICKER|GIF)-\d")
_BY_PREFIX = {
    b"IMG": MediaKind.PHOTO,
    b"PHOTO": MediaKind.PHOTO,
    b"VID": MediaKind.VIDEO,
    b"VIDEO": MediaKind.VIDEO,
    b"PTT": MediaKind.VOICE,
    b"AUD": MediaKind.AUDIO,
    b"STK": MediaKind.STICKER,
    b"STICKER": MediaKind.STICKER,
    b"GIF": MediaKind.GIF,
}
# An iPhone names recordings and pieces of music alike (`-AUDIO-`), but only recordings are in Opus.
_BY_EXTENSION = {
    extension.encode(): kind
    for kind, extensions in {
        MediaKind.PHOTO: "jpg jpeg png heic heif",
        MediaKind.VIDEO: "mp4 mov 3gp m4v mkv avi webm",
        MediaKind.VOICE: "opus",
        MediaKind.AUDIO: "m4a mp3 aac amr ogg oga wav flac",
        MediaKind.STICKER: "webp was",
        MediaKind.GIF: "gif",
    }.items()
    for extension in extensions.split()
}


def media_kind_of_file(line: bytes, extension: bytes) -> MediaKind | None:
    """Return the kind of the file with this extension that a line names; None if it names no file."""
    if extension and extension not in _BY_EXTENSION:
        return MediaKind.DOCUMENT
    # The prefix is WhatsApp's own, but documents keep the names that people gave them.
    if prefix := _PREFIX.search(line):
        return _BY_PREFIX[prefix[1]]
    return _BY_EXTENSION[extension] if extension else None


def extension_in(line: bytes) -> bytes:
    """Return the last extension of a file name in a line, in lower case and without the dot; empty without one."""
    extensions = _EXTENSION.findall(line)
    return extensions[-1].lower() if extensions else b""

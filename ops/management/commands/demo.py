from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from chats.exports.errors import ExportTooLarge
from ops import demo
from ops.demo import people
from ops.demo.client import Answer, Client, Problem, Unreachable
from ops.demo.story import Story, Unfinished, closing
from relivchats.terminal import Layout, plain

SAMPLE = Path(demo.__file__).with_name("sample.txt")
COINS = 1_000
UNREADABLE, UNFINISHED = 2, 1


class Command(BaseCommand):
    help = "The main job from end to end, as a client of a running RelivChats: an export in, insights out."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("export", nargs="?", type=Path, default=SAMPLE, help="a chat export; a sample without one")
        parser.add_argument("--base-url", required=True, help="where RelivChats answers: http://127.0.0.1:8000")
        parser.add_argument("--chat", metavar="ID", help="which chat of an export that holds several")
        parser.add_argument("--once", action="store_true", help="end after the report, without a log-in")
        parser.add_argument("--full", action="store_true", help="every quote, and the reason of every suggestion")

    def handle(
        self, *, export: Path, base_url: str, once: bool, full: bool, chat: str | None = None, **options: Any
    ) -> None:
        if not (settings.EMBEDDED or settings.DEBUG):
            self._end(
                "The demo gives away coins and a staff log-in, so it runs on the embedded stack alone: "
                "unset DATABASE_URL.",
                UNFINISHED,
            )
        content = self._content(export)
        base_url = base_url.rstrip("/")
        page = Layout.for_stream(self.stdout)
        token = people.demo_token(coins=COINS)
        story = Story(Client(base_url, token), page, self._say, full=full)
        uploaded = self._upload(story, content, name=export.name, chat_id=chat)
        self._unlock(story, uploaded)
        if not once:
            staff = people.STAFF_EMAIL, people.staff_password()
            for line in closing(base_url=base_url, chat_id=uploaded["id"], token=token, staff=staff, page=page):
                self._say(line)

    def _content(self, export: Path) -> bytes:
        try:
            limit_bytes, size_bytes = settings.UPLOAD_LIMIT_BYTES, export.stat().st_size
            if size_bytes > limit_bytes:
                too_large = ExportTooLarge(limit_bytes=limit_bytes, size_bytes=size_bytes)
                self._end(f"{too_large.title}. {too_large.detail}", UNREADABLE)
            return export.read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "that is no file name"
            self._end(f"{export} cannot be read: {reason[:1].lower()}{reason[1:]}.", UNREADABLE)

    def _upload(self, story: Story, content: bytes, *, name: str, chat_id: str | None) -> Answer:
        try:
            return story.upload(content, name=name, chat_id=chat_id)
        except Problem as problem:
            if chats := problem.document.get("chats"):
                self._end(_choices(chats), UNREADABLE)
            self._end(str(problem), UNREADABLE if problem.status < 500 else UNFINISHED)
        except Unreachable as error:
            self._end(str(error), UNFINISHED)

    def _unlock(self, story: Story, chat: Answer) -> None:
        try:
            story.unlock(chat)
        except (Problem, Unfinished, Unreachable) as error:
            self._end(str(error), UNFINISHED)

    def _say(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            # Whoever read has seen enough; the rest, and what Python flushes at its end, goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _end(self, sentence: str, status: int) -> NoReturn:
        self.stderr.write(plain(sentence), lambda line: line)
        sys.exit(status)


def _choices(chats: list[Answer]) -> str:
    found = (
        f"  --chat {chat['id']}  {' '.join(chat['title'].split())}, {chat['messages']:,} messages" for chat in chats
    )
    return "\n".join(["This export holds several chats. Choose one:", *found])

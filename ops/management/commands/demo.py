"""`manage.py demo`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import CommandParser

from chats.exports.errors import ExportTooLarge
from insights.translation import LANGUAGES
from ops import demo
from ops.demo import accounts
from ops.demo.client import Client, Problem, Unreachable
from ops.demo.walkthrough import CATEGORIES, Incomplete, NothingFits, Walkthrough, format_next_steps
from relivchats.staff.commands import CommandWithExample
from relivchats.terminal import Layout, plain

#: The chat that is uploaded if none is named, by category.
SAMPLES = {
    category: Path(demo.__file__).with_name("sample.txt" if category == CATEGORIES[0] else f"sample-{category}.txt")
    for category in CATEGORIES
}
COINS = 1_000
EXIT_INCOMPLETE, EXIT_UNREADABLE = 1, 2


class Command(CommandWithExample):
    """Run the demo against a running server. It prints a story while it happens, so it is no report."""

    help = (
        "Upload an export to a running RelivChats, unlock insights and print them, as any client of the API can."
        " Example: manage.py demo --base-url http://127.0.0.1:8000 --once"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the export, the server's address and what to print."""
        parser.add_argument("export", nargs="?", type=Path, help="a chat export; default: a sample of the category")
        parser.add_argument("--category", choices=CATEGORIES, default=CATEGORIES[0], help="what to unlock")
        parser.add_argument("--language", choices=list(LANGUAGES), default="en", help="the language of the insights")
        parser.add_argument("--base-url", required=True, help="the server's address, as http://127.0.0.1:8000")
        parser.add_argument("--chat", metavar="ID", help="the chat to read, if the export contains several")
        parser.add_argument(
            "--once",
            action="store_true",
            help="end after the report, without a staff login; exit with 1 if the chat fits no insight",
        )
        parser.add_argument("--full", action="store_true", help="print every quote and the reason for every suggestion")

    def handle(
        self,
        *,
        export: Path | None,
        base_url: str,
        once: bool,
        full: bool,
        category: str = CATEGORIES[0],
        language: str = "en",
        chat: str | None = None,
        **options: Any,
    ) -> None:
        """Run the walkthrough. Exit with 2 if the export is refused, with 1 if anything else fails.

        A chat that fits no insight is a failure with `once` only.
        """
        if not (settings.EMBEDDED or settings.DEBUG):
            self._exit(
                "The demo gives away coins and a staff login, so it runs only on the embedded stack: "
                "unset DATABASE_URL.",
                EXIT_INCOMPLETE,
            )
        export = export or SAMPLES[category]
        content = self._read(export)
        base_url = base_url.rstrip("/")
        layout = Layout.for_stream(self.stdout)
        token = accounts.issue_demo_token(min_coins=COINS)
        walkthrough = Walkthrough(
            Client(base_url, token), layout, self._print_line, full=full, category=category, language=language
        )
        try:
            uploaded = walkthrough.upload(content, name=export.name, chat_id=chat)
        except Problem as problem:
            if chats := problem.document.get("chats"):
                lines = ["This export holds several chats. Choose one:"]
                for each in chats:
                    title = " ".join(each["title"].split())
                    lines.append(f"  --chat {each['id']}  {title}, {each['messages']:,} messages")
                self._exit("\n".join(lines), EXIT_UNREADABLE)
            self._exit(str(problem), EXIT_UNREADABLE if problem.status < 500 else EXIT_INCOMPLETE)
        except Unreachable as error:
            self._exit(str(error), EXIT_INCOMPLETE)
        try:
            walkthrough.unlock(uploaded)
        except NothingFits as error:
            # Without --once, the server goes on, and the statistics can be looked at.
            if once:
                self._exit(str(error), EXIT_INCOMPLETE)
            for line in ("", *layout.wrap(plain(error))):
                self._print_line(line)
        except (Problem, Incomplete, Unreachable) as error:
            self._exit(str(error), EXIT_INCOMPLETE)
        if not once:
            staff = accounts.STAFF_EMAIL, accounts.reset_staff_password()
            for line in format_next_steps(
                base_url=base_url, chat_id=uploaded["id"], token=token, staff=staff, layout=layout
            ):
                self._print_line(line)

    def _read(self, export: Path) -> bytes:
        """Return the content of the export, or exit with the reason. A file over the limit is not opened."""
        try:
            limit_bytes, size_bytes = settings.UPLOAD_LIMIT_BYTES, export.stat().st_size
            if size_bytes > limit_bytes:
                too_large = ExportTooLarge(limit_bytes=limit_bytes, size_bytes=size_bytes)
                self._exit(f"{too_large.title}. {too_large.detail}", EXIT_UNREADABLE)
            return export.read_bytes()
        except (OSError, ValueError) as error:
            # ValueError: the name contains a null byte.
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "invalid file name"
            self._exit(f"{export} cannot be read: {reason[:1].lower()}{reason[1:]}.", EXIT_UNREADABLE)

    def _print_line(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            # The reader, such as `head`, has closed the pipe, and the demo goes on: `./dev` serves afterwards.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _exit(self, sentence: str, status: int) -> NoReturn:
        self.stderr.write(plain(sentence), lambda line: line)
        sys.exit(status)

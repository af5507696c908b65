from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from ops import indexing
from ops.management.base import OpsCommand
from ops.report import Report


class Command(OpsCommand):
    help = "Make chats searchable again. Without arguments it tells how indexing stands."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("chats", nargs="*", type=UUID, default=[], metavar="CHAT", help="ids of chats")
        which.add_argument("--failed", action="store_true", help="every chat whose indexing failed")
        which.add_argument("--all", action="store_true", help="every chat")
        which.add_argument("--status", action="store_true", help="how many chats stand where")
        parser.add_argument("--dry-run", action="store_true", help="say which chats, change nothing")
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(
        self, *, chats: list[UUID], failed: bool, all: bool, status: bool, dry_run: bool, reason: str, **options: Any
    ) -> Report:
        order = self.order(reason)
        if chats:
            return indexing.report(indexing.chosen(chats), dry_run=dry_run, order=order)
        if failed:
            return indexing.report(indexing.failed(), dry_run=dry_run, order=order)
        if all:
            return indexing.report(indexing.every(), dry_run=dry_run, order=order)
        return indexing.status()

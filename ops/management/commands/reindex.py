"""`manage.py reindex`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from chats import operations
from chats.models import Chat
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Request indexing of chats."""

    help = (
        "Request indexing of chats. Without arguments, print the number of chats by index status."
        " Example: manage.py reindex --failed --reason 'the model is back'"
    )
    can_watch = True
    changes = ("chats", "failed", "all", "qdrant")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the chats, the ways to select them, and `--dry-run`."""
        which = parser.add_mutually_exclusive_group()
        which.add_argument("chats", nargs="*", type=UUID, default=[], metavar="CHAT", help="ids of chats")
        which.add_argument("--failed", action="store_true", help="every chat whose indexing failed")
        which.add_argument("--all", action="store_true", help="every chat")
        which.add_argument("--status", action="store_true", help="count the chats by index status (the default)")
        parser.add_argument(
            "--qdrant",
            action="store_true",
            help="store vectors in Qdrant again from their sealed copies, and embed nothing; by default of every chat",
        )
        parser.add_argument("--dry-run", action="store_true", help="list the chats, change nothing")
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(
        self,
        *,
        chats: list[UUID],
        failed: bool,
        all: bool,
        status: bool,
        qdrant: bool,
        dry_run: bool,
        reason: str,
        **options: Any,
    ) -> Report:
        """Request indexing of the selected chats and return the results, or the number of chats by index status."""
        if qdrant:
            selected = operations.chats_by_id(chats) if chats else operations.chats_with_vectors()
            return operations.store_in_qdrant_report(selected, dry_run=dry_run, context=self.context(reason))
        if chats:
            selected = operations.chats_by_id(chats)
        elif failed:
            selected = operations.chats_that_failed()
        elif all:
            selected = Chat.objects.all()
        else:
            return operations.index_status_report()
        return operations.reindex_report(selected, dry_run=dry_run, context=self.context(reason))

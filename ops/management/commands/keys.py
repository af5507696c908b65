"""`manage.py keys`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from chats import operations
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List the keys that wrap the data keys of chats, or wrap all of them by the current key."""

    help = (
        "List the keys of ENCRYPTION_KEYS, the number of chats that need each, and which can be removed."
        " --rotate wraps every data key again by the first key; if it is interrupted, run it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--rotate`."""
        parser.add_argument("--rotate", action="store_true", help="wrap all data keys by the first key of the list")

    def report(self, *, rotate: bool, **options: Any) -> Report:
        """Return the keys, after the rotation if one was requested."""
        return operations.rotate_keys_report(self._progress) if rotate else operations.keys_report()

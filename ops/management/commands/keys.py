"""`manage.py keys`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from chats import operations
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List the keys that chats need, wrap all of them by the current key, or remove files that belong to no chat."""

    help = (
        "List the keys of ENCRYPTION_KEYS, the number of chats that need each, which can be removed, and the state of"
        " the key store. --rotate seals the files of the key store by the first key, and moves the keys of chats that"
        " are not in it yet; if it is interrupted, run it again. --remove-unused destroys files that belong to no chat:"
        " they are left after an older copy of the database was restored, and would be needed by a newer one."
        " Example: manage.py keys --rotate"
    )
    can_watch = True
    changes = ("rotate", "remove_unused")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--rotate` and `--remove-unused`."""
        actions = parser.add_mutually_exclusive_group()
        actions.add_argument("--rotate", action="store_true", help="wrap the keys of all chats by the first key")
        actions.add_argument("--remove-unused", action="store_true", help="destroy files that belong to no chat")

    def report(self, *, rotate: bool, remove_unused: bool, **options: Any) -> Report:
        """Return the keys, after the action if one was requested."""
        if remove_unused:
            return operations.remove_unused_keys_report()
        return operations.rotate_keys_report(self._progress) if rotate else operations.keys_report()

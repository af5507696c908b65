"""`manage.py keys`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from chats import keys, operations
from ops import keyrings
from relivchats.staff.commands import OpsCommand, number
from relivchats.staff.reports import Level, Report


class Command(OpsCommand):
    """List the keys that chats need, wrap them by the current key, or remove what a restored database left behind."""

    help = (
        "List the keys of ENCRYPTION_KEYS, the number of chats that need each, which can be removed, the state of the"
        " key store, and which of web, worker and beat run with other keys. --rotate seals the files of the key store"
        " by the first key, and moves the keys of chats that are not in it yet; if it is interrupted, run it again."
        " It refuses to while a process runs that does not have this key: it could not open these chats."
        " --remove-unused destroys files that belong to no chat: they are left after an older copy of the database was"
        " restored, and would be needed by a newer one. If these are most files, it asks for their number, --files N."
        " --erase-unreadable lists the chats whose file is missing: they were deleted after that copy was made. With"
        " --reason and --yes it erases them, unless most chats lack their file."
        " Example: manage.py keys --rotate"
    )
    can_watch = True
    changes = ("rotate", "remove_unused", "erase_unreadable")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--rotate`, `--remove-unused`, and `--erase-unreadable`, with what confirms them."""
        actions = parser.add_mutually_exclusive_group()
        actions.add_argument("--rotate", action="store_true", help="wrap the keys of all chats by the first key")
        actions.add_argument("--remove-unused", action="store_true", help="destroy files that belong to no chat")
        actions.add_argument(
            "--erase-unreadable",
            action="store_true",
            help="list the chats whose file is missing in the key store; with --yes, erase them",
        )
        parser.add_argument(
            "--files", type=number(minimum=0), metavar="N", help="with --remove-unused: how many, if these are most"
        )
        parser.add_argument(
            "--ignore-processes",
            action="store_true",
            help="with --rotate: although web, worker or beat runs without the first key; they open no rotated chat",
        )
        parser.add_argument("--reason", default="", help="why, for the audit entries")
        parser.add_argument("--yes", action="store_true", help="erase the chats")

    def report(
        self,
        *,
        rotate: bool,
        remove_unused: bool,
        files: int | None,
        erase_unreadable: bool,
        ignore_processes: bool,
        reason: str,
        yes: bool,
        **options: Any,
    ) -> Report:
        """Return the keys, after the action if one was requested. Raise CommandError or DomainError."""
        if erase_unreadable:
            if yes and not reason.strip():
                raise CommandError("Erasing needs a reason: --reason 'restored the backup of Monday'")
            return operations.erase_unreadable_report(context=self.context(reason.strip()) if yes else None)
        if remove_unused:
            return operations.remove_unused_keys_report(confirmed=files)
        if rotate and not ignore_processes:
            keyrings.require_current_key()
        found = operations.rotate_keys_report(self._progress) if rotate else operations.keys_report()
        different = keyrings.compare(keys.sample())
        if different is None:
            return found
        # The keys of this command are judged by its own, which may be the wrong ones.
        lines = [
            replace(line, remedy="", cause="processes")
            if line.name == "keys" and line.level is Level.CRITICAL
            else line
            for line in found.lines
        ]
        return replace(found, lines=(replace(different, name="processes"), *lines))

"""`manage.py backup`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ops import backups
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Write a dump of the database, and a copy of the key store to another place."""

    help = (
        "Write a dump of the database into a directory, and a copy of the key store into another one. The keyring"
        " is not copied: keep it offline. Example: manage.py backup /backups/database --keys /elsewhere/keys"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the directories and `--reason`."""
        parser.add_argument("directory", type=Path, help="where the dump is written")
        parser.add_argument(
            "--keys", type=Path, metavar="DIRECTORY", help="where the key store is copied; files of deleted chats go"
        )
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(self, *, directory: Path, keys: Path | None, reason: str, **options: Any) -> Report:
        """Write the copies. Raise Conflict or BackupFailed."""
        return backups.backup(directory, keys=keys, context=self.context(reason))

"""`manage.py restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ops import backups
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Prove that a dump can be restored."""

    help = (
        "Restore a dump into a scratch database, audit its ledger, count its rows, and drop it again. It never touches"
        " the database in use. Example: manage.py restore --check /backups/database/relivchats.dump"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--check`."""
        parser.add_argument("--check", type=Path, metavar="DUMP", required=True, help="the dump of `manage.py backup`")

    def report(self, *, check: Path, **options: Any) -> Report:
        """Return what was found. Raise NotFound, Conflict or BackupFailed."""
        return backups.check(check)

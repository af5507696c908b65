"""`manage.py uploads`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from ops import uploads
from relivchats.staff.commands import OpsCommand, duration
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Show which uploads were refused or failed."""

    help = (
        "Show which uploads were refused, because the file is no export that is read, or failed for our reasons:"
        " by reason, platform, dialect and the shape of the first line. Example: manage.py uploads --since 7d"
    )
    can_watch = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--since`."""
        parser.add_argument(
            "--since", type=duration, default="24h", help="the window, such as 1h, 24h (default) or 30d"
        )

    def report(self, *, since: timedelta, **options: Any) -> Report:
        """Return the refused and failed uploads of the window."""
        return uploads.report(since)

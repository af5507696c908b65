"""`manage.py support-bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ops import support
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Write a zip file for an engineer."""

    help = (
        "Write a zip file for an engineer: health and its history, versions, names of settings, errors by cause,"
        " metrics, processes, queues and tables. It has no values of settings and nothing of a person."
        " Example: manage.py support-bundle relivchats-support.zip"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the file."""
        parser.add_argument("file", type=Path, nargs="?", default=Path("relivchats-support.zip"))

    def report(self, *, file: Path, **options: Any) -> Report:
        """Write the file and return what it contains. Raise Conflict."""
        return support.write(file)

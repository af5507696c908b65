from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import reservations
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List or release reservations."""

    help = "List the active reservations. With --stuck, those past their deadline: the list is expected to be empty."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--stuck", action="store_true", help="only reservations past their deadline")
        parser.add_argument("--release", action="store_true", help="close overdue reservations and release their coins")
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(self, *, stuck: bool, release: bool, reason: str, **options: Any) -> Report:
        return reservations.report(stuck=stuck, release=release, context=self.context(reason))

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import reservations
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    help = "Coins that are held now. Reservations that outlived their time: there should be none."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--stuck", action="store_true", help="only those past their time")
        parser.add_argument(
            "--release", action="store_true", help="close what is past its time and give the coins back"
        )
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(self, *, stuck: bool, release: bool, reason: str, **options: Any) -> Report:
        return reservations.report(stuck=stuck, release=release, context=self.context(reason))

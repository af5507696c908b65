from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from ops import ledger
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    help = "Every invariant of the coins, and whether it holds. Exits 2 when one is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--recent", type=int, metavar="N", help="print the latest N transactions instead")

    def report(self, *, recent: int | None, **options: Any) -> Report:
        if recent is not None and not 0 < recent <= ledger.MOST_RECENT:
            raise CommandError(f"--recent prints from 1 to {ledger.MOST_RECENT} transactions.")
        return ledger.report(recent=recent)

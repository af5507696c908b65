from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import health
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    help = "Is everything well? Each line that is not fine ends with the mend. Takes less than two seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--verbose", action="store_true", help="add memory, processes and load of this machine")

    def report(self, *, verbose: bool, **options: Any) -> Report:
        return health.report(verbose=verbose)

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import jobs
from ops.management.base import OpsCommand
from ops.report import Report


class Command(OpsCommand):
    help = "Open generation jobs: how far they are and what holds them up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--stuck", action="store_true", help="only those past their time")
        parser.add_argument("--recover", action="store_true", help="put right whatever is stuck")
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(self, *, stuck: bool, recover: bool, reason: str, **options: Any) -> Report:
        return jobs.report(stuck=stuck, recover=recover, order=self.order(reason))

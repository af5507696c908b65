from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import failures
from ops.management.base import OpsCommand
from ops.report import Report


class Command(OpsCommand):
    help = "Failed insights with their causes, those tried again since left out."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--failed", action="store_true", help="list the failed ones, as without it")
        parser.add_argument(
            "--retry", action="store_true", help="try them again, each paid from its owner's wallet for its own part"
        )
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(self, *, failed: bool, retry: bool, reason: str, **options: Any) -> Report:
        return failures.report(retry=retry, order=self.order(reason))

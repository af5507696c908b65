"""`manage.py jobs`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from insights import operations
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List or recover open generation jobs."""

    help = (
        "List the open generation jobs: their progress and what they wait for."
        " Example: manage.py jobs --recover --reason 'a worker lost its host'"
    )
    can_watch = True
    changes = ("recover",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--stuck`, `--recover` and `--reason`."""
        parser.add_argument("--stuck", action="store_true", help="only jobs past their deadline or left by a worker")
        parser.add_argument("--recover", action="store_true", help="recover everything that is stuck")
        parser.add_argument("--reason", default="", help="why, for the audit entry; not required: beat recovers too")

    def report(self, *, stuck: bool, recover: bool, reason: str, **options: Any) -> Report:
        """Return the open jobs; with `--recover`, recover the stuck ones and return the results."""
        if recover:
            return operations.recover_everything(context=self.context(reason))
        return operations.jobs_report(stuck=stuck)

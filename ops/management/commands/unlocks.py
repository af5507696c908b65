"""`manage.py unlocks`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import unlocks
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Pause or resume unlocks."""

    help = (
        "Show whether insights can be unlocked, and the pauses; with an option, pause or resume unlocks."
        " Example: manage.py unlocks --pause 'the provider is down'"
    )
    can_watch = True
    changes = ("pause", "resume")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--pause`, `--resume` and `--reason`."""
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--pause", metavar="REASON", help="refuse unlocks and retries; open jobs continue")
        choice.add_argument("--resume", action="store_true", help="accept unlocks again")
        parser.add_argument("--reason", default="", help="why unlocks are resumed, for the audit entry")

    def report(self, *, pause: str | None, resume: bool, reason: str, **options: Any) -> Report:
        """Return the state of unlocks; with an option, change it first."""
        if pause is not None:
            return unlocks.pause(context=self.context(pause))
        if resume:
            return unlocks.resume(context=self.context(reason))
        return unlocks.report()

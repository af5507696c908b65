"""`manage.py queue`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import engine, queues
from ops.schedule import run_one
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Show the state of the queues, pause or resume the insights, or run a task of the schedule."""

    help = (
        "Show the queues: messages in the broker, due rows and leases in Postgres, and what waits after an error."
        " --pause insights gives no more of them to workers, and refuses unlocks meanwhile."
        " Example: manage.py queue --pause insights --reason 'the provider is down'"
    )
    can_watch = True
    changes = ("pause", "resume", "run")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--schedule", action="store_true", help="the tasks of beat, with their last and next runs")
        choice.add_argument("--quota", action="store_true", help="the model's quota, and what is refused until when")
        choice.add_argument("--pause", choices=["insights"], help="give no more of them to workers; needs --reason")
        choice.add_argument("--resume", choices=["insights"], help="give them to workers again")
        choice.add_argument("--run", metavar="ENTRY", help="send a task of the schedule now; needs --reason")
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(
        self,
        *,
        schedule: bool,
        quota: bool,
        pause: str | None,
        resume: str | None,
        run: str | None,
        reason: str,
        **options: Any,
    ) -> Report:
        """Return the state of the queues, after the change if one was requested."""
        if pause:
            return queues.pause(context=self.context(reason))
        if resume:
            return queues.resume(context=self.context(reason))
        if run:
            return run_one(run, context=self.context(reason))
        if schedule:
            return queues.schedule_report()
        return engine.report() if quota else queues.report()

"""`manage.py queue`."""

from __future__ import annotations

from typing import Any

from ops import queues
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Show the state of the queues."""

    help = "Show the queues: messages in the broker, due rows and leases in Postgres. Example: manage.py queue --watch"
    can_watch = True

    def report(self, **options: Any) -> Report:
        """Return the state of the queues."""
        return queues.report()

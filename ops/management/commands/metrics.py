"""`manage.py metrics`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from ops import metrics
from relivchats.staff.commands import OpsCommand, duration
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Show the key metrics."""

    help = (
        "Show the six key metrics with their targets, the window before and a chart."
        " Exit with 1 if a target is missed. Example: manage.py metrics --since 7d"
    )
    can_watch = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--since` and `--routes`."""
        parser.add_argument(
            "--since", type=duration, default="24h", help="the window, such as 1h, 24h (default) or 30d"
        )
        parser.add_argument("--routes", action="store_true", help="list the requests of each route of the API instead")

    def report(self, *, since: timedelta, routes: bool, **options: Any) -> Report:
        """Return the metrics, or the routes."""
        return metrics.routes_report(since) if routes else metrics.report(since)

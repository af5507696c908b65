"""`manage.py engine`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import engine
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Show the engine, and check it by calls."""

    help = (
        "Show the engine that writes insights, where texts go and its quota; with --check, call each model once."
        " Example: manage.py engine --check"
    )
    can_watch = True
    changes = ("check",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--check`."""
        parser.add_argument("--check", action="store_true", help="make one small call per model, which may cost money")

    def report(self, *, check: bool, **options: Any) -> Report:
        """Return the state of the engine, or the result of the check."""
        return engine.check() if check else engine.report()

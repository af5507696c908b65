"""`manage.py engine`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import engine
from ops import usage as tokens
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
        """Add `--check` and `--usage`."""
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--check", action="store_true", help="make one small call per model, which may cost money")
        choice.add_argument(
            "--usage", action="store_true", help="the tokens of each model by day, and about their cost"
        )

    def report(self, *, check: bool, usage: bool, **options: Any) -> Report:
        """Return the state of the engine, the result of the check, or what the models were used for."""
        if usage:
            return tokens.report()
        return engine.check() if check else engine.report()

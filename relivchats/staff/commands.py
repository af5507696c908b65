"""The base class of the operators' commands."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from relivchats.errors import DomainError
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.reports import Level, Line, Report


class OpsCommand(BaseCommand):
    """A command that prints one report and exits with its level: 0 fine, 1 warning, 2 critical, 3 unknown.

    Subclasses parse their options and implement `report`. `--json` prints the report as JSON.
    """

    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return Django's parser with `--json` added."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--json", action="store_true", help="print the report as JSON")
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report. Raise CommandError with the sentence of a DomainError."""
        as_json = options.pop("json")
        try:
            report = self.report(**options)
        except DomainError as refusal:
            raise CommandError(refusal.detail) from None
        except (OperationalError, InterfaceError):
            line = Line("database", Level.UNKNOWN, "did not answer", remedy="manage.py health")
            report = Report("Unknown", lines=(line,))
        self.stdout.write(report.as_json() if as_json else report.as_text())
        if report.level is not Level.FINE:
            sys.exit(report.level.exit_status)

    def report(self, *args: Any, **options: Any) -> Report:
        """Return the report to print. May raise DomainError."""
        raise NotImplementedError

    def context(self, reason: str) -> ActionContext:
        """Return the context of a bulk action that this command runs; progress goes to stderr."""
        return ActionContext(
            actor="command", reason=reason, on_progress=lambda done: self.stderr.write(f"{done} so far")
        )

"""The base of the operators' commands: parse, call one function that returns a Report, print it, exit by its level."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from ops.deeds import Order
from ops.report import Level, Line, Report
from relivchats.errors import DomainError


class OpsCommand(BaseCommand):
    """Exits 0, 1, 2 or 3 for fine, warning, critical or could not tell. `--json` prints the same for machines."""

    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--json", action="store_true", help="print the report as JSON")
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options.pop("json")
        try:
            report = self.report(**options)
        except DomainError as refusal:
            raise CommandError(refusal.detail) from None
        except (OperationalError, InterfaceError):
            line = Line("database", Level.UNKNOWN, "did not answer", mend="manage.py health")
            report = Report("Could not tell", lines=(line,))
        self.stdout.write(report.as_json() if as_json else report.as_text())
        if report.level is not Level.FINE:
            sys.exit(report.level.exit_status)

    def report(self, *args: Any, **options: Any) -> Report:
        raise NotImplementedError

    def order(self, reason: str) -> Order:
        """What the command was told to do, with its progress on stderr."""
        return Order(actor="command", reason=reason, progress=lambda done: self.stderr.write(f"{done} so far"))

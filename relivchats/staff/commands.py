"""The base class of the operators' commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from relivchats import terminal
from relivchats.errors import DomainError
from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext
from relivchats.staff.reports import Level, Line, Report
from relivchats.terminal import Layout


class OpsCommand(BaseCommand):
    """A command that prints one report and exits with its level: 0 fine, 1 warning, 2 critical, 3 unknown.

    Subclasses parse their options and implement `report`. `--json` prints the report as JSON.
    """

    # They import every URL and admin module, which takes longer than most of these commands.
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
            # Unknown, not critical: a monitor must not take a restart of Postgres for a broken ledger.
            line = Line("database", Level.UNKNOWN, "did not answer", remedy="manage.py health")
            report = Report("Unknown", lines=(line,))
        if as_json:
            self.stdout.write(report.as_json())
        else:
            self.stdout.write(report.as_text(Layout.for_stream(self.stdout) if self.stdout.isatty() else None))
        if report.level is not Level.FINE:
            sys.exit(report.level.exit_status)

    def report(self, *args: Any, **options: Any) -> Report:
        """Return the report to print. May raise DomainError."""
        raise NotImplementedError

    def context(self, reason: str) -> ActionContext:
        """Return the context of a bulk action of this command; its progress is shown on stderr."""
        return ActionContext(actor="command", reason=reason, progress=self._progress)

    @contextmanager
    def _progress(self, title: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
        with terminal.progress(title, total=total, stream=self.stderr) as update:
            if self.stderr.isatty():
                yield update
            else:
                # A log gets one line per batch, not one per row.
                yield lambda done: update(done) if done % BATCH_SIZE == 0 or done == total else None

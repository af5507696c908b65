"""The base class of the operators' commands."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import InterfaceError, OperationalError

from relivchats import durations, terminal
from relivchats.errors import DomainError
from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext
from relivchats.staff.reports import Level, Line, Report
from relivchats.terminal import Layout

#: Before the example at the end of `help`.
EXAMPLE = "Example: "
#: Between two reports of `--watch`.
WATCH_SECONDS = 5
#: Nothing here is older, and dates end.
MAX_DURATION = timedelta(days=3650)
#: Of Postgres' integers, such as process ids.
MAX_INTEGER = 2**31 - 1


def duration(text: str) -> timedelta:
    """Return the duration of an option such as `--since 1h`. Raise ArgumentTypeError."""
    try:
        parsed = durations.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not timedelta() < parsed <= MAX_DURATION:
        raise argparse.ArgumentTypeError(f"{text} is not between 1s and {MAX_DURATION.days}d")
    return parsed


def number(*, minimum: int = 1, maximum: int = MAX_INTEGER) -> Callable[[str], int]:
    """Return the type of an option with a whole number. It raises ArgumentTypeError."""

    def parse(text: str) -> int:
        if not (text.isdecimal() and len(text) <= 10 and minimum <= int(text) <= maximum):
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """Return the seconds of an option such as `--watch 10`. Raise ArgumentTypeError."""
    with contextlib.suppress(ValueError):
        # float() also accepts inf and nan.
        if 0 <= float(text) <= MAX_DURATION.total_seconds():
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is no number of seconds")


class _HelpFormatter(DjangoHelpFormatter):
    """Django's formatter; an example is one line, however long, so that it can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(EXAMPLE) else super()._fill_text(text, width, indent)


class CommandWithExample(BaseCommand):
    """A command whose `--help` ends with the example that its `help` ends with."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return Django's parser with the example below the options, where a terminal shows it."""
        kwargs.setdefault("formatter_class", _HelpFormatter)
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.description, example, words = self.help.partition(f" {EXAMPLE}")
        parser.epilog = f"{example.lstrip()}{words}"
        return parser


class OpsCommand(CommandWithExample):
    """A command that prints one report and exits with its level: 0 fine, 1 warning, 2 critical, 3 unknown.

    Subclasses parse their options and implement `report`. `--json` prints the report as JSON, and nothing else on
    stdout. `can_watch` adds `--watch`, which the options in `changes` exclude: they change something. `help` ends with
    an example.
    """

    can_watch = False
    changes: tuple[str, ...] = ()

    # They work, but --help lists only what is the command's own.
    suppressed_base_arguments = {
        "--version",
        "--verbosity",
        "--settings",
        "--pythonpath",
        "--traceback",
        "--no-color",
        "--force-color",
    }

    # They import every URL and admin module, which takes longer than most of these commands.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser with `--json` added."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--json", action="store_true", help="print the report as JSON")
        if self.can_watch:
            parser.add_argument(
                "--watch",
                nargs="?",
                type=seconds,
                const=WATCH_SECONDS,
                metavar="SECONDS",
                help=f"print the report again every {WATCH_SECONDS} s, or so many, until Ctrl-C",
            )
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report, with `--watch` again and again. Exit with its level, if that is not fine."""
        as_json, watch = options.pop("json"), options.pop("watch", None)
        # False also stands for an option that is not given, and None, and no values.
        if watch is not None and (
            chosen := [name for name in self.changes if options.get(name) or options.get(name) == 0]
        ):
            raise CommandError(f"--watch repeats a report, and --{chosen[0].replace('_', '-')} changes something.")
        level = self._print_report(as_json=as_json, options=options)
        with contextlib.suppress(KeyboardInterrupt):
            while watch is not None:
                time.sleep(max(watch, 1))
                if self.stdout.isatty() and not as_json:
                    self.stdout.write("\x1b[H\x1b[2J", ending="")
                level = self._print_report(as_json=as_json, options=options)
        if level is not Level.FINE:
            sys.exit(level.exit_status)

    def _print_report(self, *, as_json: bool, options: dict[str, Any]) -> Level:
        """Print the report and return its level. Raise CommandError with the sentence of a DomainError."""
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
        self.stdout.flush()
        return report.level

    def report(self, *args: Any, **options: Any) -> Report:
        """Return the report to print. May raise DomainError."""
        raise NotImplementedError

    def context(self, reason: str) -> ActionContext:
        """Return the context of a bulk action of this command; its progress is shown on stderr."""
        return ActionContext(actor="command", reason=reason, progress=self._progress)

    @contextlib.contextmanager
    def _progress(self, title: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
        with terminal.progress(title, total=total, stream=self.stderr) as update:
            if self.stderr.isatty():
                yield update
            else:
                # A log gets one line per batch, not one per row.
                yield lambda done: update(done) if done % BATCH_SIZE == 0 or done == total else None

"""The base class of the operators' commands."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import InterfaceError, OperationalError

from relivchats import durations, installation, terminal
from relivchats.errors import DomainError
from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext
from relivchats.staff.reports import Level, Line, Report
from relivchats.terminal import Layout

#: Before the example at the end of `help`.
EXAMPLE = "Example: "
#: Between two reports of `--watch`.
WATCH_SECONDS = 5
#: The exit status if the command line is malformed, or what it asks for is refused. 1 to 3 are levels of a report.
EXIT_REFUSED = os.EX_USAGE
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


class _Parser(CommandParser):
    """Django's parser, with our exit status, and a sentence about a value such as -5h."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the options. A value such as -5h belongs to the option before it, as -5 does."""
        joined: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            if re.match(r"-\d+[a-z]", word) and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return super().parse_args(joined, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit. Raise CommandError in `call_command`."""
        if not self.called_from_command_line:
            raise CommandError(f"Error: {message}", returncode=EXIT_REFUSED)
        self.print_usage(sys.stderr)
        self.exit(EXIT_REFUSED, f"{self.prog}: error: {message}\n")


class CommandWithExample(BaseCommand):
    """A command whose `--help` ends with the example that its `help` ends with. It exits with 64 if it refuses."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return Django's parser with the example below the options, where a terminal shows it."""
        kwargs.setdefault("formatter_class", _HelpFormatter)
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        # Django names the class itself.
        parser.__class__ = _Parser
        parser.description, example, words = self.help.partition(f" {EXAMPLE}")
        parser.epilog = f"{example.lstrip()}{words}"
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command. A CommandError that names no other status gets EXIT_REFUSED."""
        try:
            output: str | None = super().execute(*args, **options)
        except CommandError as refusal:
            if refusal.returncode == CommandError().returncode:
                refusal.returncode = EXIT_REFUSED
            raise
        return output


class OpsCommand(CommandWithExample):
    """A command that prints one report and exits with its level: 0 fine, 1 warning, 2 critical, 3 unknown.

    It exits with 0 after a change that succeeded, with 64 if it refuses, and with 2 if it fails. If the database does
    not answer, it exits with 3, also if it was to change something.
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
        status = self._print_report(as_json=as_json, options=options)
        with contextlib.suppress(KeyboardInterrupt):
            while watch is not None:
                time.sleep(max(watch, 1))
                if self.stdout.isatty() and not as_json:
                    self.stdout.write("\x1b[H\x1b[2J", ending="")
                status = self._print_report(as_json=as_json, options=options)
        if status:
            sys.exit(status)

    def _print_report(self, *, as_json: bool, options: dict[str, Any]) -> int:
        """Print the report and return its exit status. Raise CommandError with the sentence of a DomainError."""
        try:
            report = self.report(**options)
        except DomainError as refusal:
            # One that is our fault, or a provider's, is no refusal: cron and monitors must notice it.
            status = EXIT_REFUSED if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR else Level.CRITICAL.exit_status
            raise CommandError(refusal.detail, returncode=status) from None
        except (OperationalError, InterfaceError):
            # Unknown, not critical: a monitor must not take a restart of Postgres for a broken ledger.
            line = Line("database", Level.UNKNOWN, "did not answer", remedy="manage.py health")
            if installation.is_nothing_running():
                line = Line("installation", Level.UNKNOWN, installation.nothing_runs(), installation.start_all())
            report = Report("Unknown", lines=(line,))
        if as_json:
            self.stdout.write(report.as_json())
        else:
            self.stdout.write(report.as_text(Layout.for_stream(self.stdout) if self.stdout.isatty() else None))
        self.stdout.flush()
        return 0 if report.has_changed else report.level.exit_status

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

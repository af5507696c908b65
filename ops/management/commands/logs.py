"""`manage.py logs`."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandParser

from ops import log_files
from relivchats import durations, installation
from relivchats.staff.commands import OpsCommand, duration, number


class Command(OpsCommand):
    """Show the last lines of the logs."""

    help = (
        "Show the last lines of the logs of `./dev up`. In containers, print the command that shows them."
        " Example: manage.py logs worker --grep error --follow"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        known = ", ".join(installation.PARTS)
        parser.add_argument("part", nargs="*", type=_part, metavar="PART", help=f"{known}; default: all of them")
        parser.add_argument(
            "--lines", type=number(maximum=log_files.MAX_LINES), default=100, help="lines of each log (default 100)"
        )
        parser.add_argument("--since", type=duration, help="only lines of the last 30m, 1h, …")
        parser.add_argument("--grep", default="", metavar="TEXT", help="only lines with this text; | separates several")
        parser.add_argument("--follow", action="store_true", help="then print new lines until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the lines, or the command for Docker."""
        parts = options["part"] or installation.PARTS
        logs = log_files.paths(parts) if installation.kind() is installation.Kind.DEV else {}
        if not logs:
            self.stdout.write(self._elsewhere(parts, options))
            return
        lines, since, grep = options["lines"], options["since"], options["grep"]
        found = {part: log_files.last_lines(path, lines=lines, since=since, grep=grep) for part, path in logs.items()}
        if options["json"]:
            self.stdout.write(json.dumps(found, ensure_ascii=False, indent=2))
            return
        for part, shown in found.items():
            for line in shown:
                self._print(part, line, named=len(logs) > 1)
        if options["follow"]:
            with suppress(KeyboardInterrupt):
                for part, line in log_files.follow(logs, grep=grep):
                    self._print(part, line, named=len(logs) > 1)

    def _print(self, part: str, line: str, *, named: bool) -> None:
        self.stdout.write(f"{part:<8}  {line}" if named else line)
        self.stdout.flush()

    def _elsewhere(self, parts: Any, options: dict[str, Any]) -> str:
        if installation.kind() is installation.Kind.DEV:
            return "There is no log yet: ./dev up writes them."
        since = options["since"]
        return log_files.docker_command(
            parts,
            lines=options["lines"],
            since=durations.format_short(since).replace(" ", "").replace("min", "m") if since else "",
            grep=options["grep"],
            following=options["follow"],
        )


def _part(text: str) -> str:
    if text not in installation.PARTS:
        raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(installation.PARTS)}")
    return text

"""`manage.py errors`."""

from __future__ import annotations

import json
import time
from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError, connection

from ops import errors
from relivchats.errors import DomainError
from relivchats.logs import is_request_id
from relivchats.staff.commands import OpsCommand, duration, number
from relivchats.staff.reports import Report, Table

FOLLOW_SECONDS = 1.0
DEFAULT_SINCE = timedelta(hours=1)
#: The options that select events. `--request` selects them by itself.
_SELECTING = ("since", "user", "grep", "refusals")


class Command(OpsCommand):
    """List the warnings and errors of all processes."""

    help = (
        "List the warnings and errors of web, workers, beat and commands, grouped by cause."
        " Example: manage.py errors --since 1h --grep 'RESOURCE_EXHAUSTED|failed after'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--since", type=duration, default=None, help="how far back, such as 30m, 1h (default) or 7d"
        )
        parser.add_argument("--user", default="", metavar="EMAIL|ID", help="only those of one person")
        parser.add_argument("--grep", default="", metavar="TEXT", help="only those with this text; | separates several")
        parser.add_argument(
            "--refusals",
            action="store_true",
            help="also refused uploads, such as files that are no export, unlocks and logins",
        )
        parser.add_argument(
            "--request", type=_request_id, metavar="ID", help="list all events of this request, whenever it was"
        )
        parser.add_argument("--list", action="store_true", help="list each one instead of groups")
        parser.add_argument("--limit", type=number(), default=50, help="lines at most (default 50)")
        parser.add_argument("--follow", action="store_true", help="then print new ones until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report, or new events as they are written."""
        if options["request"]:
            if options["follow"]:
                raise CommandError("--request lists the events of a request that has ended; --follow prints new ones.")
            if chosen := [name for name in _SELECTING if options[name]]:
                raise CommandError(f"--request lists all events of the request: leave out --{chosen[0]}.")
        if options["since"] is None:
            options["since"] = DEFAULT_SINCE
        if not options.pop("follow"):
            super().handle(*args, **options)
            return
        with suppress(KeyboardInterrupt):
            self._follow(**options)

    def report(
        self,
        *,
        since: timedelta,
        user: str,
        grep: str,
        refusals: bool,
        request: str | None,
        limit: int,
        **options: Any,
    ) -> Report:
        """Return the groups, or with `--list` or `--request` the events."""
        if request:
            return errors.request_report(request, limit=limit)
        rows = errors.select(since=since, user=user, grep=grep, refusals=refusals)
        return errors.events_report(rows, limit=limit) if options["list"] else errors.groups_report(rows, limit=limit)

    def _follow(
        self, *, since: timedelta, user: str, grep: str, refusals: bool, limit: int, json: bool, **_: Any
    ) -> None:
        latest = -1
        while True:
            try:
                rows = errors.select(since=since, user=user, grep=grep, refusals=refusals)
                if latest < 0:
                    # As `tail -f` does, start with a few old ones.
                    newest = rows.order_by("-pk").values_list("pk", flat=True)[:limit]
                    latest = min(newest, default=0) - 1
                for event in errors.newer(rows, than=latest):
                    latest = event.pk
                    self._print(errors.event_cells(event), as_json=json)
            except DomainError as refusal:
                raise CommandError(refusal.detail) from None
            except (OperationalError, InterfaceError):
                connection.close()
            time.sleep(FOLLOW_SECONDS)

    def _print(self, cells: tuple[Any, ...], *, as_json: bool) -> None:
        (row,) = Table(errors.EVENT_COLUMNS, (cells,)).as_json()
        if as_json:
            self.stdout.write(json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False))
        else:
            self.stdout.write("  ".join(str(value) for value in cells if value))
        self.stdout.flush()


def _request_id(text: str) -> str:
    if not is_request_id(text):
        raise ArgumentTypeError(f"{text} is no request id: 8 to 64 letters, digits, dots, underscores or hyphens")
    return text

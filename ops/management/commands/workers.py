"""`manage.py workers`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import workers
from relivchats import installation
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List the processes, or replace one."""

    help = (
        "List web, workers and beat: alive or frozen, memory, leases and what each thread does."
        " Example: manage.py workers --restart worker"
    )
    can_watch = True
    changes = ("restart", "stop")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--tasks`, `--restart` and `--stop`."""
        parser.add_argument("--tasks", action="store_true", help="the tasks that workers know, and their schedule")
        parser.add_argument(
            "--restart",
            choices=installation.PARTS,
            help="end this part of ./dev up, also if it is frozen, and wait until the new process is alive",
        )
        parser.add_argument("--stop", metavar="NAME", help="end one process of this machine, such as beat@host:41")

    def report(self, *, tasks: bool, restart: str | None, stop: str | None, **options: Any) -> Report:
        """Return the processes, or what was ended."""
        if restart:
            self.stderr.write(f"waits until the new process is alive, at most {workers.START_SECONDS} s")
            return workers.restart(restart)
        if stop:
            return workers.stop(stop)
        return workers.tasks_report() if tasks else workers.report()

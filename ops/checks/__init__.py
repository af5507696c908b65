"""The checks of `health`: each a function that asks one thing and answers with one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ops.checks import adjustments, broker, database, ledger, machine, payments, processes, work
from relivchats.staff.reports import Level, Line


@dataclass(frozen=True)
class Check:
    """`silence` is what it means when no answer comes in time."""

    name: str
    ask: Callable[[], Line]
    silence: Level = Level.UNKNOWN
    remedy: str = "manage.py health"


_DATABASE = "docker-compose up -d postgres; then docker-compose logs --tail=50 postgres"

#: In the order in which they are asked and shown.
ALL = (
    Check("database", database.answers, silence=Level.CRITICAL, remedy=_DATABASE),
    Check("broker", broker.answers, silence=Level.CRITICAL, remedy=broker.MEND),
    Check("disk", machine.disk),
    Check("ledger", ledger.clean, remedy="manage.py ledger"),
    Check("payments", payments.credited, remedy=payments.MEND),
    Check("adjustments", adjustments.decided),
    Check("connections", database.connections),
    Check("migrations", database.migrations, remedy="manage.py migrate --plan"),
    Check("keys", database.keys),
    Check("workers", processes.workers),
    Check("beat", processes.beat),
    Check("canary", processes.canary),
    Check("queue", work.queue, remedy="manage.py queue"),
    Check("vectors", work.vectors, remedy="manage.py reindex --status"),
    Check("reservations", work.reservations, remedy="manage.py reservations --stuck"),
    Check("insights", work.insights, remedy="manage.py insights --failed"),
    Check("jobs", work.jobs, remedy="manage.py jobs --stuck"),
)

#: What `--verbose` adds.
MORE = (
    Check("memory", machine.memory),
    Check("processor", machine.processor),
)

READY = tuple(check for check in ALL if check.name == "database")
CONNECTIONS = tuple(check for check in ALL if check.name == "connections")

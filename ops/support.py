"""A zip file for an engineer who helps from outside: the state of the installation, and nothing private."""

from __future__ import annotations

import json
import os
import platform
import zipfile
from collections.abc import Callable
from datetime import timedelta
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error, connection
from django.db.migrations.recorder import MigrationRecorder
from redis.exceptions import RedisError

from ops import errors, health, metrics, queues, sessions, tables, workers
from ops.activity import version
from ops.models import CheckState, LedgerAudit
from relivchats import clock, environment, installation
from relivchats.errors import Conflict
from relivchats.staff.reports import Level, Line, Report, Table

MAX_STATES = 500
MAX_GROUPS = 200


def write(path: Path) -> Report:
    """Write the zip file, and return what it contains. A part that fails names its error instead.

    Raise Conflict if the file exists or cannot be written.
    """
    rows = []
    try:
        # Exclusive, and readable by its owner only.
        with (
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle,
        ):
            for name, collect in PARTS.items():
                try:
                    text = collect()
                except (Error, RedisError, OSError, LookupError) as error:
                    # Without its text, which may contain a value.
                    text = json.dumps({"failed": type(error).__name__})
                bundle.writestr(name, text)
                rows.append((name, len(text)))
    except FileExistsError:
        raise Conflict(f"{path} exists. Name another file.") from None
    except OSError as error:
        raise Conflict(f"{path} cannot be written: {error.strerror}.") from None
    line = Line("written", Level.FINE, f"{path}, {path.stat().st_size} bytes; look at it before you send it")
    return Report("Support bundle", (line,), Table(("file", "characters"), tuple(rows)))


def _as_json(document: Any) -> str:
    return json.dumps(document, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)


def _versions() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        (postgres,) = cursor.fetchone()
    migrations = MigrationRecorder.Migration.objects.order_by("-applied")[:50].values("app", "name", "applied")
    return _as_json(
        {
            "relivchats": version(),
            "installation": installation.kind(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "postgres": postgres,
            "packages": {each.name: each.version for each in packages.distributions()},
            "migrations": list(migrations),
            "written_at": clock.now(),
        }
    )


def _setting_names() -> str:
    """Return the names of the settings that the environment or `./dev` sets, without their values."""
    # Not read one by one: the addresses of the servers.
    known = environment.names | {"DATABASE_OWNER_URL", "DATABASE_URL", "REDIS_URL"}
    given = sorted(name for name in known if os.environ.get(name))
    derived = {"DATABASE_OWNER_URL", "DATABASE_URL", "ENCRYPTION_KEYS", "KEY_STORE_DIR", "SECRET_KEY"}
    by_dev = (derived if settings.EMBEDDED else set()) | {"REDIS_URL"}
    lines = [*given, *(f"{name} (by ./dev)" for name in sorted(by_dev.difference(given)))]
    return "\n".join(lines) + "\n"


def _history() -> str:
    states = CheckState.objects.order_by("-since").values("name", "level", "text", "since")[:MAX_STATES]
    audits = LedgerAudit.objects.order_by("-ended_at").values("complete", "ended_at", "milliseconds", "broken")[:50]
    return _as_json({"checks": list(states), "ledger_audits": list(audits)})


PARTS: dict[str, Callable[[], str]] = {
    "health.json": lambda: health.report(verbose=True).as_json(),
    "versions.json": _versions,
    "settings.txt": _setting_names,
    "errors.json": lambda: errors.groups_report(errors.select(since=timedelta(days=7)), limit=MAX_GROUPS).as_json(),
    "metrics.json": lambda: metrics.report(timedelta(days=1)).as_json(),
    "routes.json": lambda: metrics.routes_report(timedelta(days=1)).as_json(),
    "history.json": _history,
    "processes.json": lambda: workers.report().as_json(),
    "schedule.json": lambda: queues.schedule_report().as_json(),
    "queue.json": lambda: queues.report().as_json(),
    "tables.json": lambda: tables.report().as_json(),
    "sessions.json": lambda: sessions.report().as_json(),
}

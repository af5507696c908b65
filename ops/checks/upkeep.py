"""Checks of what nobody looks at: growth, logs, clocks, pruning, the catalogue, certificates, backups, key ages."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType

from cryptography import x509
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from chats import keys
from ops import backups, samples
from ops.checks.registry import health_check
from ops.models import Heartbeat
from ops.monitoring_models import Sample
from relivchats import durations, embedded, installation
from relivchats.staff.reports import Level, Line

_MIB = 1024 * 1024
_HOUR = timedelta(hours=1)
#: Right after a start, memory always grows.
_MIN_SAMPLES = 45
#: Beat sends the task every hour.
_MAX_UNPRUNED = timedelta(hours=3)
_CERTIFICATE_WARNING, _CERTIFICATE_CRITICAL = timedelta(days=21), timedelta(days=3)


@health_check("growth", page="/admin/ops/sample/", remedy="manage.py health --verbose")
def growth() -> Line:
    """Return how fast the memory of web, workers and beat grew within the last hour."""
    limit = settings.HEALTH_MEMORY_GROWTH_MB
    slopes: dict[str, int] = {}
    for role in ("web", "worker", "beat"):
        name = f"memory_{role}_bytes"
        if Sample.objects.filter(name=name, at__gte=Now() - _HOUR).count() >= _MIN_SAMPLES:
            slopes[role] = round((samples.slope_per_hour(name, _HOUR) or 0) / _MIB)
    threshold = f"over {limit} MiB in an hour warns"
    if not slopes:
        return Line("growth", Level.FINE, "not measured for an hour yet", threshold=threshold)
    text = ", ".join(f"{role} {slope:+} MiB in an hour" for role, slope in slopes.items())
    role, slope = max(slopes.items(), key=lambda item: item[1])
    if slope > limit:
        return Line("growth", Level.WARNING, text, installation.restart(role), slopes, slope, threshold)
    return Line("growth", Level.FINE, text, "", slopes, slope, threshold)


@health_check("logs", needs=())
def logs() -> Line:
    """Return the size of the log files. In containers there are none: docker keeps what they print."""
    directory, limit = embedded.data_directory() / "logs", settings.HEALTH_LOGS_WARNING_MB
    sizes = {path.name: path.stat().st_size for path in directory.glob("*") if path.is_file()}
    total, threshold = sum(sizes.values()) // _MIB, f"over {limit} MiB warns"
    if total > limit:
        largest = max(sizes, key=lambda name: sizes[name])
        text = f"{total} MiB of logs, {sizes[largest] // _MIB} MiB in {largest}"
        return Line("logs", Level.WARNING, text, f"truncate -s 0 '{directory / largest}'", {}, total, threshold)
    return Line("logs", Level.FINE, f"{total} MiB of logs", "", {}, total, threshold)


@health_check("clock")
def clock() -> Line:
    """Return the difference between the clocks of the database and of this machine. Leases use the database's only."""
    connection.ensure_connection()
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
        theirs = cursor.fetchone()[0]
    seconds = round(theirs - (before + time.time()) / 2, 1)
    threshold = f"over {settings.HEALTH_CLOCK_SECONDS} s warns"
    if abs(seconds) > settings.HEALTH_CLOCK_SECONDS:
        text = f"the database is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} this machine"
        return Line("clock", Level.WARNING, text, "timedatectl set-ntp true", {}, seconds, threshold)
    return Line("clock", Level.FINE, "the database and this machine agree", "", {}, seconds, threshold)


@health_check("retention", needs=("database", "broker", "workers", "beat"), page="/admin/ops/heartbeat/")
def retention() -> Line:
    """Return how long ago old rows were pruned."""
    rows = Heartbeat.objects.annotate(age=Now() - F("beat_at"), running_for=Now() - F("started_at"))
    latest = rows.filter(kind=Heartbeat.Kind.RETENTION).first()
    threshold = f"{durations.format_short(_MAX_UNPRUNED)} without it warns"
    if latest is None:
        # Beat sends the first one an hour after it started.
        beat = rows.filter(kind=Heartbeat.Kind.BEAT).order_by("started_at").first()
        if beat is None or vars(beat)["running_for"] < _MAX_UNPRUNED:
            return Line("retention", Level.FINE, "runs every hour; not yet", threshold=threshold)
        text = "old rows were never pruned"
    else:
        age: timedelta = vars(latest)["age"]
        text = f"old rows were pruned {durations.format_short(age)} ago"
        if age < _MAX_UNPRUNED:
            return Line("retention", Level.FINE, text, "", {}, round(age.total_seconds()), threshold)
    return Line("retention", Level.WARNING, text, installation.restart("beat"), threshold=threshold)


def _catalogue_files() -> ModuleType:
    # It loads pydantic, which takes 0.35 s and which the web process does not need at startup.
    return import_module("insights.catalogue")


@health_check("catalogue", page="/admin/insights/insighttype/", prepare=lambda: _catalogue_files().read_digests())
def catalogue() -> Line:
    """Return the categories and insight types of this release that the database does not have."""
    if unloaded := _catalogue_files().find_unloaded():
        verb = "differs" if len(unloaded) == 1 else "differ"
        text = f"{len(unloaded)} {verb} from the files of this release, such as {unloaded[0]}"
        return Line("catalogue", Level.WARNING, text, "manage.py load_catalogue", {"unloaded": unloaded}, len(unloaded))
    return Line("catalogue", Level.FINE, "as in the files of this release, besides edits of staff", value=0)


@health_check("certificates", needs=())
def certificates() -> Line:
    """Return the certificate of HEALTH_CERTIFICATES that ends first."""
    threshold = f"{_CERTIFICATE_WARNING.days} days before warns, {_CERTIFICATE_CRITICAL.days} days before is critical"
    remedy = "certbot renew  # or as it was made"
    ends: dict[str, datetime] = {}
    for path in settings.HEALTH_CERTIFICATES:
        try:
            ends[path] = x509.load_pem_x509_certificate(Path(path).read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            text = f"{path} cannot be read: {type(error).__name__}"
            return Line("certificates", Level.WARNING, text, "correct HEALTH_CERTIFICATES", threshold=threshold)
    if not ends:
        return Line("certificates", Level.FINE, "none to watch: HEALTH_CERTIFICATES is not set", threshold=threshold)
    path = min(ends, key=lambda name: ends[name])
    left = ends[path] - datetime.now(UTC)
    text = f"{path} ends on {ends[path]:%Y-%m-%d}"
    if left >= _CERTIFICATE_WARNING:
        return Line("certificates", Level.FINE, text, "", {}, left.days, threshold)
    level = Level.CRITICAL if left < _CERTIFICATE_CRITICAL else Level.WARNING
    return Line("certificates", level, text, remedy, {}, left.days, threshold)


@health_check("backup", page="/admin/staff/auditentry/", remedy="manage.py backup --help")
def backup() -> Line:
    """Return how old the newest backup is."""
    return backups.age_line()


@health_check("rotation", page="/admin/staff/auditentry/", remedy="manage.py keys")
def rotation() -> Line:
    """Return for how long the current key of ENCRYPTION_KEYS has been in use."""
    days = settings.HEALTH_KEY_AGE_DAYS
    threshold = f"in use for more than {days} days warns" if days else "HEALTH_KEY_AGE_DAYS is 0"
    name, age = keys.current_age()
    if age is None:
        return Line("rotation", Level.FINE, f"{name} is new: beat notes when it was first used", threshold=threshold)
    text = f"{name} has been in use for {durations.format_short(age)}"
    if days and age > timedelta(days=days):
        # A comment: the new key is a secret that nobody but the operator should see.
        remedy = "manage.py keys --rotate  # after you put a new key in front: docs/settings.md, Secrets"
        return Line("rotation", Level.WARNING, text, remedy, {}, age.days, threshold)
    return Line("rotation", Level.FINE, text, "", {}, age.days, threshold)

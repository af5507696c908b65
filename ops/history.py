"""The history of the health checks: since when each has its level, and how often it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from ops.models import CheckState
from relivchats.staff.reports import Level, Line

#: The window in which changes are counted.
FLAPPING_WINDOW = timedelta(hours=1)
#: Identifies our lock among Postgres' advisory locks: two recorders at once would both add a change.
_LOCK = 0x72656C_6373


def record(lines: Sequence[Line]) -> None:
    """Add a row for each line whose level differs from that of its newest row. Another recorder at work does it too.

    A check that did not finish has found no new level.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # An abandoned transaction of a recorder, or a locked table, must not make `health` wait.
        cursor.execute("SET LOCAL lock_timeout = '300ms'; SET LOCAL statement_timeout = '500ms'")
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return
        newest = CheckState.objects.order_by("name", "-since", "-pk").distinct("name")
        levels = dict(newest.values_list("name", "level"))
        CheckState.objects.bulk_create(
            CheckState(name=line.name, level=line.level, text=line.text[:300])
            for line in lines
            if levels.get(line.name) != line.level and not line.is_unfinished
        )


def annotate(lines: Sequence[Line]) -> list[Line]:
    """Return the lines with `since`, `age`, `bad_for` and `changes`, if they were recorded with their present level.

    A finding with a level that is not recorded has only `bad_for`: since it was last recorded as fine, or else zero.
    While beat is dead nothing is recorded, and what was not fine before that does not follow from it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT ON (name) name, level, since, clock_timestamp() - since,
                clock_timestamp() - min(since) FILTER (WHERE level <> 'fine' AND since > coalesce(fine_at, '-infinity'))
                    OVER (PARTITION BY name),
                count(*) FILTER (WHERE since > now() - make_interval(secs => %s)) OVER (PARTITION BY name)
            FROM (
                SELECT *, max(since) FILTER (WHERE level = 'fine') OVER (PARTITION BY name) AS fine_at FROM check_states
            ) AS states
            ORDER BY name, since DESC, id DESC
            """,
            [FLAPPING_WINDOW.total_seconds()],
        )
        states = {row[0]: row[1:] for row in cursor.fetchall()}
    annotated = []
    for line in lines:
        level, since, age, bad_for, changes = states.get(line.name, (None, None, None, None, 0))
        if level == line.level:
            annotated.append(replace(line, since=since, age=age, bad_for=bad_for, changes=changes))
        elif line.level is Level.FINE or line.is_unfinished:
            annotated.append(line)
        else:
            annotated.append(replace(line, bad_for=bad_for or timedelta()))
    return annotated


def prune() -> int:
    """Remove the states of more than MONITORING_DAYS ago, but the newest of each check. Return their number."""
    newest = CheckState.objects.order_by("name", "-since", "-pk").distinct("name").values("pk")
    old = CheckState.objects.filter(since__lt=Now() - timedelta(days=settings.MONITORING_DAYS)).exclude(pk__in=newest)
    removed, _ = old.delete()
    return removed


def is_recordable(lines: Sequence[Line]) -> bool:
    """Return whether the database answered these checks, so that their states can be recorded."""
    return any(line.name == "database" and line.level is not Level.CRITICAL for line in lines)

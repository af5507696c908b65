"""The check of the engine that writes insights."""

from __future__ import annotations

from ops import engine as operators_view
from ops.checks.registry import health_check
from relivchats.staff.reports import Line


@health_check("engine", needs=("database", "broker"), remedy="manage.py engine", page="/admin/insights/insightattempt/")
def engine() -> Line:
    """Return the last known state of the engine. It calls no provider."""
    return operators_view.health_line()


@health_check("retirement", needs=(), remedy="manage.py engine")
def retirement() -> Line:
    """Return the model in use whose provider retires it soon."""
    return operators_view.retirement_line()

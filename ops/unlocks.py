"""Whether insights can be unlocked now, how many unlocks were refused within the hour, and the switch of staff."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from django.db.models import Sum
from django.db.models.functions import Now

from insights import admission, availability, pauses
from insights.models import UnlockPause
from insights.unlocking import REFUSED
from ops.monitoring_models import ErrorEvent
from relivchats import durations
from relivchats.errors import Conflict
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.reports import Level, Line, Report, Table

_WINDOW = timedelta(hours=1)


def line() -> Line:
    """Return whether a person without unfinished insights can unlock some now, who paused that, and what was refused.

    `refused` in the data has the number of unlocks that were refused within the hour, by reason.
    """
    level, text, remedy, reason = _state()
    refused = refused_by_reason()
    if refused:
        listed = ", ".join(f"{number} {why}" for why, number in refused.items())
        text = f"{text}; refused within an hour: {listed}"
    return Line("unlocks", level, text, remedy, {"reason": reason, "refused": refused}, sum(refused.values()))


def _state() -> tuple[Level, str, str, str]:
    """Return the level, the text, the remedy and the reason code of the state at this moment."""
    if lasting := UnlockPause.objects.active().annotate(looked_at=Now()).first():
        age = durations.format_short(vars(lasting)["looked_at"] - lasting.paused_at)
        text = f"paused for {age} by {lasting.paused_by}"
        return Level.WARNING, text, "manage.py unlocks --resume", availability.PAUSED
    if paused := pauses.dispatch_pause():
        age = durations.format_short(vars(paused)["age"])
        text = f"refused: insights are paused for {age} by {paused.paused_by}"
        return Level.WARNING, text, "manage.py queue --resume insights", availability.PAUSED
    if unavailability := availability.find_unavailability():
        return Level.WARNING, f"refused: {unavailability.reason}", "manage.py engine --check", unavailability.reason
    if refusal := admission.find_refusal():
        return Level.WARNING, f"refused: {refusal.reason}", "manage.py queue", refusal.reason
    return Level.FINE, "accepted", "", ""


def refused_by_reason() -> dict[str, int]:
    """Return the number of unlocks and retries of customers that were refused within the hour, the largest first."""
    events = ErrorEvent.objects.filter(at__gte=Now() - _WINDOW, event=REFUSED)
    counted = events.order_by().values_list("code").annotate(number=Sum("times")).order_by("-number", "code")
    return dict(counted)


def report() -> Report:
    """Return whether insights can be unlocked now, and the ten newest pauses."""
    pauses_table = Table(
        ("paused at", "by", "reason", "resumed at", "resumed by"),
        tuple(
            (row.paused_at, row.paused_by, row.reason, row.resumed_at, row.resumed_by)
            for row in UnlockPause.objects.order_by("-paused_at")[:10]
        ),
    )
    return Report("Unlocks", (line(),), pauses_table)


def pause(*, context: ActionContext) -> Report:
    """Pause unlocks and return the report. Raise Conflict without a reason, or if they are paused already."""
    pauses.pause(context=context)
    return replace(report(), has_changed=True)


def resume(*, context: ActionContext) -> Report:
    """Resume unlocks and return the report. Raise Conflict if they are not paused."""
    if not pauses.resume(UnlockPause.objects.active(), context=context).done:
        raise Conflict("Unlocks are not paused.")
    return replace(report(), has_changed=True)

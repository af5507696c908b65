"""The switches of staff for unlocks and for dispatch.

While either is paused, unlocks and retries are refused before coins are reserved. While unlocks are paused, open jobs
continue. While dispatch is paused they wait: no insight is given to a worker, and those that are being generated end.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from insights.models import DispatchPause, UnlockPause
from relivchats.errors import Conflict
from relivchats.staff.bulk_actions import ActionContext, ActionResult, BatchResult, record, run_batch


def pause(*, context: ActionContext) -> UnlockPause:
    """Pause unlocks. Raise Conflict without a reason, or if they are paused already."""
    reason = context.reason.strip()
    if not reason:
        raise Conflict("Unlocks are paused only for a reason. Give one; the audit log stores it.")
    with transaction.atomic():
        try:
            # The constraint decides between two at the same time. A savepoint, so that the caller can go on.
            with transaction.atomic():
                created = UnlockPause.objects.create(reason=reason[:200], paused_by=context.actor)
        except IntegrityError:
            raise Conflict("Unlocks are paused already.") from None
        record("pause unlocks", ActionResult(str(created.pk), done=True, outcome="paused"), context=context)
    return created


def resume(pauses: QuerySet[UnlockPause], *, context: ActionContext) -> BatchResult:
    """End each pause, of which at most one lasts. One that has ended is refused."""

    def end(pause: UnlockPause) -> str:
        lasting = UnlockPause.objects.active().filter(pk=pause.pk)
        if not lasting.update(resumed_at=Now(), resumed_by=context.actor):
            raise Conflict("This pause has ended already.")
        return "resumed"

    return run_batch("resume unlocks", pauses, end, context=context)


def dispatch_pause() -> DispatchPause | None:
    """Return the pause of dispatch that lasts, with its `age`, or None."""
    lasting: DispatchPause | None = DispatchPause.objects.active().annotate(age=Now() - F("paused_at")).first()
    return lasting


def pause_dispatch(*, context: ActionContext) -> DispatchPause:
    """Give no more insights to workers. Raise Conflict without a reason, or if dispatch is paused already."""
    reason = context.reason.strip()
    if not reason:
        raise Conflict("Dispatch is paused only for a reason: --reason 'the provider is down'")
    with transaction.atomic():
        try:
            with transaction.atomic():
                created = DispatchPause.objects.create(reason=reason[:200], paused_by=context.actor)
        except IntegrityError:
            raise Conflict("Insights are paused already.") from None
        record("pause insights", ActionResult(str(created.pk), done=True, outcome="paused"), context=context)
    return created


def resume_dispatch(pauses: QuerySet[DispatchPause], *, context: ActionContext) -> BatchResult:
    """End each pause, of which at most one lasts. One that has ended is refused."""

    def end(pause: DispatchPause) -> str:
        lasting = DispatchPause.objects.active().filter(pk=pause.pk)
        if not lasting.update(resumed_at=Now(), resumed_by=context.actor):
            raise Conflict("This pause has ended already.")
        return "resumed; beat dispatches within five seconds"

    return run_batch("resume insights", pauses, end, context=context)

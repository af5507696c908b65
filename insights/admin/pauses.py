"""Admin pages of the switches for unlocks and for dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from insights import pauses
from insights.models import DispatchPause, UnlockPause
from relivchats.staff.actions import BulkAction, page_before
from relivchats.staff.admin import StaffAdmin, actor_column, label
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.filters import SelectionFilter


class PauseFilter(SelectionFilter):
    """Pauses by whether they last."""

    title = "status"
    parameter_name = "resumed_at__isempty"
    selections = {
        "1": ("paused", lambda pauses: pauses.filter(resumed_at=None)),
        "0": ("resumed", lambda pauses: pauses.exclude(resumed_at=None)),
    }


class PauseAdmin(StaffAdmin):
    """A switch: adding a row pauses, the action on it resumes."""

    #: Returns the new pause. Raise Conflict if somebody else just paused.
    pause: Callable[..., UnlockPause | DispatchPause]
    export_columns = ("id", "paused_by", "paused_at", "resumed_by", "resumed_at")
    list_display = ("id", "state", "reason", "paused_by_link", "paused_at", "resumed_by_link", "resumed_at")
    list_filter = (PauseFilter,)
    time_field = "paused_at"
    ordering = ("-paused_at",)
    fields = (("id", "state"), "reason", ("paused_by_link", "paused_at"), ("resumed_by_link", "resumed_at"))
    readonly_fields = ("id", "state", "paused_by_link", "paused_at", "resumed_by_link", "resumed_at")
    paused_by_link, resumed_by_link = actor_column("paused_by"), actor_column("resumed_by")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause: this takes the "add" permission."""
        return request.user.has_perm(f"insights.add_{self.opts.model_name}")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return only the reason for a new pause."""
        return super().get_fields(request, obj) if obj else ["reason"]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Pause. Raise Conflict if somebody else just did."""
        context = ActionContext(actor=f"user {request.user.pk}", reason=obj.reason)
        obj.pk = self.pause(context=context).pk

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Return to the page whose button led here, if there was one."""
        response = super().response_add(request, obj, post_url_continue)
        back = page_before(request)
        return redirect(back) if back else response

    @label("status", colours={"paused": "warning", "resumed": "success"})
    def state(self, pause: UnlockPause | DispatchPause) -> str:
        """Return whether the pause lasts."""
        return "resumed" if pause.resumed_at else "paused"


class UnlockPauseForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form that pauses unlocks."""

    class Meta:
        model = UnlockPause
        fields = ("reason",)

    def clean(self) -> dict[str, Any]:
        """Reject a second pause. Two at the same moment are decided by the database."""
        if UnlockPause.objects.active().exists():
            raise ValidationError("Unlocks are paused already.")
        return super().clean() or {}


@admin.register(UnlockPause)
class UnlockPauseAdmin(PauseAdmin):
    """The switch for unlocks: adding a row pauses them, the action on it resumes them."""

    form = UnlockPauseForm
    bulk_actions = (
        BulkAction(
            name="resume",
            title="Resume unlocks",
            heading="Resume unlocks",
            consequence="Unlocks and retries are accepted again.",
            run=pauses.resume,
            applies=lambda pause: pause.resumed_at is None,
        ),
    )
    pause = staticmethod(pauses.pause)


class DispatchPauseForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form that pauses dispatch."""

    class Meta:
        model = DispatchPause
        fields = ("reason",)

    def clean(self) -> dict[str, Any]:
        """Reject a second pause. Two at the same moment are decided by the database."""
        if pauses.dispatch_pause():
            raise ValidationError("Insights are paused already.")
        return super().clean() or {}


@admin.register(DispatchPause)
class DispatchPauseAdmin(PauseAdmin):
    """The switch for dispatch: a new row keeps insights from workers and refuses unlocks, the action on it resumes."""

    form = DispatchPauseForm
    bulk_actions = (
        BulkAction(
            name="resume_insights",
            title="Resume insights",
            heading="Resume insights",
            consequence="Insights that wait are given to workers again, and unlocks are accepted.",
            run=pauses.resume_dispatch,
            applies=lambda pause: pause.resumed_at is None,
        ),
    )
    pause = staticmethod(pauses.pause_dispatch)

"""Admin actions that change money or data: they ask for a reason, ask again, and write it into Django's log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action as page_action
from unfold.widgets import UnfoldAdminTextInputWidget

from ops.deeds import BATCH, Deed, Deeds, Order
from relivchats.admin import StaffAdmin

Do = Callable[..., Deeds]

#: Rows that are shown before they are acted on.
SHOWN = 20


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why, for the log. Write no name and nothing of a chat.",
    )


def on_list(do: Do, *, name: str, title: str, consequence: str) -> Callable[..., HttpResponse | None]:
    """An action for a list: shows what is chosen, asks for a reason, then `do(rows, order=…)`."""

    @admin.action(description=title, permissions=["operate"])
    def action(model_admin: StaffAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        ids = list(queryset.order_by().values_list("pk", flat=True)[:BATCH])
        form = ReasonForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            return _ask(model_admin, request, form, ids, name=name, title=title, consequence=consequence)
        rows = model_admin.model._default_manager.filter(pk__in=ids)
        reason = form.cleaned_data["reason"]
        deeds = do(rows, order=Order(actor=f"user {request.user.pk}", reason=reason))
        log(model_admin.model, request, deeds.shown, title=title, reason=reason)
        _tell(model_admin, request, deeds)
        return None

    action.__name__ = name
    return action


def on_page(do: Do, *, name: str, title: str, consequence: str) -> Any:
    """The same for one row's own page: it asks, and the list does it."""

    @page_action(description=title, permissions=["operate"], url_path=name)  # type: ignore[untyped-decorator]
    def action(model_admin: StaffAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
        row = found(model_admin, request, object_id)
        return _ask(model_admin, request, ReasonForm(), [str(row.pk)], name=name, title=title, consequence=consequence)

    return action


def found(model_admin: StaffAdmin, request: HttpRequest, object_id: str) -> Any:
    """The row of a page, however its id was written. Raises Http404."""
    row = model_admin.get_object(request, object_id)
    if row is None:
        raise Http404(f"There is no {model_admin.opts.verbose_name} with this id.")
    return row


def _ask(
    model_admin: StaffAdmin, request: HttpRequest, form: ReasonForm, ids: list[Any], **words: str
) -> TemplateResponse:
    opts = model_admin.opts
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": opts,
        "title": words["title"],
        "consequence": words["consequence"],
        "action": words["name"],
        "form": form,
        "ids": ids,
        **_shown(model_admin, request, ids),
        "checkbox": ACTION_CHECKBOX_NAME,
        "list_address": reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"),
        "media": model_admin.media,
    }
    return TemplateResponse(request, "ops/reason.html", context)


def _shown(model_admin: StaffAdmin, request: HttpRequest, ids: list[Any]) -> dict[str, Any]:
    """The first of the chosen rows as their list shows them: who confirms sees what."""
    names = model_admin.get_list_display(request)
    rows = model_admin.get_queryset(request).filter(pk__in=ids[:SHOWN]).order_by("pk")
    if model_admin.list_select_related:
        rows = rows.select_related(*model_admin.list_select_related)
    headings = [label_for_field(name, model_admin.model, model_admin) for name in names]
    return {
        "headings": headings,
        "rows": [[lookup_field(name, row, model_admin)[2] for name in names] for row in rows],
        "more": max(0, len(ids) - SHOWN),
    }


def log(model: type[Model], request: HttpRequest, deeds: list[Deed], *, title: str, reason: str) -> None:
    kind = ContentType.objects.get_for_model(model)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=str(request.user.pk),
            content_type=kind,
            object_id=deed.object_id,
            object_repr=f"{model._meta.verbose_name} {deed.object_id}",
            action_flag=CHANGE,
            change_message=f"{title}. Reason: {reason}. Outcome: {deed.outcome}",
        )
        for deed in deeds
    )


def _tell(model_admin: StaffAdmin, request: HttpRequest, deeds: Deeds) -> None:
    if deeds.done:
        outcomes = "; ".join(sorted({deed.outcome for deed in deeds.shown if deed.done})[:3])
        model_admin.message_user(request, f"{deeds.done} done: {outcomes}", messages.SUCCESS)
    if deeds.refused:
        refusals = " ".join(sorted({deed.outcome for deed in deeds.shown if not deed.done})[:3])
        model_admin.message_user(request, f"{deeds.refused} refused: {refusals}", messages.WARNING)

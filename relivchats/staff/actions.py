"""Admin actions that change money or data. They ask for a reason and a confirmation, and write Django's log entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.decorators import action as page_action
from unfold.widgets import UnfoldAdminTextInputWidget

from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext, ActionResult, BatchResult

#: Rows that the confirmation page lists.
MAX_PREVIEWED = 20
#: Distinct outcomes that the report of an action lists.
MAX_OUTCOMES = 3
#: The field of the confirmation page's form if the action was chosen on the page of a row.
_FROM_ROW = "from_row"
#: The parameter, and the field of the form, with the address of the page that leads here and is returned to.
BACK = "next"


class ReasonForm(forms.Form):
    """The reason of an action. It is stored in the audit log, so it must not contain personal data."""

    reason = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Stored in the audit log. Do not write names or text from a chat.",
    )

    def __init__(self, *args: Any, is_required: bool = True, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["reason"].required = is_required
        if not is_required:
            self.fields["reason"].help_text = f"Not required. {self.fields['reason'].help_text}"


@dataclass(frozen=True)
class BulkAction:
    """An action on rows: on the list for the selected rows, and on a row's page for that row.

    `run(rows, context=…)` carries it out. `name` is part of the page's URL, `title` is the label of the button,
    `heading` the title of the confirmation page with `{rows}` for the number and kind of rows, and `consequence` tells
    staff what will happen. The user needs the model's "change" permission. A row's page offers the action if
    `applies(row)`, and the confirmation page counts the rows to which it does not apply; `run` refuses those in any
    case. `is_final` makes the button red: what it moves or deletes does not come back. `needs_reason` is False for what
    happens by itself as well.
    """

    name: str
    title: str
    consequence: str
    run: Callable[..., BatchResult]
    applies: Callable[[Any], bool] | None = None
    is_final: bool = False
    heading: str = ""
    needs_reason: bool = True

    def list_action(self) -> Callable[..., HttpResponse | None]:
        """Return the action for `ModelAdmin.actions`: it asks for a reason first, then runs."""

        @admin.action(description=self.title, permissions=["operate"])
        def action(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
            # A list shows fewer rows than this, but a request can name any number of ids.
            ids = list(queryset.order_by().values_list("pk", flat=True)[:BATCH_SIZE])
            # The list posts the selected ids without a reason; the confirmation page posts them again with one.
            form = self._form(request.POST if "reason" in request.POST else None)
            of_a_row = _FROM_ROW in request.POST and len(ids) == 1
            if not form.is_valid():
                return self._confirmation_page(model_admin, request, form, ids, of_a_row=of_a_row)
            reason = form.cleaned_data["reason"]
            # Complete rows: those of the list have deferred columns and annotations, which a step would not expect.
            rows = model_admin.model._default_manager.filter(pk__in=ids)
            batch = self.run(rows, context=ActionContext(actor=f"user {request.user.pk}", reason=reason))
            log_results(model_admin.model, request, batch.listed, title=self.title, reason=reason)
            if batch.done:
                text = f"{self.title}: {batch.done} done: {_list_outcomes(batch, done=True)}"
                model_admin.message_user(request, text, messages.SUCCESS)
            if batch.refused:
                text = f"{self.title}: {batch.refused} refused, unchanged: {_list_outcomes(batch, done=False)}"
                model_admin.message_user(request, text, messages.WARNING)
            # Back to where the action was chosen.
            return redirect(page_before(request) or _row_address(model_admin, ids[0])) if of_a_row else None

        # Django identifies an action by the name of its function.
        action.__name__ = self.name
        return action

    def page_action(self) -> Any:
        """Return the action for `actions_detail`: the confirmation page for one row, which posts to the list action."""

        @page_action(description=self.title, permissions=["operate"], url_path=self.name)  # type: ignore[untyped-decorator]
        def action(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
            row = get_row_or_404(model_admin, request, object_id)
            # Opening the page changes nothing: browsers may prefetch a link, so only the POST runs the action.
            return self._confirmation_page(model_admin, request, self._form(), [str(row.pk)], of_a_row=True)

        return action

    def _form(self, data: Any = None) -> ReasonForm:
        return ReasonForm(data, is_required=self.needs_reason)

    def _confirmation_page(
        self, model_admin: Any, request: HttpRequest, form: ReasonForm, ids: list[Any], *, of_a_row: bool
    ) -> TemplateResponse:
        # Staff see the same columns here as in the list, so that they recognise the rows that they chose.
        opts = model_admin.opts
        columns = model_admin.get_list_display(request)
        rows = model_admin.get_queryset(request).filter(pk__in=ids).order_by("pk")
        if model_admin.list_select_related:
            rows = rows.select_related(*model_admin.list_select_related)
        chosen = list(rows if self.applies else rows[:MAX_PREVIEWED])
        number = f"{len(ids)} {opts.verbose_name if len(ids) == 1 else opts.verbose_name_plural}"
        list_address = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
        back = page_before(request)
        context = {
            **model_admin.admin_site.each_context(request),
            "opts": opts,
            "title": (self.heading or f"{self.title} {{rows}}").format(rows=number),
            "number": number,
            "unchanged": sum(not self.applies(row) for row in chosen) if self.applies else 0,
            "from_row": _FROM_ROW if of_a_row else "",
            "back": back or (_row_address(model_admin, ids[0]) if of_a_row else list_address),
            "next": (BACK, back) if back else None,
            "button": self.title,
            "variant": "danger" if self.is_final else "primary",
            "consequence": self.consequence,
            "action": self.name,
            "form": form,
            "ids": ids,
            "headings": [label_for_field(column, model_admin.model, model_admin) for column in columns],
            "rows": [
                [lookup_field(column, row, model_admin)[2] for column in columns] for row in chosen[:MAX_PREVIEWED]
            ],
            "more": max(0, len(ids) - MAX_PREVIEWED),
            "checkbox": ACTION_CHECKBOX_NAME,
            "list_address": list_address,
            "media": model_admin.media,
        }
        return TemplateResponse(request, "staff/confirm_action.html", context)


def _list_outcomes(batch: BatchResult, *, done: bool) -> str:
    """Return the outcomes, the most frequent first, each with its number of rows if that is not one."""
    counts = Counter(result.outcome for result in batch.listed if result.done is done)
    # Django stores messages in a cookie, which holds 4 kB.
    texts = [f"{outcome} ({number})" if number > 1 else outcome for outcome, number in counts.most_common(MAX_OUTCOMES)]
    if len(counts) > MAX_OUTCOMES:
        texts.append(f"{len(counts) - MAX_OUTCOMES} other outcomes, which the audit entries have")
    return "; ".join(texts)


def page_before(request: HttpRequest) -> str:
    """Return the address of the page that led to this form, or an empty string. It is one of this site."""
    address = request.POST.get(BACK) or request.GET.get(BACK, "")
    return address if url_has_allowed_host_and_scheme(address, allowed_hosts=None) else ""


def _row_address(model_admin: Any, pk: Any) -> str:
    opts = model_admin.opts
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[pk])


def get_row_or_404(model_admin: Any, request: HttpRequest, object_id: str) -> Any:
    """Return the row that a page's URL names. Raise Http404 if there is none or the id is malformed."""
    row = model_admin.get_object(request, object_id)
    if row is None:
        raise Http404(f"There is no {model_admin.opts.verbose_name} with this id.")
    return row


def log_results(
    model: type[Model], request: HttpRequest, results: list[ActionResult], *, title: str, reason: str
) -> None:
    """Write one of Django's log entries per result; a row's history page shows them."""
    content_type = ContentType.objects.get_for_model(model)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=str(request.user.pk),
            content_type=content_type,
            object_id=result.object_id,
            object_repr=f"{model._meta.verbose_name} {result.object_id}",
            action_flag=CHANGE,
            change_message=f"{title}. {f'Reason: {reason}. ' if reason else ''}Outcome: {result.outcome}",
        )
        for result in results
    )

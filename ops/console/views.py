"""The views of the console. Each checks the permission of the model that it shows first."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from billing.models import PaymentOrder, Wallet
from billing.payments import money
from chats.models import Chat
from insights.models import Category, GenerationJob, Insight, InsightAttempt
from ops import person as people
from ops import timelines
from ops.console import attention, charts, live, overview, search
from ops.console.sections import WINDOWS, chosen_window, window_title
from ops.timeline_sources import MAX_ENTRIES
from relivchats import installation
from relivchats.accounts.models import AccessToken, User
from relivchats.logs import is_request_id
from relivchats.staff.admin import STATUS_COLOURS
from relivchats.staff.markup import full_id, link, status_label
from relivchats.terminal import plural


def fragment(request: HttpRequest) -> HttpResponse:
    """Return the content of the overview, which replaces itself."""
    return render(request, "ops/console/overview.html", overview.context(request))


def find(request: HttpRequest) -> HttpResponse:
    """Return the rows with an id, or the person with an e-mail address."""
    term = request.GET.get("q", "").strip()
    found = search.find(request, term)
    # The id that an error shows. A request that was refused has no event.
    log = installation.as_typed(installation.log_of_request(term)) if is_request_id(term) and found == [] else ""
    return _page(request, "search", "Search", term=term[:200], matches=found, log=log)


def person(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return everything about one person."""
    user: User = _get(request, User, pk)
    may_view = partial(attention.may_view, request)
    facts: list[tuple[str, Any]] = [
        ("Id", full_id(user.pk)),
        ("E-mail address", format_html('<span class="rc-wide">{}</span>', user.email or "–")),
    ]
    lists = {"chats": Chat, "unlocks": GenerationJob, "tokens": AccessToken}
    for name, value in people.count_everything(user, may_view=may_view).items():
        shown: Any = value
        if name in lists:
            address = f"{attention.list_address(lists[name])}?q={user.pk}"
            shown = format_html('<a class="rc-link" href="{}">{}</a>', address, value)
        elif name == "wallet" and (wallet := getattr(user, "wallet", None)):
            shown = link(Wallet, wallet.pk, text=value)
        facts.append((name.capitalize(), shown))
    return _timeline_page(request, "Person", user, facts, timelines.of_person(user, may_view=may_view))


def payment(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return an order with its events, transactions and refunds."""
    order: PaymentOrder = _get(request, PaymentOrder, pk)
    facts = [
        ("Order", full_id(order.pk)),
        ("State", status_label(order.status, {"completed": "success", "failed": "danger"}.get(order.status, "info"))),
        ("Price", money.format_amount(order.amount, order.currency)),
        ("Refunded", money.format_amount(order.refunded_amount, order.currency) if order.refunded_amount else "–"),
        ("Coins", order.coins),
        ("Person", link(User, order.wallet.user_id)),
        ("Provider", order.provider),
        ("Provider's order", full_id(order.provider_order_id) if order.provider_order_id else "–"),
        ("Provider's payment", full_id(order.provider_payment_id) if order.provider_payment_id else "–"),
        ("Needs a review", order.review_reason or "no"),
    ]
    timeline = timelines.of_payment(order, may_view=partial(attention.may_view, request))
    return _timeline_page(request, "Payment", order, facts, timeline)


def job(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return a job with its insights and attempts on an axis of time."""
    found: GenerationJob = _get(request, GenerationJob, pk)
    facts = [
        ("Job", full_id(found.pk)),
        ("State", status_label(found.status, STATUS_COLOURS.get(found.status, ""))),
        ("Done", f"{found.completed_insights} completed, {found.failed_insights} failed, of {found.total_insights}"),
        ("Category", link(Category, found.category_id)),
        ("Person", link(User, found.user_id)),
        ("Chat", link(Chat, found.chat_id)),
        ("Created", found.created_at),
        ("Deadline", found.deadline_at),
    ]
    timeline = timelines.of_job(found, may_view=partial(attention.may_view, request))
    picture = _bars(found) if attention.may_view(request, Insight) else ""
    return _timeline_page(request, "Job", found, facts, timeline, picture=picture)


def _timeline_page(
    request: HttpRequest,
    title: str,
    row: Model,
    facts: list[tuple[str, Any]],
    timeline: timelines.Timeline,
    *,
    picture: Any = "",
) -> HttpResponse:
    row_address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return _page(request, "timeline", title, facts=facts, timeline=timeline, picture=picture, row_address=row_address)


def _bars(found: GenerationJob) -> Any:
    insights = list(found.insights.order_by("started_at", "pk")[:MAX_ENTRIES])
    attempts: dict[UUID, list[float]] = {}
    for attempt in InsightAttempt.objects.filter(insight__in=insights).order_by("created_at")[:MAX_ENTRIES]:
        seconds = (attempt.created_at - found.created_at).total_seconds()
        attempts.setdefault(attempt.insight_id, []).append(seconds)
    rows = []
    for insight in insights:
        start = ((insight.started_at or found.created_at) - found.created_at).total_seconds()
        ends = [start, *attempts.get(insight.pk, [])]
        end = (insight.finished_at - found.created_at).total_seconds() if insight.finished_at else max(ends)
        colour = {"completed": "success", "failed": "danger"}.get(insight.status, "info")
        rows.append(
            charts.Bar(str(insight.insight_type_id), colour, 0, start, end, tuple(attempts.get(insight.pk, ())))
        )
    seconds = max([row.end for row in rows] + [1])
    return (
        charts.bars(rows, seconds=seconds, label=f"{plural(len(rows), 'insight')} over {seconds:.0f} s") if rows else ""
    )


def live_page(request: HttpRequest, name: str) -> HttpResponse:
    """Return what the operators' commands report about one part of the installation now."""
    found = live.PAGES.get(name)
    if found is None:
        raise Http404
    if not attention.may_view(request, found.model):
        raise PermissionDenied
    windows = list(WINDOWS) if found.has_windows else []
    window = chosen_window(request.GET.get("window", ""))
    return _page(
        request,
        "live",
        found.title,
        sections=found.sections(request),
        windows=windows,
        window=window,
        window_title=window_title(window),
    )


def _get(request: HttpRequest, model: type[Model], pk: UUID) -> Any:
    # The permission first: whether a row exists is already information.
    if not attention.may_view(request, model):
        raise PermissionDenied
    return get_object_or_404(model._default_manager, pk=pk)


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    return TemplateResponse(
        request, f"ops/console/{template}.html", {**admin.site.each_context(request), "title": title, **context}
    )

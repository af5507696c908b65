"""Adjustments from the admin: made at once or proposed on a wallet's page, approved or refused on their own."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action as page_action
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from billing import adjustments
from billing.models import Adjustment, Wallet
from relivchats.accounts.models import User
from relivchats.staff import bulk_actions
from relivchats.staff.actions import ReasonForm, get_row_or_404
from relivchats.staff.admin import StaffAdmin, link
from relivchats.staff.bulk_actions import ActionContext, ActionResult, BatchResult


class AdjustForm(ReasonForm):
    amount = forms.IntegerField(
        widget=UnfoldAdminIntegerFieldWidget, help_text="Coins to add, or with a minus to take. Held coins stay."
    )
    #: A form that is sent twice is one request.
    key = forms.CharField(widget=forms.HiddenInput, max_length=60, initial=lambda: f"form {uuid4()}")


@page_action(description="Adjust", permissions=["operate"], url_path="adjust")  # type: ignore[untyped-decorator]
def page(model_admin: StaffAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    wallet: Wallet = get_row_or_404(model_admin, request, object_id)
    form = AdjustForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        deed = _adjust(wallet, request, **form.cleaned_data)
        model_admin.message_user(request, deed.outcome, messages.SUCCESS if deed.done else messages.ERROR)
        return redirect(reverse("admin:billing_wallet_change", args=[wallet.pk]))
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": f"Adjust wallet {wallet.pk}",
        "wallet": wallet,
        "owner": link(User, wallet.user_id),
        "limit": settings.ADJUSTMENT_APPROVAL_COINS,
        "form": form,
        "media": model_admin.media,
    }
    return TemplateResponse(request, "ops/adjust.html", context)


def _adjust(wallet: Wallet, request: HttpRequest, *, amount: int, reason: str, key: str) -> ActionResult:
    context = ActionContext(actor=f"user {request.user.pk}", reason=reason)

    def adjust(wallet: Wallet) -> str:
        made = adjustments.adjust(wallet=wallet, amount=amount, actor=context.actor, reason=reason, idempotency_key=key)
        return _outcome(made)

    deed = bulk_actions.run_one(wallet, adjust)
    bulk_actions.record("adjust wallet", deed, context=context)
    LogEntry.objects.create(
        user_id=str(request.user.pk),
        content_type=ContentType.objects.get_for_model(Wallet),
        object_id=deed.object_id,
        object_repr=f"wallet {wallet.pk}",
        action_flag=CHANGE,
        change_message=f"Adjust by {amount:+}. Reason: {reason}. Outcome: {deed.outcome}",
    )
    return deed


def _outcome(made: Any) -> str:
    if isinstance(made, Adjustment):
        return f"{made.amount:+} coins are proposed as adjustment {made.pk}: a second person must approve them."
    return f"{made.amount:+} coins, so the balance is {made.balance_after}."


def approve_some(chosen: QuerySet[Adjustment], *, context: ActionContext) -> BatchResult:
    def approve(adjustment: Adjustment) -> str:
        return _outcome(adjustments.approve(adjustment, actor=context.actor, reason=context.reason))

    return bulk_actions.run_batch("approve adjustment", chosen, approve, context=context)


def refuse_some(chosen: QuerySet[Adjustment], *, context: ActionContext) -> BatchResult:
    def refuse(adjustment: Adjustment) -> str:
        adjustments.refuse(adjustment, actor=context.actor, reason=context.reason)
        return "refused, no coin moved"

    return bulk_actions.run_batch("refuse adjustment", chosen, refuse, context=context)

"""A refund from an order's page: how much, why, and once however often the form is sent."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action as page_action
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from billing.models import PaymentOrder
from billing.payments import money, refund_application
from ops import payments
from relivchats.accounts.models import User
from relivchats.staff.actions import ReasonForm, get_row_or_404, log_results
from relivchats.staff.admin import StaffAdmin, link
from relivchats.staff.bulk_actions import ActionContext


class RefundForm(ReasonForm):
    amount = forms.IntegerField(
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="In minor units: 39900 is ₹399, 499 is $4.99. The coins that this much bought are taken back.",
    )
    #: What was left when the form was shown: a form that is sent twice finds less.
    left = forms.IntegerField(widget=forms.HiddenInput)


@page_action(description="Refund", permissions=["operate"], url_path="refund")  # type: ignore[untyped-decorator]
def page(model_admin: StaffAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    order: PaymentOrder = get_row_or_404(model_admin, request, object_id)
    left = refund_application.refundable_amount(order)
    form = RefundForm(request.POST or None, initial={"amount": left, "left": left})
    if request.method == "POST" and form.is_valid():
        _refund(model_admin, request, order, form.cleaned_data)
        return redirect(reverse("admin:billing_paymentorder_change", args=[order.pk]))
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": f"Refund order {order.pk}",
        "order": order,
        "owner": link(User, order.wallet.user_id),
        "price": money.format_amount(order.amount, order.currency),
        "left": money.format_amount(left, order.currency),
        "form": form,
        "media": model_admin.media,
    }
    return TemplateResponse(request, "ops/refund.html", context)


def _refund(model_admin: StaffAdmin, request: HttpRequest, order: PaymentOrder, asked: dict[str, Any]) -> None:
    by = ActionContext(actor=f"user {request.user.pk}", reason=asked["reason"])
    chosen = PaymentOrder.objects.filter(pk=order.pk)
    done = payments.refund_some(chosen, context=by, amount=asked["amount"], expected_refundable=asked["left"])
    log_results(PaymentOrder, request, done.listed, title="Refund", reason=asked["reason"])
    for deed in done.listed:
        model_admin.message_user(request, deed.outcome, messages.SUCCESS if deed.done else messages.ERROR)

"""A refund from an order's page: how much, why, and once however often the form is sent."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action as page_action
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from billing.models import PaymentOrder
from billing.payments import money
from ops import payments
from ops.actions import ReasonForm, log
from ops.deeds import Order
from relivchats.admin import StaffAdmin


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
    order = get_object_or_404(PaymentOrder.objects.select_related("wallet"), pk=object_id)
    left = order.amount - order.refunds.standing().total_amount()
    form = RefundForm(request.POST or None, initial={"amount": left, "left": left})
    if request.method == "POST" and form.is_valid():
        _refund(model_admin, request, order, left, form.cleaned_data)
        return redirect(reverse("admin:billing_paymentorder_change", args=[order.pk]))
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": f"Refund order {order.pk}",
        "order": order,
        "left": money.shown(left, order.currency),
        "form": form,
        "media": model_admin.media,
    }
    return TemplateResponse(request, "ops/refund.html", context)


def _refund(
    model_admin: StaffAdmin, request: HttpRequest, order: PaymentOrder, left: int, asked: dict[str, Any]
) -> None:
    if asked["left"] != left:
        text = "Something was refunded since you opened the form. Look at the order's refunds first."
        model_admin.message_user(request, text, messages.WARNING)
        return
    by = Order(actor=f"user {request.user.pk}", reason=asked["reason"])
    done = payments.refund_some(PaymentOrder.objects.filter(pk=order.pk), order=by, amount=asked["amount"])
    log(PaymentOrder, request, done.shown, title="Refund", reason=asked["reason"])
    for deed in done.shown:
        model_admin.message_user(request, deed.outcome, messages.SUCCESS if deed.done else messages.ERROR)

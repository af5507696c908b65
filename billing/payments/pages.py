"""The sandbox's page: where a provider would ask for a card, two buttons."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from billing.models import PaymentOrder
from billing.payments import money, webhooks
from billing.payments.providers import sandbox

_CHOICES = {"pay": True, "cancel": False}


@never_cache
@require_http_methods(["GET", "POST"])
def checkout(request: HttpRequest, link: str) -> HttpResponse:
    """The link is signed, and works as long as its order waits to be paid or cancelled; the form has Django's token."""
    order = sandbox.order_of(link) if settings.PAYMENTS_SANDBOX else None
    if order is None:
        return render(request, "billing/sandbox_gone.html", status=404)
    paid = _CHOICES.get(request.POST.get("choice", ""))
    refused = request.method == "POST" and paid is None and order.status == PaymentOrder.Status.PENDING
    if paid is not None and order.status == PaymentOrder.Status.PENDING:
        body, headers = sandbox.event(order, paid=paid)
        webhooks.receive(provider=order.provider, body=body, headers=headers)
        order.refresh_from_db()
    shown = {
        "order": order,
        "price": money.shown(order.amount, order.currency),
        "open": order.status == PaymentOrder.Status.PENDING,
        "refused": refused,
    }
    return render(request, "billing/sandbox.html", shown, status=400 if refused else 200)

"""The sandbox's checkout page: two buttons, pay and cancel, in place of a provider's card form."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from billing.models import PaymentOrder
from billing.payments import money, providers, webhooks
from billing.payments.providers import sandbox

_CHOICES = {"pay": True, "cancel": False}


@never_cache
@require_http_methods(["GET", "POST"])
def checkout(request: HttpRequest, link: str) -> HttpResponse:
    """Show the order of a signed link, and pay or cancel it while it is pending."""
    enabled = providers.REGISTRY[sandbox.Sandbox.name].is_configured()
    order = sandbox.find_order(link) if enabled else None
    if order is None:
        return render(request, "billing/sandbox_gone.html", status=404)
    paid = _CHOICES.get(request.POST.get("choice", ""))
    invalid = request.method == "POST" and paid is None and order.status == PaymentOrder.Status.PENDING
    if paid is not None and order.status == PaymentOrder.Status.PENDING:
        body, headers = sandbox.create_event(order, paid=paid)
        webhooks.receive(provider=order.provider, body=body, headers=headers)
        order.refresh_from_db()
    context = {
        "order": order,
        "price": money.format_amount(order.amount, order.currency),
        "open": order.status == PaymentOrder.Status.PENDING,
        "invalid": invalid,
    }
    return render(request, "billing/sandbox.html", context, status=400 if invalid else 200)

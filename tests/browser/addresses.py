"""The addresses of the pages of the admin, for a row of each table."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from billing.models import PaymentRefund
from chats.models import Chat
from insights.models import GenerationJob
from relivchats.accounts.models import User
from tests.admin import everything


def page_addresses() -> dict[str, str]:
    """Return the address of every page by a short name."""
    found = {"overview": "/admin/", "user-add": reverse("admin:accounts_user_add"), "docs": "/api/docs"}
    for address in everything.add_addresses():
        found[f"{address.strip('/').split('/')[-2]}-add"] = address
    for model in everything.all_models():
        name = str(model._meta.model_name)
        # The row with the most to show: that of a customer, and not of the superuser.
        rows = list(model._default_manager.order_by("pk")[1:2] or model._default_manager.order_by("pk")[:1])
        found[f"{name}-list"] = everything.list_address(model)
        if rows:
            found[f"{name}-row"], _ = everything.row_addresses(rows[0])
            for number, address in enumerate(everything.action_addresses(rows[0])):
                found[f"{name}-action-{number}"] = address
    # All histories are one page, with entries or without.
    changed = [str(pk) for pk in LogEntry.objects.values_list("object_id", flat=True)]
    for name, chats in (("empty", Chat.objects.exclude(pk__in=changed)), ("chat", Chat.objects.filter(pk__in=changed))):
        _, found[f"{name}-history"] = everything.row_addresses(chats.order_by("pk")[0])
    found["empty-list"] = f"{everything.list_address(PaymentRefund)}?status__exact=failed"
    found["empty-search"] = f"{everything.list_address(Chat)}?q=nobody"
    found["app"] = reverse("admin:app_list", args=["billing"])
    for model_name, url in (
        ("wallet", "billing_wallet_adjust_this"),
        ("paymentorder", "billing_paymentorder_refund_this"),
    ):
        model = next(each for each in admin.site._registry if each._meta.model_name == model_name)
        row = model._default_manager.order_by("pk").first()
        assert row is not None
        found[f"{model_name}-form"] = reverse(f"admin:{url}", args=[row.pk])
    found["person"] = reverse("console:person", args=[User.objects.get(email="noether@example.com").pk])
    found["job"] = reverse("console:job", args=[GenerationJob.objects.filter(total_insights=3).order_by("pk")[0].pk])
    found["payment"] = reverse("console:payment", args=[PaymentRefund.objects.filter(source="staff")[0].order_id])
    for address in everything.live_addresses():
        found[f"now-{address.split('/')[-1]}"] = address
    found["find"] = f"{reverse('console:find')}?q=noether@example.com"
    return found

"""The addresses of the pages of the admin, for a row of each table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Model
from django.urls import reverse

from billing.models import PaymentRefund
from chats import content_access
from chats.access_models import ContentAccess
from chats.models import Chat
from insights.models import GenerationJob
from relivchats.accounts.models import User
from tests.admin import everything
from tests.chats import samples

#: The page of an action that leads to another page at once.
LEADS_ON = {"timeline_this"}


def page_addresses(reader: User) -> dict[str, str]:
    """Return the address of every page by a short name. `reader` opens a chat, whose messages are one of the pages."""
    found = {"overview": "/admin/", "user-add": reverse("admin:accounts_user_add"), "docs": "/api/docs"}
    found["error-404"] = "/admin/nothing/here"
    for address in everything.add_addresses():
        found[f"{address.strip('/').split('/')[-2]}-add"] = address
    for model in everything.all_models():
        name = str(model._meta.model_name)
        # The row with the most to show: that of a customer, and not of the superuser.
        rows = list(model._default_manager.order_by("pk")[1:2] or model._default_manager.order_by("pk")[:1])
        found[f"{name}-list"] = everything.list_address(model)
        if rows and model is not ContentAccess:
            found[f"{name}-row"], _ = everything.row_addresses(rows[0])
            found |= {f"{name}-{action}": address for action, address in _action_addresses(rows[0])}
        if getattr(admin.site._registry[model], "export_columns", ()):
            found[f"{name}-export"] = reverse(f"admin:{model._meta.app_label}_{name}_export")
    found |= _messages(reader)
    # All histories are one page, with entries or without.
    changed = [str(pk) for pk in LogEntry.objects.values_list("object_id", flat=True)]
    for name, chats in (
        ("empty", Chat.objects.exclude(pk__in=changed)),
        ("chat", Chat.objects.filter(pk__in=changed)),
    ):
        _, found[f"{name}-history"] = everything.row_addresses(chats.order_by("pk")[0])
    found["empty-list"] = f"{everything.list_address(PaymentRefund)}?status__exact=failed"
    found["filtered-export"] = f"{found['credittransaction-export']}?type__exact=purchase&when=7d"
    found["empty-search"] = f"{everything.list_address(Chat)}?q=nobody"
    found["app"] = reverse("admin:app_list", args=["billing"])
    found["person"] = reverse("console:person", args=[User.objects.get(email="noether@example.com").pk])
    found["job"] = reverse("console:job", args=[GenerationJob.objects.filter(total_insights=3).order_by("pk")[0].pk])
    found["payment"] = reverse("console:payment", args=[PaymentRefund.objects.filter(source="staff")[0].order_id])
    for address in everything.live_addresses():
        found[f"now-{address.split('/')[-1]}"] = address
    found["find-nothing"] = f"{reverse('console:find')}?q=nobody@example.com"
    found["find"] = f"{reverse('console:find')}?q=noether@example.com"
    return found


def _action_addresses(row: Model) -> Iterator[tuple[str, str]]:
    """Yield the name and the address of each page that an action of the row opens."""
    model_admin: Any = admin.site._registry[type(row)]
    prefix = f"{row._meta.app_label}_{row._meta.model_name}_"
    for pattern in model_admin.get_urls():
        name = str(pattern.name).removeprefix(prefix)
        if name.endswith("_this") and name not in LEADS_ON:
            yield name.removesuffix("_this"), reverse(f"admin:{pattern.name}", args=[row.pk])


def _messages(reader: User) -> dict[str, str]:
    owner = User.objects.get(email="noether@example.com")
    chat = samples.stored([(1, "Asha", "Are you there?"), (2, "Ben", "In ten minutes. " * 30)] * 30, owner=owner)
    access = content_access.open_chat(chat, actor_id=reader.pk, reason="answers request 1204 about missing messages")
    row, _ = everything.row_addresses(access)
    return {"contentaccess-row": row, **{f"contentaccess-{name}": at for name, at in _action_addresses(access)}}

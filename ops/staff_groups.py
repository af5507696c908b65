"""The groups of staff that an installation starts with, and their permissions.

Every group may view all pages. What it may change is listed here, by model, with Django's words: `add` and `change`.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from relivchats.staff.bulk_actions import ActionContext, ActionResult, record
from relivchats.staff.reports import Level, Line, Report, Table

#: The permissions of each group beyond viewing.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "viewer": (),
    "support": (
        *("accounts.add_user", "accounts.change_user", "accounts.change_accesstoken"),
        *("chats.change_chat", "insights.change_insight"),
    ),
    "operator": (
        "staff.export_lists",
        *("insights.change_generationjob", "insights.change_insight", "chats.change_chat"),
        *("billing.change_coinreservation", "insights.add_unlockpause", "insights.change_unlockpause"),
        *("insights.add_dispatchpause", "insights.change_dispatchpause"),
        "ops.change_scheduleentry",
    ),
    "finance": (
        "staff.export_lists",
        *("billing.change_wallet", "billing.change_adjustment", "billing.change_paymentorder"),
        *("billing.change_webhookevent", "billing.add_bonus", "billing.change_bonus"),
        *("billing.add_creditpackage", "billing.change_creditpackage"),
        *("billing.add_packageprice", "billing.change_packageprice"),
    ),
    "catalogue editor": (
        *("insights.add_category", "insights.change_category"),
        *("insights.add_insighttype", "insights.change_insighttype"),
    ),
}


def report(*, context: ActionContext | None) -> Report:
    """Return what each group has and lacks; with a context, make it so. Permissions that staff added by hand are kept.

    Repeating it changes nothing.
    """
    rows, lacking = [], 0
    for name, changes in GROUPS.items():
        wanted = _permissions(changes)
        with transaction.atomic():
            group = Group.objects.select_for_update().filter(name=name).first()
            has = set(group.permissions.values_list("pk", flat=True)) if group else set()
            missing = [permission for permission in wanted if permission.pk not in has]
            if context is not None and (group is None or missing):
                group = group or Group.objects.create(name=name)
                group.permissions.add(*missing)
                outcome = f"{len(missing)} permissions added"
                record("set up group", ActionResult(str(group.pk), done=True, outcome=outcome), context=context)
                missing = []
        state = "exists" if group else "is missing"
        lacking += len(missing)
        rows.append((name, state, len(wanted), len(missing), ", ".join(changes) or "nothing"))
    line = (
        Line("groups", Level.WARNING, f"{lacking} permissions are missing", "manage.py staff_groups --yes")
        if lacking
        else Line("groups", Level.FINE, "all groups have their permissions")
    )
    columns = ("group", "state", "permissions", "missing", "may change")
    return Report("Groups of staff", (line,), Table(columns, tuple(rows)))


def _permissions(changes: tuple[str, ...]) -> list[Permission]:
    """Return the permissions to view every page, and these."""
    names = {f"{model._meta.app_label}.view_{model._meta.model_name}" for model in admin.site._registry} | set(changes)
    found = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    return [found[name] for name in sorted(names)]

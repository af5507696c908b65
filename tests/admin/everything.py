"""Rows in every table, and the addresses of every page of the admin."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse
from django_celery_results.models import ChordCounter, GroupResult, TaskResult

from billing.models import (
    Adjustment,
    Bonus,
    CoinDebt,
    CreditPackage,
    PackagePrice,
    PaymentOrder,
    PaymentRefund,
    WebhookEvent,
)
from chats.access_models import ContentAccess, ContentRead
from chats.key_models import KeyDestruction, KeyStoreIdentity
from chats.models import Chat, ChatUpload, Chunk, TranscriptBlock, VectorMatrix
from insights.models import (
    Category,
    ChatReading,
    DispatchPause,
    Insight,
    InsightAttempt,
    InsightType,
    InsightTypeVersion,
    ReadWindow,
    UnlockPause,
)
from insights.question_models import ChatQuestion
from ops.console import live
from ops.models import CheckState, LedgerAudit, ScheduleEntry
from ops.monitoring_models import ErrorEvent, RequestCount, RequestTotal, Sample, Snapshot
from relivchats.accounts import tokens
from relivchats.accounts.models import IdempotencyKey
from relivchats.staff.admin import EditedAdmin
from relivchats.staff.models import AuditEntry
from tests.ops import rows

#: Models without a page. A session key is a credential; permissions are granted on the pages of users and groups.
WITHOUT_PAGE = {Session, Permission, ContentType}


def all_models() -> list[type[models.Model]]:
    return [model for model in apps.get_models() if model not in WITHOUT_PAGE]


def one_of_each(number: int) -> None:
    """Create a user with a chat in every state, and one more row in every other table."""
    user = rows.person()
    failed = rows.failed_job(owner=user)
    running = rows.abandoned_insight(owner=user)
    rows.overdue_job(owner=user)
    chat = failed.chat
    assert chat is not None
    unindexed = rows.chat(user, vector_status="failed")
    ChatUpload.objects.create(owner=user, chat=chat, outcome="accepted", size_bytes=10, milliseconds=5)
    TranscriptBlock.objects.create(chat=chat, first_number=1, last_number=500, sealed=b"sealed")
    Chunk.objects.create(
        chat=chat, number=1, conversation=1, first_number=1, last_number=9, token_count=80, vector_count=1
    )
    VectorMatrix.objects.create(chat=unindexed, engine="local", dimensions=256, sealed=b"sealed")
    InsightAttempt.objects.create(
        insight=running, number=1, engine="local", model="rules", milliseconds=5, outcome="retry"
    )
    Insight.objects.filter(job=failed).update(sealed_document=b"sealed")
    reading = ChatReading.objects.create(chat=chat, engine="fake", model="fake", version=1, sealed_totals=b"sealed")
    ReadWindow.objects.create(
        reading=reading, first_number=1, last_number=9, spans=[[1, 9]], status="read", sealed_result=b"sealed"
    )
    ChatQuestion.objects.create(
        chat=chat,
        status="answered",
        step="done",
        sealed_question=b"sealed",
        sealed_answer=b"sealed",
        outcome="answered",
        deadline_at=Now(),
        finished_at=Now(),
    )
    _operations(number, user=user, chat=chat)
    Category.objects.create(id=f"category-{number}", title="Another", price=400)
    Group.objects.create(name=f"group {number}")
    tokens.issue(user)
    original = InsightType.objects.filter(category="romantic")[0]
    copied = InsightType.objects.create(
        **{
            field.attname: getattr(original, field.attname)
            for field in InsightType._meta.concrete_fields
            if field.attname not in {"id", "category_id"}
        },
        id=f"type-{number}",
        category_id=f"category-{number}",
    )
    InsightTypeVersion.objects.create(insight_type=copied, version=1, definition=copied.definition)


def _operations(number: int, *, user: Any, chat: Chat) -> None:
    for kind in ("worker", "beat"):
        rows.heartbeat(kind)
    AuditEntry.objects.create(
        actor="command", action="reindex chat", object_id=str(chat.pk), done=True, outcome="requested"
    )
    UnlockPause.objects.create(reason="test", paused_by="command", resumed_by="command", resumed_at=Now())
    DispatchPause.objects.create(reason="test", paused_by="command", resumed_by="command", resumed_at=Now())
    Adjustment.objects.create(
        wallet=user.wallet, amount=5000, reason="test", idempotency_key="a", proposed_by="command"
    )
    IdempotencyKey.objects.create(
        user=user, digest=number, fingerprint="a", token=uuid.uuid4(), lease_expires_at=Now(), expires_at=Now()
    )
    LedgerAudit.objects.create(milliseconds=5)
    ErrorEvent.objects.create(
        at=Now(),
        role="worker",
        host="here",
        pid=number,
        level="ERROR",
        logger="insights",
        event="insight not generated",
        fingerprint="a",
    )
    ScheduleEntry.objects.create(name=f"entry-{number}", task="ops.tasks.canary", schedule="every 10 s")
    CheckState.objects.create(name="workers", level="critical", text="no worker is alive")
    Sample.objects.create(at=Now(), name=f"sample-{number}", value=1)
    Snapshot.objects.create(name=f"snapshot {number}", data={})
    for model, when in ((RequestCount, {"at": Now()}), (RequestTotal, {})):
        model.objects.create(
            route=f"route-{number}", method="GET", status=200, requests=1, milliseconds=5, buckets=[1], **when
        )
    access = ContentAccess.objects.create(
        chat=chat, owner=user, actor=user, reason="a request for help", expires_at=Now() + timedelta(minutes=15)
    )
    ContentRead.objects.create(access=access, first_number=1, last_number=50)
    KeyDestruction.objects.create(chat_id=uuid.uuid4(), due_at=Now())
    KeyStoreIdentity.objects.get_or_create(defaults={"identity": str(uuid.uuid4())})
    TaskResult.objects.create(task_id=uuid.uuid4(), task_name="chats.tasks.index_chat", status="FAILURE")
    GroupResult.objects.create(group_id=uuid.uuid4())
    ChordCounter.objects.create(group_id=uuid.uuid4(), count=1)
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(Chat),
        object_id=str(chat.pk),
        object_repr=str(chat),
        action_flag=CHANGE,
        change_message="Reindex. Reason: test.",
        action_time=Now(),
    )
    payments(number, user=user)
    Bonus.objects.get_or_create(event="signup", defaults={"coins": 50})


def payments(number: int, *, user: Any) -> None:
    """Create a paid order of 100 coins, and a refund of a tenth of it after the coins were spent."""
    package = CreditPackage.objects.create(id=f"package-{number}", title="Another", coins=100)
    PackagePrice.objects.create(package=package, currency="USD", amount=100)
    order = PaymentOrder.objects.create(
        wallet=user.wallet,
        package=package,
        provider="stripe",
        status="completed",
        coins=100,
        amount=100,
        currency="USD",
        provider_order_id=f"pi_{number}",
        idempotency_key=f"order-{number}",
        review_reason="paid twice",
        completed_at=Now(),
    )
    refund = PaymentRefund.objects.create(order=order, source="provider", status="completed", amount=10, coins=10)
    CoinDebt.objects.create(wallet=user.wallet, refund=refund, coins=10)
    WebhookEvent.objects.create(provider="stripe", event_id=f"evt_{number}", type="x", kind="paid", order=order)


def list_address(model: type[models.Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def row_addresses(row: models.Model) -> Iterator[str]:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
    yield reverse(f"{name}_change", args=[row.pk])
    yield reverse(f"{name}_history", args=[row.pk])


def action_addresses(row: models.Model) -> Iterator[str]:
    """Yield the confirmation pages of the row's actions."""
    model_admin: Any = admin.site._registry[type(row)]
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
    for action in getattr(model_admin, "bulk_actions", ()):
        yield reverse(f"{name}_{action.name}_this", args=[row.pk])


def live_addresses() -> list[str]:
    """Return the addresses of the live pages of the console."""
    return [reverse("console:live", args=[name]) for name in live.PAGES]


def console_addresses(*, jobs: Any = (), orders: Any = ()) -> Iterator[str]:
    """Yield the addresses of the console's pages that show no e-mail address."""
    yield reverse("console:overview")
    for job in jobs:
        yield reverse("console:job", args=[job.pk])
        yield reverse("console:find") + f"?q={job.chat_id}"
    for order in orders:
        yield reverse("console:payment", args=[order.pk])


def add_addresses() -> Iterator[str]:
    for model, model_admin in admin.site._registry.items():
        if isinstance(model_admin, EditedAdmin):
            yield reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")

"""A month of an installation with customers, for pages that look as in production. Invented; no chat text."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import F

from billing import ledger
from billing.models import CoinReservation, CreditPackage, PaymentOrder, PaymentRefund, WebhookEvent
from chats.models import Chat, ChatUpload
from insights import settlement
from insights.models import GenerationJob, Insight, InsightAttempt
from ops.models import CheckState
from ops.monitoring_models import ErrorEvent, RequestCount, Sample
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.request_counts import BOUNDS_MS, BUCKETS
from tests.ops import rows

DAYS = 30
PEOPLE = 12
JOBS = 45
ROUTES = (
    ("api/chats", "POST", 0.1, 380),
    ("api/chats", "GET", 1.0, 24),
    ("api/chats/<uuid:chat_id>", "GET", 0.7, 18),
    ("api/chats/<uuid:chat_id>/insights", "GET", 0.9, 45),
    ("api/insights/jobs/<uuid:job_id>", "GET", 1.6, 9),
    ("api/insights/unlock", "POST", 0.08, 120),
)


def create() -> None:
    """Create the rows. The same ones each time, but for their ids and the hour of the day."""
    chance = random.Random(20)
    now = clock.now()
    people = [
        rows.person(email=f"{name}@example.com", coins=2000)
        for name in (
            *("ada.byron", "noether", "g.hopper", "kovalevskaya.sofia", "hypatia", "curie", "lamarr", "franklin.r"),
            *("emmy.long.address.of.a.person", "meitner", "goeppert", "wu.chien-shiung"),
        )
    ]
    _jobs(people, now, chance)
    _uploads(people, now, chance)
    _payments(people, now, chance)
    _traffic(now, chance)
    _errors(people, now, chance)
    for name, level, minutes in (
        *(("database", "fine", 9000), ("queue", "warning", 75), ("queue", "fine", 60)),
        *(("engine", "critical", 300), ("engine", "fine", 280), ("workers", "fine", 5000)),
    ):
        CheckState.objects.create(name=name, level=level, text="3 due", since=now - timedelta(minutes=minutes))


def _wave(at: datetime) -> float:
    """Return the load of an hour: low at night, growing over the month."""
    return (1.15 + math.sin((at.hour - 9) / 24 * 2 * math.pi)) * (0.7 + at.day / 60)


def _jobs(people: list[User], now: datetime, chance: random.Random) -> None:
    for number in range(JOBS):
        job = rows.job(owner=people[number % PEOPLE], types=chance.choice((1, 1, 2, 3)))
        # Most of them within the last day, which the overview shows first.
        ago = timedelta(minutes=chance.uniform(10, 1440) if number % 3 else chance.uniform(1440, DAYS * 1440))
        failed = number % 17 == 3
        for insight in job.insights.all():
            start = now - ago + timedelta(seconds=chance.uniform(1, 20))
            seconds = chance.gauss(34, 9)
            is_failed = failed and insight.pk.int % 2 == 0
            Insight.objects.filter(pk=insight.pk).update(
                status="failed" if is_failed else "completed",
                attempt=3 if is_failed else 1,
                created_at=now - ago,
                started_at=start,
                finished_at=start + timedelta(seconds=max(4, seconds)),
                sealed_document=None if is_failed else b"sealed",
                error_code="engine_unavailable" if is_failed else "",
                error_message="failed after 3 attempts: engine_unavailable" if is_failed else "",
            )
            InsightAttempt.objects.bulk_create(
                InsightAttempt(
                    insight=insight,
                    number=attempt,
                    engine="gemini",
                    model="gemini-2.5-flash",
                    milliseconds=int(max(4, seconds) * 1000),
                    tokens_in=chance.randint(9000, 30000),
                    tokens_out=chance.randint(900, 3000),
                    outcome="failed" if is_failed else "completed",
                    error_code="engine_unavailable" if is_failed else "",
                )
                for attempt in range(1, 4 if is_failed else 2)
            )
            InsightAttempt.objects.filter(insight=insight).update(
                created_at=start + F("number") * timedelta(seconds=30)
            )
        settlement.settle(job.pk)
        GenerationJob.objects.filter(pk=job.pk).update(
            created_at=now - ago, started_at=now - ago, finished_at=now - ago + timedelta(minutes=1)
        )
        CoinReservation.objects.filter(pk=job.reservation_id).update(
            created_at=now - ago, resolved_at=now - ago + timedelta(minutes=1)
        )
        Chat.objects.filter(pk=str(job.chat_id)).update(created_at=now - ago - timedelta(minutes=4))


def _uploads(people: list[User], now: datetime, chance: random.Random) -> None:
    made = []
    for number in range(90):
        outcome = {5: "refused", 11: "refused", 12: "failed"}.get(number % 30, "accepted")
        made.append(
            ChatUpload(
                owner=people[number % PEOPLE],
                outcome=outcome,
                reason="" if outcome == "accepted" else "not_an_export",
                header_shape="" if outcome == "accepted" else "99/99/9999, 99:99 - Aaaa",
                platform="whatsapp" if number % 4 else "telegram",
                dialect="android" if number % 3 else "ios",
                size_bytes=chance.randint(20_000, 4_000_000),
                message_count=chance.randint(400, 60_000),
                milliseconds=chance.randint(80, 900),
            )
        )
    ChatUpload.objects.bulk_create(made)
    for number, upload in enumerate(made):
        ChatUpload.objects.filter(pk=upload.pk).update(created_at=now - timedelta(minutes=number**2 / 6))


def _payments(people: list[User], now: datetime, chance: random.Random) -> None:
    package = CreditPackage.objects.order_by("display_order").first()
    assert package is not None
    for number in range(24):
        paid = number % 5 != 4
        order = PaymentOrder.objects.create(
            wallet=people[number % PEOPLE].wallet,
            package=package,
            provider="stripe" if number % 2 else "razorpay",
            status="completed" if paid else "pending",
            coins=package.coins,
            amount=chance.choice((499, 1499, 2999)),
            currency="USD" if number % 2 else "INR",
            provider_order_id=f"pi_3PqK2eL{uuid.UUID(int=chance.getrandbits(128)).hex[:18]}",
            provider_payment_id=f"pay_{chance.getrandbits(60):x}" if paid else "",
            idempotency_key=uuid.uuid4().hex,
            completed_at=now - timedelta(hours=number) if paid else None,
        )
        if not paid:
            continue
        ledger.grant(
            wallet=order.wallet,
            type="purchase",
            coins=order.coins,
            idempotency_key=f"order {order.pk}",
            payment_order=order,
        )
        WebhookEvent.objects.create(
            provider=order.provider,
            event_id=f"evt_{chance.getrandbits(90):x}",
            type="payment_intent.succeeded" if number % 2 else "payment.captured",
            kind="paid",
            order=order,
            status="needs_review" if number == 7 else "applied",
            outcome="the amount differs from the order's" if number == 7 else "coins given",
            amount=order.amount,
            currency=order.currency,
            applied_at=now - timedelta(hours=number),
        )
        if number % 9 == 0:
            refund = PaymentRefund.objects.create(
                order=order,
                source="staff",
                status="completed",
                amount=order.amount // 10,
                coins=order.coins_for(order.amount // 10),
                actor="user 7d0f",
                reason="bought twice by mistake",
            )
            refund.taken_coins = ledger.refund(
                refund=refund, coins=refund.coins, actor=refund.actor, reason=refund.reason
            )
            refund.save()
            order.refunded_amount = refund.amount
            order.save()


def _traffic(now: datetime, chance: random.Random) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    RequestCount.objects.bulk_create(_requests(hour, chance))
    Sample.objects.bulk_create(_samples(hour, chance))


def _requests(hour: datetime, chance: random.Random) -> Iterator[RequestCount]:
    for back in range(DAYS * 24):
        at = hour - timedelta(hours=back)
        for route, method, share, typical in ROUTES:
            number = int(400 * share * _wave(at) * chance.uniform(0.8, 1.2))
            buckets = [0] * BUCKETS
            total = 0.0
            for _ in range(40):
                milliseconds = typical * chance.lognormvariate(0, 0.6)
                total += milliseconds * number / 40
                index = next((i for i, bound in enumerate(BOUNDS_MS) if milliseconds <= bound), BUCKETS - 1)
                buckets[index] += max(1, number // 40)
            yield RequestCount(
                at=at,
                route=route,
                method=method,
                status=200,
                requests=sum(buckets),
                milliseconds=total,
                buckets=buckets,
            )
            if chance.random() < 0.15:
                yield RequestCount(
                    at=at, route=route, method=method, status=500, requests=1, milliseconds=90, buckets=[1] + [0] * 18
                )


def _samples(hour: datetime, chance: random.Random) -> Iterator[Sample]:
    for back in range(DAYS * 24):
        at = hour - timedelta(hours=back)
        wave = _wave(at)
        for name, value in (
            ("queue_due", max(0, wave * 3 + chance.gauss(0, 1))),
            ("queue_oldest_seconds", max(0, wave * 9 + chance.gauss(0, 4)) + (140 if back == 9 else 0)),
            ("unlocks_per_minute", wave * 0.8 * chance.uniform(0.7, 1.3)),
            ("insights_completed_per_minute", wave * 3.1),
            ("insights_failed_per_minute", 0.1 if chance.random() < 0.1 else 0),
            ("errors_per_minute", 0.4 if chance.random() < 0.15 else 0),
            ("memory_worker_bytes", 310e6 + 4e6 * wave),
            ("memory_web_bytes", 260e6 + 8e6 * wave),
            ("database_connections", 14 + wave * 3),
            ("disk_used_percent", 41 - back / 240),
        ):
            yield Sample(at=at, name=name, value=value)


def _errors(people: list[User], now: datetime, chance: random.Random) -> None:
    kinds = (
        ("unhandled exception", "KeyError", "", "api/chats", 500, "ERROR"),
        ("failed after 3 attempts", "", "engine_unavailable", "", None, "ERROR"),
        ("RESOURCE_EXHAUSTED", "QuotaExceeded", "quota", "", None, "WARNING"),
    )
    ErrorEvent.objects.bulk_create(
        ErrorEvent(
            at=now - timedelta(minutes=chance.uniform(1, 1300)),
            role="web" if route else "worker",
            host="web-1" if route else "worker-2",
            pid=20841,
            level=level,
            logger="insights.generation",
            event=event,
            error=error,
            code=code,
            location="insights.generation:generate:120",
            route=route,
            status=status,
            request_id=uuid.uuid4().hex,
            user_id=people[number % PEOPLE].pk,
            fingerprint=f"{event[:6]}{code[:4]}",
        )
        for number in range(30)
        for event, error, code, route, status, level in [kinds[number % 3]]
    )

"""Rows for tests: as the service creates them, and with the problems that operators solve."""

from __future__ import annotations

import uuid
from datetime import timedelta

import orjson
from django.db.models.functions import Now

from billing import adjustments, ledger
from billing.models import Adjustment, CoinReservation, Wallet
from chats.embedding import get_engine
from chats.models import Chat
from insights import settlement, unlocking
from insights.models import GenerationJob, Insight, InsightType
from ops.models import Heartbeat
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.crypto import keyring, new_data_key

LONG = timedelta(hours=1)


def person(*, coins: int = 1000, email: str = "") -> User:
    user = User.objects.create_user(email or f"{uuid.uuid4().hex}@example.org")
    ledger.adjust(wallet=user.wallet, amount=coins, actor="test", reason="test", idempotency_key="coins")
    return user


def adjustment(*, wallet: Wallet | None = None) -> Adjustment:
    """A pending adjustment of 5000 coins."""
    proposed = adjustments.adjust(
        wallet=wallet or person().wallet, amount=5000, actor="command", reason="a claim", idempotency_key="large"
    )
    assert isinstance(proposed, Adjustment)
    return proposed


def chat(owner: User, *, vector_status: str = "completed") -> Chat:
    """A chat with a valid key and statistics of no language; the other sealed columns are not readable."""
    pk, key = uuid.uuid4(), new_data_key()
    new = Chat(
        id=pk,
        owner=owner,
        platform="whatsapp",
        dialect="android",
        date_order="dmy",
        message_count=5000,
        line_count=5000,
        participant_count=2,
        first_message_on="2024-01-01",
        last_message_on="2024-12-31",
        wrapped_key=keyring().wrap(key, context=f"chat:{pk}:key"),
        sealed_title=b"sealed",
        sealed_participants=b"sealed",
        vector_status=vector_status,
    )
    if vector_status == "completed":
        new.indexed_at, new.index_engine = clock.now(), get_engine().name
    new.sealed_statistics = new.key.seal(orjson.dumps({"language_mix": {}}), context=new.context("statistics"))
    new.save(force_insert=True)
    return new


def job(*, owner: User | None = None, types: int = 2, vector_status: str = "completed") -> GenerationJob:
    """A job for a new chat of `owner`, or of a new person, that unlocks the first `types` insight types."""
    owner = owner or person()
    ids = list(
        InsightType.objects.filter(category="romantic").order_by("display_order").values_list("pk", flat=True)[:types]
    )
    return unlocking.unlock(user=owner, chat=chat(owner, vector_status=vector_status), type_ids=ids).job


def abandoned_insight(*, late: timedelta = LONG, owner: User | None = None) -> Insight:
    """An insight whose worker was killed, before recovery has freed it. Its lease expired `late` ago."""
    insight = job(owner=owner).insights.first()
    assert insight is not None
    Insight.objects.filter(pk=insight.pk).update(
        status=Insight.Status.GENERATING,
        attempt=1,
        lease_token=uuid.uuid4(),
        lease_expires_at=Now() - late,
        started_at=Now() - late,
    )
    insight.refresh_from_db()
    return insight


def overdue_job(*, owner: User | None = None) -> GenerationJob:
    overdue = job(owner=owner)
    GenerationJob.objects.filter(pk=overdue.pk).update(deadline_at=Now() - LONG)
    overdue.refresh_from_db()
    return overdue


def failed_job(*, code: str = "engine_unavailable", owner: User | None = None) -> GenerationJob:
    """A job whose insights all failed, so that its coins were released."""
    failed = job(owner=owner)
    settlement.fail_open_insights(failed.pk, error_code=code, error_message="The engine did not answer.")
    failed.refresh_from_db()
    return failed


def orphaned_reservation() -> CoinReservation:
    """An overdue reservation without a job."""
    return ledger.reserve(
        wallet=person().wallet, coins=50, idempotency_key="orphan", expires_at=clock.now() - timedelta(minutes=1)
    )


def heartbeat(kind: str, *, age: timedelta = timedelta(), marked: bool = True, name: str = "") -> Heartbeat:
    return Heartbeat.objects.create(
        name=name or f"{kind}@host:{uuid.uuid4().hex[:6]}",
        kind=kind,
        marked_as_worker=marked,
        beat_at=clock.now() - age,
    )


def everything_alive() -> None:
    for kind in ("web", "worker", "beat", "canary"):
        heartbeat(kind)

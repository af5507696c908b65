"""Unlocking: coins are held, a job and its pending insights are made, all in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from billing import ledger
from billing.models import Wallet
from chats import indexing
from chats.models import Chat
from insights import dispatch, engines, prices
from insights.eligibility import Eligibility, NotEligible, check_eligibility
from insights.models import Category, GenerationJob, Insight, InsightType, InsightTypeVersion
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.errors import Conflict, DomainError, NotFound

__all__ = [
    "NotEligible",
    "NothingRequested",
    "Plan",
    "PriceQuote",
    "Unlocked",
    "UnsupportedLanguage",
    "quote",
    "retry",
    "unlock",
]


class NothingRequested(DomainError):
    code, status, title = "ERR_1001", 422, "Nothing to unlock"


class UnsupportedLanguage(DomainError):
    code, status, title = "ERR_1001", 422, "Not a language of the findings"


@dataclass(frozen=True)
class Unlocked:
    """What an unlock made or found. `coins` were held just now: 0 when nothing was `created`."""

    job: GenerationJob
    insights: tuple[Insight, ...]
    created: bool
    coins: int
    spendable: int


@dataclass(frozen=True)
class Plan:
    """What an unlock would do: the requested types, those that exist, the eligibility of the rest, and their prices.

    `failed` holds the latest try of those that failed and were not unlocked since. `parts` holds the types that are
    missing and fit, failed ones too, with their parts of the coins.
    """

    category: Category
    types: list[InsightType]
    found: Mapping[str, Insight]
    failed: Mapping[str, Insight]
    eligibility: Eligibility
    parts: Mapping[InsightType, int]

    @property
    def coins(self) -> int:
        return sum(self.parts.values())

    def price(self, insight_type: InsightType) -> int:
        """What the type costs alone, in coins."""
        return prices.single_price(insight_type, self.failed.get(insight_type.id))


@dataclass(frozen=True)
class PriceQuote:
    """A plan beside the wallet that would pay for it. `deficit` coins are missing."""

    plan: Plan
    wallet: Wallet

    @property
    def deficit(self) -> int:
        return max(0, self.plan.coins - self.wallet.spendable)

    @property
    def can_unlock(self) -> bool:
        """Whether an unlock of exactly this would be accepted now."""
        missing = len(self.plan.types) - len(self.plan.found)
        return len(self.plan.parts) == missing and not self.deficit


def quote(
    *, user: User, chat: Chat, category_id: str | None = None, type_ids: Sequence[str] = (), language: str = "en"
) -> PriceQuote:
    """What `unlock` would cost and do, priced by the same plan. Holds nothing.

    Raises UnsupportedLanguage, NotFound or NothingRequested. What does not fit is in the plan, and not in its coins.
    """
    _must_be_written(language)
    return PriceQuote(_plan(chat, category_id=category_id, type_ids=type_ids), _wallet(user))


@transaction.atomic
def unlock(
    *, user: User, chat: Chat, category_id: str | None = None, type_ids: Sequence[str] = (), language: str = "en"
) -> Unlocked:
    """Unlock a category, or some of its types, for one chat.

    What is already unlocked or running is returned and costs nothing; what failed is tried again, for no more
    than `retry` asks. Raises UnsupportedLanguage, NotFound, NothingRequested, NotEligible or InsufficientCoins, each
    before
    any coin is held.
    """
    _must_be_written(language)
    chat = _lock(chat, user=user)
    plan = _plan(chat, category_id=category_id, type_ids=type_ids)
    if len(plan.found) == len(plan.types):
        insights = tuple(plan.found[insight_type.id] for insight_type in plan.types)
        newest = max(insights, key=lambda insight: insight.created_at)
        return Unlocked(newest.job, insights, created=False, coins=0, spendable=_wallet(user).spendable)
    plan.eligibility.require_all()
    return _open_job(user=user, chat=chat, category=plan.category, parts=plan.parts, language=language)


@transaction.atomic
def retry(insight: Insight) -> Unlocked:
    """Try a failed insight again, in a new row and a new job.

    It costs the part that its type's latest try cost, or less if the type does now, as a quote says; which failed
    try is named is all one. What has been unlocked again since is returned. Raises Conflict when the
    insight did not fail or its chat is gone, and InsufficientCoins.
    """
    if insight.status != Insight.Status.FAILED:
        raise Conflict("Only a failed insight can be tried again. This one has not failed.")
    if insight.chat is None or insight.job.user is None:
        raise Conflict("The chat of this insight was deleted, so it cannot be tried again.")
    user = insight.job.user
    chat = _lock(insight.chat, user=user)
    tries, failed = _tries(chat, [insight.insight_type])
    if (found := tries.get(insight.insight_type_id)) is not None:
        return Unlocked(found.job, (found,), created=False, coins=0, spendable=_wallet(user).spendable)
    check_eligibility(chat, [insight.insight_type]).require_all()
    return _open_job(
        user=user,
        chat=chat,
        category=insight.job.category,
        parts={insight.insight_type: prices.single_price(insight.insight_type, failed[insight.insight_type_id])},
        language=insight.language,
    )


def _must_be_written(language: str) -> None:
    languages = engines.get_engine().languages
    if language not in languages:
        raise UnsupportedLanguage(
            f"Findings are written in these languages: {', '.join(languages)}. Ask for one of them."
        )


def _lock(chat: Chat, *, user: User) -> Chat:
    """One unlock of a chat at a time, so that the second sees what the first made."""
    locked = Chat.objects.select_for_update(no_key=True).owned_by(user).filter(pk=chat.pk).first()
    if locked is None:
        raise NotFound("There is no such chat. It may have been deleted.")
    return locked


def _plan(chat: Chat, *, category_id: str | None, type_ids: Sequence[str]) -> Plan:
    category, types = _asked(category_id=category_id, type_ids=type_ids)
    found, failed = _tries(chat, types)
    eligibility = check_eligibility(chat, [insight_type for insight_type in types if insight_type.id not in found])
    weights = [prices.single_price(insight_type, failed.get(insight_type.id)) for insight_type in eligibility.eligible]
    coins = prices.total_price(weights, category_price=category.price)
    parts = dict(zip(eligibility.eligible, prices.split_coins(coins, weights=weights), strict=True))
    return Plan(category, types, found, failed, eligibility, parts)


def _asked(*, category_id: str | None, type_ids: Sequence[str]) -> tuple[Category, list[InsightType]]:
    if not type_ids and category_id is None:
        raise NothingRequested("Name a category_id, or the insight_type_ids that you want.")
    types = InsightType.objects.filter(active=True, category__active=True).select_related("category")
    types = types.defer("definition")
    if type_ids:
        types = types.filter(pk__in=type_ids)
    if category_id is not None:
        types = types.filter(category=category_id)
    chosen = list(types)
    if not chosen or len(chosen) < len(set(type_ids)):
        raise NotFound("There is no such category or insight type. GET /api/categories lists them.")
    if len({insight_type.category_id for insight_type in chosen}) > 1:
        raise NothingRequested("Ask for types of one category at a time.")
    return chosen[0].category, chosen


def _tries(chat: Chat, types: Sequence[InsightType]) -> tuple[dict[str, Insight], dict[str, Insight]]:
    """The insights that exist or are being written, and the latest try of each other that failed, by type."""
    tries = chat.insights.filter(insight_type__in=types).order_by("created_at", "pk").defer("sealed_document")
    found, failed = dict[str, Insight](), dict[str, Insight]()
    for insight in tries.select_related("job", "insight_type"):
        (failed if insight.status == Insight.Status.FAILED else found)[insight.insight_type_id] = insight
    return found, {type_id: insight for type_id, insight in failed.items() if type_id not in found}


def _wallet(user: User) -> Wallet:
    return ledger.open_wallet(user=user)


def _open_job(
    *, user: User, chat: Chat, category: Category, parts: Mapping[InsightType, int], language: str
) -> Unlocked:
    job_id = uuid.uuid4()
    deadline_at = clock.now() + timedelta(seconds=settings.INSIGHT_GENERATION_TIMEOUT)
    coins = sum(parts.values())
    reservation = ledger.reserve(
        wallet=_wallet(user),
        coins=coins,
        idempotency_key=f"unlock:{job_id}",
        # Longer than the job can live, so that a hold never runs out under a job that still delivers.
        expires_at=deadline_at + timedelta(seconds=settings.RESERVATION_MARGIN_SECONDS),
        reason="unlock",
    )
    job = GenerationJob.objects.create(
        job_id=job_id,
        chat=chat,
        category=category,
        user=user,
        reservation=reservation,
        total_insights=len(parts),
        deadline_at=deadline_at,
    )
    versions = {
        (version.insight_type_id, version.version): version
        for version in InsightTypeVersion.objects.filter(insight_type__in=list(parts)).only(
            "id", "insight_type", "version"
        )
    }
    insights = Insight.objects.bulk_create(
        Insight(
            job=job,
            chat=chat,
            insight_type=insight_type,
            type_version=versions[insight_type.id, insight_type.version],
            price=part,
            language=language,
        )
        for insight_type, part in parts.items()
    )
    if chat.vector_status != Chat.VectorStatus.COMPLETED:
        indexing.request(chat)
    transaction.on_commit(dispatch.dispatch_soon)
    return Unlocked(job, tuple(insights), created=True, coins=coins, spendable=_wallet(user).spendable)

"""Unlock insights: reserve the coins, and create the job and its pending insights, in one transaction."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from billing import ledger
from billing.models import Wallet
from chats import indexing
from chats.models import Chat
from insights import admission, availability, deadlines, dispatch, engines, prices, reading
from insights.availability import Unavailability, UnlocksUnavailable
from insights.eligibility import Eligibility, NotEligible, check_eligibility
from insights.models import Category, GenerationJob, Insight, InsightType, InsightTypeVersion
from relivchats import error_events, limits
from relivchats.accounts.models import User
from relivchats.errors import Conflict, DomainError, NotFound

__all__ = [
    "NotEligible",
    "NothingRequested",
    "Plan",
    "PriceQuote",
    "UnlockResult",
    "UnsupportedLanguage",
    "quote",
    "record_refusal",
    "retry",
    "unlock",
]


logger = logging.getLogger(__name__)

#: The event of an unlock that is refused because of the state of the service, with the reason as its code.
REFUSED = "unlock refused"


class NothingRequested(DomainError):
    """The request names neither a category nor types, or types of several categories."""

    code, status, title = "ERR_1001", 422, "Nothing to unlock"
    # The API's name of the problem, from before the class was renamed.
    slug = "nothing-asked"


class UnsupportedLanguage(DomainError):
    """The engine does not write findings in the requested language."""

    code, status, title = "ERR_1001", 422, "Unsupported language"
    # The API's name of the problem, from before the class was renamed.
    slug = "unknown-language"


@dataclass(frozen=True)
class UnlockResult:
    """The insights of an unlock: a new job's if `created`, otherwise the existing ones, with the job of the newest.

    `coins` were reserved by this call, 0 unless `created`. `spendable` are the wallet's coins that remain.
    """

    job: GenerationJob
    insights: tuple[Insight, ...]
    created: bool
    coins: int
    spendable: int


@dataclass(frozen=True)
class Plan:
    """What an unlock would do: the requested types, those that exist, the eligibility of the others, and the prices.

    `existing` holds the insights that are completed or open, `failed` the latest failed one of each other type, both by
    type id. `price_by_type` holds, in coins, each type that would be unlocked.
    """

    category: Category
    types: list[InsightType]
    existing: Mapping[str, Insight]
    failed: Mapping[str, Insight]
    eligibility: Eligibility
    price_by_type: Mapping[InsightType, int]

    @property
    def coins(self) -> int:
        """The price of the unlock, in coins."""
        return sum(self.price_by_type.values())

    def single_price(self, insight_type: InsightType) -> int:
        """Return the price of unlocking or retrying this type alone, in coins."""
        return prices.single_price(insight_type.current_price, failed=self.failed.get(insight_type.id))

    def state_of(self, insight_type: InsightType) -> str:
        """Return `running`, `owned`, `does_not_fit`, `failed` or `available`."""
        if existing := self.existing.get(insight_type.id):
            return "running" if existing.is_open else "owned"
        if insight_type not in self.price_by_type:
            return "does_not_fit"
        return "failed" if insight_type.id in self.failed else "available"


@dataclass(frozen=True)
class PriceQuote:
    """A plan, the wallet that would pay for it, and why nothing can be unlocked now, if so."""

    plan: Plan
    wallet: Wallet
    unavailability: Unavailability | None = None

    @property
    def deficit(self) -> int:
        """The coins that are missing, 0 if there are enough. Coins that the person gets pay what is owed first."""
        missing = max(0, self.plan.coins - self.wallet.spendable)
        return missing and missing + self.wallet.owed

    @property
    def can_unlock(self) -> bool:
        """Whether an unlock of exactly these types would be accepted now."""
        missing = len(self.plan.types) - len(self.plan.existing)
        if missing and self.unavailability:
            return False
        return len(self.plan.price_by_type) == missing and not self.deficit


def quote(
    *, user: User, chat: Chat, category_id: str | None = None, type_ids: Sequence[str] = (), language: str = "en"
) -> PriceQuote:
    """Return what `unlock` would do and cost, by the same plan. Reserve nothing.

    Raise UnsupportedLanguage, NotFound or NothingRequested. A type that the chat is not eligible for is in the plan
    without a price.
    """
    check_language(language)
    plan = _make_plan(chat, category_id=category_id, type_ids=type_ids)
    unavailability = availability.find_unavailability() or admission.find_refusal(
        user=user, chat=chat, insights=len(plan.price_by_type)
    )
    return PriceQuote(plan, ledger.open_wallet(user=user), unavailability)


@transaction.atomic
def unlock(
    *, user: User, chat: Chat, category_id: str | None = None, type_ids: Sequence[str] = (), language: str = "en"
) -> UnlockResult:
    """Unlock a category, or some of its types, for one chat.

    Insights that exist cost nothing. A failed one is retried at the price that `retry` takes, or less as part of a
    category. Raise UnsupportedLanguage, NotFound, NothingRequested, NotEligible, UnlocksUnavailable,
    TooManyOpenInsights or InsufficientCoins, each before any coin is reserved.
    """
    check_language(language)
    chat = _lock_chat(chat, user=user)
    plan = _make_plan(chat, category_id=category_id, type_ids=type_ids)
    if len(plan.existing) == len(plan.types):
        return _existing_result(user, [plan.existing[insight_type.id] for insight_type in plan.types])
    plan.eligibility.require_all()
    return _open_job(user=user, chat=chat, category=plan.category, price_by_type=plan.price_by_type, language=language)


@transaction.atomic
def retry(insight: Insight) -> UnlockResult:
    """Retry a failed insight in a new job. If its type was unlocked again since, return that insight.

    The price is that of the type's latest failed insight, or the type's present price if that is lower; it does not
    matter which of several failed insights is named. Raise Conflict if the insight did not fail or its chat was
    deleted, UnlocksUnavailable, TooManyOpenInsights and InsufficientCoins.
    """
    if insight.status != Insight.Status.FAILED:
        raise Conflict("Only a failed insight can be tried again. This one has not failed.")
    if insight.chat is None or insight.job.user is None:
        raise Conflict("The chat of this insight was deleted, so it cannot be tried again.")
    user, insight_type = insight.job.user, insight.insight_type
    chat = _lock_chat(insight.chat, user=user)
    existing, failed = _find_insights(chat, [insight_type])
    if existing:
        return _existing_result(user, list(existing.values()))
    check_eligibility(chat, [insight_type]).require_all()
    price = prices.single_price(insight_type.current_price, failed=failed[insight_type.id])
    return _open_job(
        user=user,
        chat=chat,
        category=insight.job.category,
        price_by_type={insight_type: price},
        language=insight.language,
    )


@contextlib.contextmanager
def record_refusal() -> Iterator[None]:
    """Record an unlock or retry in the block that is refused because of the state of the service, and raise it again.

    `health` counts them by reason, so that operators see how many customers were turned away. What staff retry is not
    recorded.
    """
    try:
        yield
    except (UnlocksUnavailable, admission.TooManyOpenInsights) as refusal:
        reason = refusal.extra.get("reason", admission.TOO_MANY_OPEN)
        logger.info(REFUSED, extra={"reason": reason, error_events.REFUSAL: True})
        raise


def check_language(language: str) -> None:
    """Return if the engine writes findings in this language. Raise UnsupportedLanguage."""
    languages = engines.get_engine().languages
    if language not in languages:
        advice = f"Findings are written in these languages: {', '.join(languages)}. Ask for one of them."
        raise UnsupportedLanguage(advice, errors=[_point_to("language", advice)])


def _point_to(field: str, message: str) -> dict[str, str]:
    """Return an entry of the `errors` of a problem."""
    return {"pointer": f"#/{field}", "code": "invalid", "message": message}


def _lock_chat(chat: Chat, *, user: User) -> Chat:
    # Unlocks and retries of one chat take turns: the second one finds the insights of the first and pays nothing. NO
    # KEY UPDATE, because the insights' foreign keys take a KEY SHARE lock on the chat, which FOR UPDATE would block.
    locked = Chat.objects.select_for_update(no_key=True).owned_by(user).filter(pk=chat.pk).first()
    if locked is None:
        raise NotFound("There is no such chat. It may have been deleted.")
    return locked


def _make_plan(chat: Chat, *, category_id: str | None, type_ids: Sequence[str]) -> Plan:
    """Return the plan for the requested types. Raise NotFound or NothingRequested."""
    if not type_ids and category_id is None:
        advice = "Name a category_id, or the insight_type_ids that you want."
        raise NothingRequested(advice, errors=[_point_to("category_id", advice)])
    catalogue = InsightType.objects.filter(active=True, category__active=True).select_related("category")
    # A definition is a large document that a plan does not read.
    requested = catalogue.defer("definition")
    if type_ids:
        requested = requested.filter(pk__in=type_ids)
    if category_id is not None:
        requested = requested.filter(category=category_id)
    types = list(requested)
    if not types or len(types) < len(set(type_ids)):
        raise NotFound("There is no such category or insight type. GET /api/categories lists them.")
    if len({insight_type.category_id for insight_type in types}) > 1:
        advice = "Ask for types of one category at a time."
        raise NothingRequested(advice, errors=[_point_to("insight_type_ids", advice)])
    category = types[0].category
    existing, failed = _find_insights(chat, types)
    eligibility = check_eligibility(chat, [insight_type for insight_type in types if insight_type.id not in existing])
    weights = [prices.single_price(each.current_price, failed=failed.get(each.id)) for each in eligibility.eligible]
    coins = prices.total_price(weights, category_price=category.current_price)
    price_by_type = dict(zip(eligibility.eligible, prices.split_coins(coins, weights=weights), strict=True))
    return Plan(category, types, existing, failed, eligibility, price_by_type)


def _find_insights(chat: Chat, types: Sequence[InsightType]) -> tuple[dict[str, Insight], dict[str, Insight]]:
    """Return the open or completed insights, and the latest failed insight of each other type, both by type id."""
    existing, failed = dict[str, Insight](), dict[str, Insight]()
    insights = chat.insights.filter(insight_type__in=types).select_related("job", "insight_type")
    # The oldest first: a later failed insight replaces an earlier one.
    for insight in insights.defer("sealed_document").order_by("created_at", "pk"):
        (failed if insight.status == Insight.Status.FAILED else existing)[insight.insight_type_id] = insight
    return existing, {type_id: insight for type_id, insight in failed.items() if type_id not in existing}


def _existing_result(user: User, insights: Sequence[Insight]) -> UnlockResult:
    newest = max(insights, key=lambda insight: insight.created_at)
    spendable = ledger.open_wallet(user=user).spendable
    return UnlockResult(newest.job, tuple(insights), created=False, coins=0, spendable=spendable)


def _open_job(
    *, user: User, chat: Chat, category: Category, price_by_type: Mapping[InsightType, int], language: str
) -> UnlockResult:
    """Reserve the coins and create the job and its insights.

    Raise UnlocksUnavailable, TooManyOpenInsights or InsufficientCoins.
    """
    availability.require_available()
    limits.lock(user)
    admission.require_admission(user=user, chat=chat, insights=len(price_by_type))
    job_id = uuid.uuid4()
    coins = sum(price_by_type.values())
    deadline_at, expires_at = deadlines.times_of_new_job()
    reservation = ledger.reserve(
        wallet=ledger.open_wallet(user=user),
        coins=coins,
        idempotency_key=f"unlock:{job_id}",
        expires_at=expires_at,
        reason="unlock",
    )
    job = GenerationJob.objects.create(
        job_id=job_id,
        chat=chat,
        category=category,
        user=user,
        reservation=reservation,
        total_insights=len(price_by_type),
        deadline_at=deadline_at,
    )
    versions = InsightTypeVersion.objects.filter(insight_type__in=list(price_by_type)).defer("definition")
    current_versions = {(version.insight_type_id, version.version): version for version in versions}
    insights = Insight.objects.bulk_create(
        Insight(
            job=job,
            chat=chat,
            insight_type=insight_type,
            type_version=current_versions[insight_type.id, insight_type.version],
            price=price,
            language=language,
        )
        for insight_type, price in price_by_type.items()
    )
    if chat.needs_index:
        indexing.request(chat)
    reading.request(chat)
    # After the commit, because a worker must find the rows; in the background, because the answer must not wait for
    # the broker.
    transaction.on_commit(dispatch.dispatch_soon)
    spendable = ledger.open_wallet(user=user).spendable
    return UnlockResult(job, tuple(insights), created=True, coins=coins, spendable=spendable)

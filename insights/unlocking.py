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
from insights.models import Category, GenerationJob, Insight, InsightType, InsightTypeVersion
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.errors import Conflict, DomainError, NotFound

#: A monologue has no relationship to tell of.
FEWEST_PEOPLE = 2


class NothingAsked(DomainError):
    code, status, title = "ERR_1001", 422, "Nothing to unlock"


class UnknownLanguage(DomainError):
    code, status, title = "ERR_1001", 422, "Not a language of the findings"


class DoesNotFit(DomainError):
    """The chat has too few messages, or too few or too many people, for what was asked. Nothing was held."""

    code, status, title = "ERR_1001", 422, "These insights do not fit this chat"


@dataclass(frozen=True)
class Unlocked:
    """What an unlock made or found. `coins` were held just now: 0 when nothing was `created`."""

    job: GenerationJob
    insights: tuple[Insight, ...]
    created: bool
    coins: int
    spendable: int


@transaction.atomic
def unlock(
    *, user: User, chat: Chat, category_id: str | None = None, type_ids: Sequence[str] = (), language: str = "en"
) -> Unlocked:
    """Unlock a category, or some of its types, for one chat.

    What is already unlocked or running is returned and costs nothing. Raises
    UnknownLanguage, NotFound, NothingAsked, DoesNotFit or InsufficientCoins, each before any
    coin is held.
    """
    _must_be_written(language)
    chat = _lock(chat, user=user)
    category, types = _asked(category_id=category_id, type_ids=type_ids)
    found = _existing(chat, types)
    missing = [insight_type for insight_type in types if insight_type.id not in found]
    if not missing:
        insights = tuple(found[insight_type.id] for insight_type in types)
        newest = max(insights, key=lambda insight: insight.created_at)
        return Unlocked(newest.job, insights, created=False, coins=0, spendable=_wallet(user).spendable)
    _must_fit(chat, missing)
    weights = [insight_type.price for insight_type in missing]
    coins = prices.total(weights, category_price=category.price)
    parts = dict(zip(missing, prices.spread(coins, weights=weights), strict=True))
    return _open_job(user=user, chat=chat, category=category, parts=parts, language=language)


@transaction.atomic
def retry(insight: Insight) -> Unlocked:
    """Try a failed insight again, in a new row and a new job, for the part it cost before.

    What has been unlocked again since is returned. Raises Conflict when the
    insight did not fail or its chat is gone, and InsufficientCoins.
    """
    if insight.status != Insight.Status.FAILED:
        raise Conflict("Only a failed insight can be tried again. This one has not failed.")
    if insight.chat is None or insight.job.user is None:
        raise Conflict("The chat of this insight was deleted, so it cannot be tried again.")
    user = insight.job.user
    chat = _lock(insight.chat, user=user)
    if found := _existing(chat, [insight.insight_type]).get(insight.insight_type_id):
        return Unlocked(found.job, (found,), created=False, coins=0, spendable=_wallet(user).spendable)
    _must_fit(chat, [insight.insight_type])
    return _open_job(
        user=user,
        chat=chat,
        category=insight.job.category,
        parts={insight.insight_type: insight.price},
        language=insight.language,
    )


def _must_be_written(language: str) -> None:
    languages = engines.engine().languages
    if language not in languages:
        raise UnknownLanguage(f"Findings are written in these languages: {', '.join(languages)}. Ask for one of them.")


def _lock(chat: Chat, *, user: User) -> Chat:
    """One unlock of a chat at a time, so that the second sees what the first made."""
    locked = Chat.objects.select_for_update(no_key=True).owned_by(user).filter(pk=chat.pk).first()
    if locked is None:
        raise NotFound("There is no such chat. It may have been deleted.")
    return locked


def _asked(*, category_id: str | None, type_ids: Sequence[str]) -> tuple[Category, list[InsightType]]:
    if not type_ids and category_id is None:
        raise NothingAsked("Name a category_id, or the insight_type_ids that you want.")
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
        raise NothingAsked("Ask for types of one category at a time.")
    return chosen[0].category, chosen


def _existing(chat: Chat, types: Sequence[InsightType]) -> dict[str, Insight]:
    present = chat.insights.filter(insight_type__in=types).exclude(status=Insight.Status.FAILED)
    return {insight.insight_type_id: insight for insight in present.select_related("job", "insight_type")}


def _must_fit(chat: Chat, types: Sequence[InsightType]) -> None:
    few_people = [t for t in types if chat.participant_count < FEWEST_PEOPLE]
    many_people = [t for t in types if chat.is_group and not t.groups]
    few_messages = [t for t in types if chat.message_count < t.min_messages]
    unfit = {t.id for t in [*few_people, *many_people, *few_messages]}
    if not unfit:
        return
    fitting = [t for t in types if t.id not in unfit]
    reasons = []
    if few_people:
        reasons.append("Only one person writes in this chat; insights are about people with each other.")
    if many_people:
        reasons.append(f"This chat has {chat.participant_count} people; {_titles(many_people)} need a chat of two.")
    if few_messages:
        needs = ", ".join(f"{t.title} needs {t.min_messages}" for t in few_messages)
        reasons.append(f"This chat has {chat.message_count} messages; {needs}.")
    reasons.append(f"Ask for what fits: {_titles(fitting)}." if fitting else "No coins were held.")
    raise DoesNotFit(
        " ".join(reasons),
        too_few_people=[t.id for t in few_people],
        too_few_messages=[t.id for t in few_messages],
        too_many_people=[t.id for t in many_people],
        possible=[t.id for t in fitting],
    )


def _titles(types: Sequence[InsightType]) -> str:
    return ", ".join(t.title for t in types)


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
    transaction.on_commit(dispatch.wake)
    return Unlocked(job, tuple(insights), created=True, coins=coins, spendable=_wallet(user).spendable)

"""What the language models of insights were used for, by day: attempts, tokens and what they cost about.

Each attempt at an insight, each reading of a chat and each question has the tokens that the provider counted. Those of
embeddings are not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Now, TruncDate

from insights.models import InsightAttempt, ReadWindow
from insights.question_models import ChatQuestion
from ops import snapshots
from ops.monitoring_models import ErrorEvent
from relivchats.staff.bounded import within
from relivchats.staff.reports import Level, Line, Report, Table

DAYS = 30
#: Nothing is shown of a count that takes longer.
QUERY_MILLISECONDS = 2000
#: The tokens of a question are stored some minutes after it was asked, at most.
SETTLED_AFTER = timedelta(hours=1)
_SNAPSHOT = "tokens"
_SUMMED = ("failed", "tin", "tout")
#: The engine that calls nothing.
_LOCAL = "local"
#: As `relivchats.language_models.quota` logs it.
_REFUSED = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True)
class Day:
    """What one model was used for on one day (UTC). `cost` is in US dollars; None if the model has no price."""

    day: date
    model: str
    insights: int
    windows: int
    questions: int
    failed: int
    tokens_in: int
    tokens_out: int

    @property
    def cost(self) -> float | None:
        """The price of the tokens, or None if MODEL_PRICES does not name the model."""
        price = price_of(self.model)
        return None if price is None else (self.tokens_in * price[0] + self.tokens_out * price[1]) / 1_000_000


def price_of(model: str) -> tuple[float, float] | None:
    """Return the dollars for a million tokens in and out, or None. A name stands for its versions: `m` for `m-002`."""
    prices: Mapping[str, tuple[float, float]] = settings.MODEL_PRICES
    model = model.removeprefix("models/")
    names = [name for name in prices if model == name or model.startswith(f"{name}-")]
    return prices[max(names, key=len)] if names else None


def fetch() -> list[Day] | None:
    """Return the use of each model on each of the last DAYS days, the newest first; None if that takes too long."""
    return within(_fetch, milliseconds=QUERY_MILLISECONDS)


def record() -> None:
    """Keep the sums of the days that are over, so that the page reads the rows of a day or two.

    They also count what is deleted later, such as the insights of a deleted chat: its tokens were paid.
    """
    kept = _kept_days()
    days = _last_days()
    settled = (datetime.now(UTC) - SETTLED_AFTER).date()
    missing = [day for day in days if day < settled and day.isoformat() not in kept]
    if not missing:
        return
    added: dict[str, list[tuple[Any, ...]]] = {day.isoformat(): [] for day in missing}
    for name, rows in _growing_sources(_start_of(missing[0])):
        for row in _sums(rows.filter(created_at__lt=_start_of(settled))):
            if row["day"] in missing:
                added[row["day"].isoformat()].append(
                    (row["model"], {name: row["rows"], **{key: row[key] for key in _SUMMED}})
                )
    oldest = days[0].isoformat()
    snapshots.write(_SNAPSHOT, {day: rows for day, rows in kept.items() if day >= oldest} | added)


def _fetch() -> list[Day]:
    counts: dict[tuple[date, str], dict[str, int]] = {}

    def add(day: date, model: str, numbers: Mapping[str, int]) -> None:
        found = counts.setdefault((day, model), {})
        for key, number in numbers.items():
            found[key] = found.get(key, 0) + number

    days = _last_days()
    kept = _kept_days()
    # The days up to the first that is not kept.
    read = list(takewhile(lambda day: day.isoformat() in kept, days))
    for day in read:
        for model, numbers in kept[day.isoformat()]:
            add(day, model, numbers)
    for name, rows in (*_growing_sources(_start_of(days[len(read)])), _windows(_start_of(days[0]))):
        for row in _sums(rows):
            add(row["day"], row["model"], {name: row["rows"], **{key: row[key] for key in _SUMMED}})
    return [
        Day(
            day,
            model,
            insights=found.get("insights", 0),
            windows=found.get("windows", 0),
            questions=found.get("questions", 0),
            failed=found["failed"],
            tokens_in=found["tin"],
            tokens_out=found["tout"],
        )
        for (day, model), found in sorted(counts.items(), key=lambda item: (item[0][0], item[0][1]), reverse=True)
    ]


def _last_days() -> list[date]:
    """Return the last DAYS days (UTC), the oldest first."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=number) for number in reversed(range(DAYS))]


def _start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _kept_days() -> Mapping[str, list[tuple[str, Mapping[str, int]]]]:
    """Return models and their sums by the days that are kept."""
    stored = snapshots.read(_SNAPSHOT, max_age=timedelta(days=DAYS), of_any_release=True)
    return stored.data if stored else {}


def _sums(rows: QuerySet[Any]) -> QuerySet[Any, dict[str, Any]]:
    """Return the sums of rows by their day and model."""
    failed = Count("pk", filter=~Q(error_code=""))
    sums = rows.values("day", "model").annotate(
        rows=Count("pk"), failed=failed, tin=Sum("tokens_in"), tout=Sum("tokens_out")
    )
    found: QuerySet[Any, dict[str, Any]] = sums.order_by()
    return found


def _growing_sources(since: datetime) -> Iterator[tuple[str, QuerySet[Any]]]:
    """Yield the attempts and the questions, with the `day` of each. A day that is over gets no more of them."""
    attempts = InsightAttempt.objects.filter(created_at__gte=since).exclude(engine=_LOCAL)
    yield "insights", attempts.annotate(day=TruncDate("created_at", tzinfo=UTC))
    questions = ChatQuestion.objects.filter(created_at__gte=since).exclude(engine__in=("", _LOCAL))
    yield "questions", questions.annotate(day=TruncDate("created_at", tzinfo=UTC))


def _windows(since: datetime) -> tuple[str, QuerySet[Any]]:
    """Return the windows with their `day`: a window has no time of its own, and its reading can end days later."""
    read_at = Coalesce("reading__finished_at", "reading__started_at")
    windows = ReadWindow.objects.exclude(status=ReadWindow.Status.PENDING).annotate(read_at=read_at)
    return "windows", windows.filter(read_at__gte=since).annotate(day=TruncDate(F("read_at"), tzinfo=UTC))


def report() -> Report:
    """Return the use of the models by day, and the sum of its cost as far as MODEL_PRICES has the prices."""
    return report_of(fetch())


def report_of(days: list[Day] | None) -> Report:
    """Return `report` of what `fetch` returned."""
    title = f"Tokens by day, {DAYS} days"
    if days is None:
        text = "counting the tokens took too long"
        return Report(title, (Line("tokens", Level.UNKNOWN, text, "manage.py engine --usage"),))
    rows = tuple(
        (
            each.day.isoformat(),
            each.model,
            each.insights,
            each.windows,
            each.questions,
            each.failed,
            each.tokens_in,
            each.tokens_out,
            None if each.cost is None else f"${each.cost:,.2f}",
        )
        for each in days
    )
    return Report(title, table=Table(_COLUMNS, rows), headline=_describe(days) if days else "")


_COLUMNS = (
    *("day (UTC)", "model", "attempts", "parts read", "questions", "failed"),
    *("tokens in", "tokens out", "cost, about"),
)


def _describe(days: list[Day]) -> str:
    tokens = f"{sum(day.tokens_in for day in days):,} tokens in, {sum(day.tokens_out for day in days):,} out"
    costs = [day.cost for day in days if day.cost is not None]
    unpriced = sorted({day.model for day in days if day.cost is None and day.tokens_in + day.tokens_out})
    about = f"; about ${sum(costs):,.2f}" if costs else ""
    missing = f"; no price of {', '.join(unpriced)} in MODEL_PRICES" if unpriced else ""
    return tokens + about + missing


def by_day(days: list[Day]) -> list[tuple[int, int, float]]:
    """Return the tokens in, the tokens out and the cost of each of the last DAYS days, the oldest first."""
    sums = dict.fromkeys(_last_days(), (0, 0, 0.0))
    for each in days:
        if each.day in sums:
            tokens_in, tokens_out, cost = sums[each.day]
            sums[each.day] = (tokens_in + each.tokens_in, tokens_out + each.tokens_out, cost + (each.cost or 0))
    return list(sums.values())


def refusals_report() -> Report:
    """Return how many calls the provider of a model refused within a day, by code, and when it was last."""
    rows = ErrorEvent.objects.filter(at__gte=Now() - timedelta(days=1), event__contains=_REFUSED).order_by()
    sums = rows.values_list("code").annotate(times=Sum("times"), last=Max("at")).order_by("-times", "code")
    return Report("Calls that the provider refused, 24 hours", table=Table(("code", "times", "last"), tuple(sums[:20])))

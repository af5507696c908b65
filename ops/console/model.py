"""The page of the language model: its state and quota, whether unlocks are accepted, and what it was used for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.http import HttpRequest
from django.utils.html import format_html

from insights.models import UnlockPause
from ops import engine, unlocks, usage
from ops.console import charts
from ops.console.attention import may_view
from ops.console.sections import Section, pause_button
from ops.monitoring_models import ErrorEvent


def sections(request: HttpRequest) -> list[Section]:
    """Return the engine, the unlocks with the button that applies, the refusals of the provider, and the tokens."""
    found = [Section(engine.report())]
    if may_view(request, UnlockPause):
        button = pause_button(request, UnlockPause, what="unlocks")
        found.append(Section(unlocks.report(), "Unlocks were never paused.", buttons=button))
    if may_view(request, ErrorEvent):
        found.append(Section(usage.refusals_report(), "The provider refused no call within 24 hours."))
    return [*found, _usage()]


def _usage() -> Section:
    days = usage.fetch()
    empty = f"No model was called within {usage.DAYS} days. The engine `local` counts, and calls none."
    if not days:
        return Section(usage.report_of(days), empty)
    tokens_in, tokens_out, costs = zip(*usage.by_day(days), strict=True)
    drawn = [_chart("Tokens in", tokens_in), _chart("Tokens out", tokens_out)]
    if any(costs):
        drawn.append(_chart("Dollars, about", costs, decimals=2))
    columns = {
        "day (UTC)": lambda row: format_html('<span class="rc-nowrap">{}</span>', row["day (UTC)"]),
        "tokens in": lambda row: f"{row['tokens in']:,}",
        "tokens out": lambda row: f"{row['tokens out']:,}",
    }
    return Section(usage.report_of(days), empty, columns, charts=tuple(drawn))


def _chart(title: str, series: tuple[float, ...], *, decimals: int = 0) -> charts.Chart:
    top = charts.ceiling(series, at_least=0.01)
    latest = f"today: {series[-1]:,.{decimals}f}"
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    svg = charts.line(
        series,
        label=f"{title} by day, {usage.DAYS} days, {latest}",
        top=top,
        axis=charts.Axis(today - timedelta(days=usage.DAYS - 1), today),
    )
    levels = tuple(f"{level:,.{decimals}f}" for level in (top, top / 2, 0))
    return charts.Chart(title, latest, svg, levels, (f"{usage.DAYS} d ago", f"{usage.DAYS // 2} d ago", "now"))

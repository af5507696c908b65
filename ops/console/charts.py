"""Line charts as SVG, rendered by the server: pages need no script to draw them. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH = 320
HEIGHT = 84
#: A line at the edge would be cut in half.
_MARGIN = 3
#: The distances of the ticks of a time axis: up to a day.
_TICK_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600)


@dataclass(frozen=True)
class Chart:
    """A chart with the texts around it: the values of its lines from the top, and moments from the left.

    `target` is the legend of the dashed line, if there is one.
    """

    title: str
    latest: str
    svg: SafeString
    levels: tuple[str, ...]
    times: tuple[str, ...]
    target: str = ""


@dataclass(frozen=True)
class Axis:
    """The moments of the first and the last value of a line, and the unit of its values.

    With it, console.js shows the value under the pointer with its time.
    """

    start: datetime
    end: datetime
    unit: str = ""


def line(
    series: Sequence[float | None],
    *,
    label: str,
    top: float,
    bottom: float = 0,
    target: float | None = None,
    height: int = HEIGHT,
    is_bridged: bool = False,
    axis: Axis | None = None,
) -> SafeString:
    """Return a line from `bottom` to `top`, with gaps where nothing is known, and a dashed line at the target.

    Above 0 it has an area below it, whose size would mislead otherwise. `label` says for a screen reader what is shown.
    A bridged line has no gaps: in a quiet hour a share has no value.
    """
    step = WIDTH / max(1, len(series) - 1)

    def y(value: float) -> float:
        share = min(1, max(0, (value - bottom) / (top - bottom))) if top > bottom else 0
        return round(height - _MARGIN - (height - 2 * _MARGIN) * share, 1)

    pieces: list[list[tuple[float, float]]] = [[]]
    for number, value in enumerate(series):
        if value is None:
            if not is_bridged:
                pieces.append([])
        else:
            pieces[-1].append((round(number * step, 1), y(value)))
    pieces = [piece for piece in pieces if piece]
    # A single value between gaps becomes a dot: a line without a length with round ends.
    lines = [f"M{' L'.join(f'{x} {y}' for x, y in piece)}{'h.01' if len(piece) == 1 else ''}" for piece in pieces]
    areas = [
        f"M{piece[0][0]} {height} L{' L'.join(f'{x} {y}' for x, y in piece)} L{piece[-1][0]} {height}Z"
        for piece in pieces
        if len(piece) > 1 and not bottom
    ]
    rules = [y(top), y((top + bottom) / 2), y(bottom)] if height == HEIGHT else []
    data: SafeString | str = ""
    if axis:
        data = format_html(
            ' data-values="{}" data-start="{}" data-end="{}" data-unit="{}"',
            json.dumps([None if value is None else float(f"{value:.4g}") for value in series]),
            axis.start.isoformat(),
            axis.end.isoformat(),
            axis.unit,
        )
    return format_html(
        '<svg class="rc-chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}"{}>'
        "{}{}{}{}</svg>",
        WIDTH,
        height,
        label,
        data,
        format_html_join("", '<path class="rc-rule" d="M0 {}H{}"/>', ((at, WIDTH) for at in rules)),
        format_html_join("", '<path class="rc-area" d="{}"/>', ((path,) for path in areas)),
        format_html('<path class="rc-target" d="M0 {}H{}"/>', y(target), WIDTH) if target and target <= top else "",
        format_html_join("", '<path class="rc-line" d="{}"/>', ((path,) for path in lines)),
    )


def floor_of_shares(series: Sequence[float | None], *, target: float) -> float:
    """Return the bottom of an axis of percentages: 90, 80 or 50 if all of them and the target are above, and else 0.

    From 0 to 100, a success of 94 % looks like one of 99 %.
    """
    lowest = min([value for value in series if value is not None] + [target])
    return next((bottom for bottom in (90, 80, 50) if bottom < lowest), 0)


def ceiling(series: Sequence[float | None], *, at_least: float = 1) -> float:
    """Return a round number above all values: 1, 2 or 5 times a power of ten."""
    highest = max([value for value in series if value is not None] + [at_least])
    power = 1.0
    while power * 10 <= highest:
        power *= 10
    while power > highest:
        power /= 10
    return next((power * factor for factor in (1, 2, 5) if power * factor >= highest), power * 10)


@dataclass(frozen=True)
class Bar:
    """A row of a chart over time: what it waited, then what it did, in seconds from the start, and marks in between."""

    title: str
    colour: str
    begin: float
    start: float
    end: float
    marks: tuple[float, ...] = ()


def bars(rows: Sequence[Bar], *, seconds: float, label: str) -> SafeString:
    """Return a bar for each row on a common axis of so many seconds, whose ticks are below."""
    width, row_height, left = 960, 26, 240
    scale = (width - left - 40) / max(seconds, 1)
    bottom = len(rows) * row_height + 6

    def x(at: float) -> float:
        return round(left + max(0, at) * scale, 1)

    shapes = [
        format_html(
            '<path class="rc-rule" d="M{} 0V{}"/><text x="{}" y="{}" text-anchor="middle">{} s</text>',
            *(x(at), bottom, x(at), bottom + 14, f"{at:g}"),
        )
        for at in _ticks(seconds)
    ]
    for number, row in enumerate(rows):
        top = number * row_height + 4
        shapes.append(
            format_html(
                '<text x="0" y="{}">{}</text>'
                '<rect class="rc-wait" x="{}" y="{}" width="{}" height="6" rx="3"/>'
                '<rect class="rc-{}" x="{}" y="{}" width="{}" height="14" rx="3"><title>{}</title></rect>{}',
                top + 12,
                row.title,
                x(row.begin),
                top + 5,
                max(1, round((row.start - row.begin) * scale, 1)),
                row.colour,
                x(row.start),
                top + 1,
                max(3, round((row.end - row.start) * scale, 1)),
                f"{row.title}: waited {row.start - row.begin:.0f} s, took {row.end - row.start:.0f} s",
                format_html_join(
                    "",
                    '<rect class="rc-warning" x="{}" y="{}" width="2" height="20"/>',
                    ((x(at), top - 2) for at in row.marks),
                ),
            )
        )
    return format_html(
        '<svg class="rc-bars" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        width,
        bottom + 20,
        label,
        format_html_join("", "{}", ((shape,) for shape in shapes)),
    )


def _ticks(seconds: float) -> list[float]:
    """Return the moments from 0 to `seconds` that an axis names: at most six, at round distances."""
    distance = next((each for each in _TICK_SECONDS if each * 5 >= seconds), seconds)
    return [number * distance for number in range(int(seconds / distance) + 1)]

"""Line charts as SVG, rendered by the server: pages need no script to draw them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH = 320
HEIGHT = 84
#: A line at the edge would be cut in half.
_MARGIN = 3


@dataclass(frozen=True)
class Chart:
    """A chart with the texts around it: the top and bottom of its axis, and its first moment."""

    title: str
    latest: str
    svg: SafeString
    top: str
    bottom: str
    start: str
    note: str = ""


def line(
    series: Sequence[float | None],
    *,
    label: str,
    top: float,
    target: float | None = None,
    height: int = HEIGHT,
    is_bridged: bool = False,
) -> SafeString:
    """Return a line from 0 to `top`, with gaps where nothing is known, above an area, and a dashed line at the target.

    `label` says for a screen reader what is shown. A bridged line has no gaps: in a quiet hour a share has no value.
    """
    step = WIDTH / max(1, len(series) - 1)

    def y(value: float) -> float:
        return round(height - _MARGIN - (height - 2 * _MARGIN) * min(1, max(0, value / top if top else 0)), 1)

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
        if len(piece) > 1
    ]
    rules = [y(top), y(0)] if height == HEIGHT else []
    return format_html(
        '<svg class="rc-chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        "{}{}{}{}</svg>",
        WIDTH,
        height,
        label,
        format_html_join("", '<path class="rc-rule" d="M0 {}H{}"/>', ((at, WIDTH) for at in rules)),
        format_html_join("", '<path class="rc-area" d="{}"/>', ((path,) for path in areas)),
        format_html('<path class="rc-target" d="M0 {}H{}"/>', y(target), WIDTH) if target and target <= top else "",
        format_html_join("", '<path class="rc-line" d="{}"/>', ((path,) for path in lines)),
    )


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
    """Return a bar for each row on a common axis of so many seconds."""
    width, row_height, left = 960, 26, 240
    scale = (width - left - 10) / max(seconds, 1)

    def x(at: float) -> float:
        return round(left + max(0, at) * scale, 1)

    shapes = []
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
        len(rows) * row_height + 8,
        label,
        format_html_join("", "{}", ((shape,) for shape in shapes)),
    )

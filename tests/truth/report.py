"""Tables and JSON of the figures of tests/truth/measure.py. README.md explains the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.truth.measure import Figures, SectionCount, count_by_what, share

_WIDTH = 160


def to_json(figures: Figures) -> dict[str, Any]:
    """Return all figures as JSON values, also summed up by type and in total."""
    # `asdict` would count the pairs of a Counter in place of copying them.
    counters = ("claims", "failures", "refused")
    data = {name: getattr(figures, name) for name in Figures.__slots__ if name not in (*counters, "sections")}
    return {
        **data,
        **{name: dict(getattr(figures, name)) for name in counters},
        "false_statements": [each._asdict() for each in figures.false_statements],
        "unsupported_sentences": [each._asdict() for each in figures.unsupported_sentences],
        "lost_sentences": [each._asdict() for each in figures.lost_sentences],
        "sections": {f"{type_id}.{key}": asdict(count) for (type_id, key), count in figures.sections.items()},
        "types": {type_id: asdict(count) for type_id, count in figures.by_type().items()},
        "total": asdict(figures.total()),
    }


def print_figures(name: str, figures: Figures, *, engine: str) -> None:
    """Print the figures of one oracle: in all, by type and by section."""
    console = Console(width=_WIDTH)
    total = figures.total()
    rows: Sequence[tuple[str, str, str]] = [
        ("planted conversations", str(figures.planted), str(figures.plain_planted)),
        (
            "shown to the reading stage",
            share(figures.read, figures.planted),
            share(figures.plain_read, figures.plain_planted),
        ),
        (
            "kept as episodes",
            share(figures.kept, figures.planted),
            share(figures.plain_kept, figures.plain_planted),
        ),
        ("shown for a section they belong to", share(total.shown, total.quotable), ""),
        ("slots cited by the oracle", share(total.cited, total.slots), ""),
        ("sentences of the oracle kept", share(total.written - total.lost, total.written), ""),
        ("slots quoted", share(total.quoted, total.slots), share(total.plain_quoted, total.plain_slots)),
        ("ratings in order, far apart", share(total.right, total.right + total.tied + total.wrong), ""),
        ("  right / tied / wrong", _join(total.right, total.tied, total.wrong), ""),
        ("  not rated / though it could be", _join(total.unrated_pairs, total.missing_pairs), ""),
        ("ratings on fewer than three messages", f"{total.rated_on_too_little} of {total.rated}", ""),
        ("quotes of another kind", str(total.misplaced), ""),
        ("quotes of everyday messages and distractors", str(total.false_quotes), ""),
        ("unsupported sentences of summaries", str(len(figures.unsupported_sentences)), ""),
        ("false statements", str(len(figures.false_statements)), ""),
        ("documents", str(figures.documents), ""),
    ]
    table = Table("engine " + engine + ", oracle " + name, "all", "plain words", title="Truth")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for what, counts in (("failed", figures.failures), ("refused", figures.refused)):
        if counts:
            console.print(f"{what}: " + ", ".join(f"{code} {count}" for code, count in counts.items()))
    if figures.claims:
        console.print("claims: " + ", ".join(f"{count} {name}" for name, count in figures.claims.items()))
    for what, times in count_by_what([*figures.false_statements, *figures.unsupported_sentences]).items():
        console.print(f"{times} x {what}")
    console.print(_make_type_table(figures))
    console.print(_make_section_table(figures))


def _make_type_table(figures: Figures) -> Table:
    columns = ("planted", "shown", "cited", "kept", "quoted", "plain", "right / tied / wrong", "unrated", "false")
    table = Table("type", *columns, title="By type; planted conversations count in every section they belong to")
    false = {type_id: 0 for type_id, _ in figures.sections}
    for statement in (*figures.false_statements, *figures.unsupported_sentences):
        false[statement.type_id] += 1
    for type_id, count in figures.by_type().items():
        table.add_row(type_id, *_describe(count), str(count.unrated_pairs + count.missing_pairs), str(false[type_id]))
    return table


def _make_section_table(figures: Figures) -> Table:
    columns = ("planted", "shown", "cited", "kept", "quoted", "plain", "right / tied / wrong", "unrated", "rated")
    table = Table("section", *columns, title="By section")
    for (type_id, key), count in figures.sections.items():
        unrated = count.unrated_pairs + count.missing_pairs
        table.add_row(f"{type_id}.{key}", *_describe(count), str(unrated), str(count.rated))
    return table


def _describe(count: SectionCount) -> tuple[str, ...]:
    return (
        str(count.planted),
        share(count.shown, count.quotable),
        share(count.cited, count.slots),
        share(count.written - count.lost, count.written),
        f"{share(count.quoted, count.slots)} of {count.slots}",
        share(count.plain_quoted, count.plain_slots),
        _join(count.right, count.tied, count.wrong),
    )


def print_oracles(evaluated: Mapping[str, Figures], *, engine: str) -> None:
    """Print one row for each oracle: what it invented and reached a document."""
    columns = ("oracle", "documents", "failed", "false statements", "unsupported", "on < 3 messages", "of which")
    table = Table(*columns, title=f"Oracles, engine {engine}")
    for name, figures in evaluated.items():
        by_what = count_by_what([*figures.false_statements, *figures.unsupported_sentences])
        table.add_row(
            name,
            str(figures.documents),
            str(figures.failures.total()),
            str(len(figures.false_statements)),
            str(len(figures.unsupported_sentences)),
            str(figures.total().rated_on_too_little),
            ", ".join(f"{times} x {what}" for what, times in by_what.items()),
        )
    Console(width=_WIDTH).print(table)


def print_details(evaluated: Iterable[Figures]) -> None:
    """Print every false statement, and every sentence of an oracle that is not in the document."""
    for figures in evaluated:
        for statement in (*figures.false_statements, *figures.unsupported_sentences):
            print(f"{statement.type_id}.{statement.section}: {statement.what}: {statement.text}")
        for sentence in figures.lost_sentences:
            print(f"{sentence.type_id}.{sentence.section}: lost: {sentence.text}")


def _join(*counts: int) -> str:
    return " / ".join(map(str, counts)) if any(counts) else "-"

"""Evaluate reading and insights on planted chats: `python -m tests.truth`. README.md explains the table."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import stage

if TYPE_CHECKING:
    from tests.truth.ground_truth import GroundTruth
    from tests.truth.measure import Figures

EXPORTS = (".txt", ".zip", ".json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.truth", description=__doc__)
    parser.add_argument("--engine", choices=["gemini", "openai", "local"], default="gemini")
    parser.add_argument(
        "--category", choices=["romantic", "friendship", "family", "workplace", "all"], default="romantic"
    )
    parser.add_argument("--chats", type=Path, help="a directory of exports NAME.txt with NAME.truth.json")
    parser.add_argument("--oracle", default="perfect", help="perfect, the name of an adversarial one, or all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=2000, help="of each generated chat")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--details", action="store_true", help="also print every false statement")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write the generated chats, and stop")
    parser.add_argument("--retrieval", action="store_true", help="measure what searches find, and stop")
    options = parser.parse_args()
    with stage.installation():
        # Adversarial oracles cause hundreds of expected warnings.
        logging.disable(logging.CRITICAL)
        from tests.truth.adversaries import ORACLES
        from tests.truth.circles import generate_chats

        if options.write:
            options.write.mkdir(parents=True, exist_ok=True)
            for planted_chat in generate_chats(options.category, options.seed, messages=options.messages):
                print(planted_chat.write(options.write))
            return
        if options.retrieval:
            _print_retrieval(options)
            return
        names = list(ORACLES) if options.oracle == "all" else [options.oracle]
        if unknown := set(names) - ORACLES.keys():
            parser.error(f"no oracle {min(unknown)!r}; there are {', '.join(ORACLES)}")
        evaluated = {name: _evaluate(name, options) for name in names}
        if options.json:
            print(json.dumps({name: _to_json(figures) for name, figures in evaluated.items()}, indent=1))
            return
        for name, figures in evaluated.items():
            if name == "perfect" or len(evaluated) == 1:
                _print(name, figures, engine=options.engine)
        if len(evaluated) > 1:
            _print_oracles(evaluated, engine=options.engine)
        for figures in evaluated.values() if options.details else ():
            for statement in [*figures.false_statements, *figures.unsupported_sentences]:
                print(f"{statement.type_id}.{statement.section}: {statement.what}: {statement.text}")


def _print_retrieval(options: argparse.Namespace) -> None:
    """Print recall at 20 of the generated chats, by chat and method, and of the small chats that a test measures."""
    from chats import embedding
    from tests.truth import retrieval
    from tests.truth.circles import generate_chats

    chats = [
        *generate_chats(options.category, options.seed, messages=options.messages),
        *map(retrieval.generate_small, retrieval.load_recorded()),
    ]
    measured = [retrieval.measure(each) for each in chats]
    if options.json:
        print(json.dumps([each._asdict() for searches in measured for each in searches], indent=1))
        return
    table = Table(title=f"Recall at {retrieval.HITS}, {embedding.get_engine().name}", title_justify="left")
    for column in ("chat", "messages", "searches", "words", "vectors", "merged"):
        table.add_column(column, justify="left" if column == "chat" else "right")
    everything = [each for searches in measured for each in searches]
    for name, messages, searches in [
        *((each.truth.name, each.truth.messages, found) for each, found in zip(chats, measured, strict=True)),
        ("all", sum(each.truth.messages for each in chats), everything),
    ]:
        shares = [f"{retrieval.compute_recall(searches, method):.1%}" for method in retrieval.METHODS]
        table.add_row(name, str(messages), str(len(searches)), *shares)
    Console().print(table)


def _evaluate(name: str, options: argparse.Namespace) -> Figures:
    """Return the figures of one oracle over the given chats, or the generated ones."""
    from tests.truth import measure, pipeline
    from tests.truth.adversaries import INJECTION, ORACLES
    from tests.truth.circles import generate_chats

    if options.chats:
        chats = list(_load_chats(options.chats))
    else:
        # All adversarial oracles meet the same chats; one of them obeys an instruction in them.
        extra_lines = () if name == "perfect" else (INJECTION,)
        generated = generate_chats(options.category, options.seed, messages=options.messages, extra_lines=extra_lines)
        chats = [(each.truth, each.export.encode()) for each in generated]
    return measure.measure(
        [pipeline.run_chat(truth, upload, engine=options.engine, oracle=ORACLES[name]) for truth, upload in chats]
    )


def _load_chats(directory: Path) -> Iterator[tuple[GroundTruth, bytes]]:
    """Yield the ground truth and the export of each planted chat of a directory."""
    from tests.truth import ground_truth

    for path in sorted(directory.glob("*.truth.json")):
        name = path.name.removesuffix(".truth.json")
        exports = [directory / f"{name}{suffix}" for suffix in EXPORTS if (directory / f"{name}{suffix}").exists()]
        if not exports:
            raise SystemExit(f"{path} has no export: {name}.txt, {name}.zip or {name}.json")
        yield ground_truth.read(path), exports[0].read_bytes()


def _to_json(figures: Figures) -> dict[str, Any]:
    data = asdict(figures)
    data["sections"] = {f"{type_id}.{key}": asdict(count) for (type_id, key), count in figures.sections.items()}
    data["total"] = asdict(figures.total())
    return data


def _print(name: str, figures: Figures, *, engine: str) -> None:
    from tests.truth.measure import count_by_what, share

    console = Console(width=150)
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
        ("slots quoted", share(total.quoted, total.slots), share(total.plain_quoted, total.plain_slots)),
        ("ratings in order, far apart", share(total.right, total.right + total.tied + total.wrong), ""),
        (
            "  right / tied / wrong",
            _join(total.right, total.tied, total.wrong),
            "",
        ),
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
    by_section = Table("section", "planted", "shown", "slots", "cited", "quoted", "plain", "order", "rated", title="")
    for (type_id, key), count in figures.sections.items():
        by_section.add_row(
            f"{type_id}.{key}",
            str(count.planted),
            share(count.shown, count.quotable),
            str(count.slots),
            share(count.cited, count.slots),
            share(count.quoted, count.slots),
            share(count.plain_quoted, count.plain_slots),
            _join(count.right, count.tied, count.wrong, count.unrated_pairs + count.missing_pairs),
            str(count.rated),
        )
    console.print(by_section)


def _print_oracles(evaluated: Mapping[str, Figures], *, engine: str) -> None:
    """Print one row for each oracle: what it invented and reached a document."""
    from tests.truth.measure import count_by_what

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
    Console(width=150).print(table)


def _join(*counts: int) -> str:
    return " / ".join(map(str, counts)) if any(counts) else "-"


if __name__ == "__main__":
    main()

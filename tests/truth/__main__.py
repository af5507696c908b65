"""Evaluate reading and insights on planted chats: `python -m tests.truth`. README.md explains the table."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from insights.translation import LANGUAGES
from tests.benchmarks import stage

if TYPE_CHECKING:
    from tests.truth.ground_truth import GroundTruth
    from tests.truth.measure import Figures

EXPORTS = (".txt", ".zip", ".json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.truth", description=__doc__)
    parser.add_argument("--engine", choices=["gemini", "openai", "local"], default="gemini")
    parser.add_argument(
        "--category",
        choices=["romantic", "friendship", "family", "workplace", "all", "groups"],
        default="romantic",
        help="of the generated chats; groups are of people who are easy to confuse",
    )
    parser.add_argument("--chats", type=Path, help="a directory of exports NAME.txt with NAME.truth.json")
    parser.add_argument("--oracle", default="perfect", help="perfect, the name of an adversarial one, or all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=2000, help="of each generated chat")
    parser.add_argument("--language", choices=list(LANGUAGES), default="en", help="of the insights")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--details", action="store_true", help="also print every false statement and lost sentence")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write the generated chats, and stop")
    parser.add_argument("--retrieval", action="store_true", help="measure what searches find, and stop")
    parser.add_argument("--embeddings", choices=["local", "gemini"], default="local", help="of --retrieval")
    parser.add_argument("--questions", action="store_true", help="ask questions about the chats, and stop")
    options = parser.parse_args()
    with stage.installation():
        # Adversarial oracles cause hundreds of expected warnings.
        logging.disable(logging.CRITICAL)
        from tests.truth import report
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
        if options.questions:
            _print_questions(options)
            return
        names = list(ORACLES) if options.oracle == "all" else [options.oracle]
        if unknown := set(names) - ORACLES.keys():
            parser.error(f"no oracle {min(unknown)!r}; there are {', '.join(ORACLES)}")
        evaluated = {name: _evaluate(name, options) for name in names}
        if options.json:
            print(json.dumps({name: report.to_json(figures) for name, figures in evaluated.items()}, indent=1))
            return
        for name, figures in evaluated.items():
            if name == "perfect" or len(evaluated) == 1:
                report.print_figures(name, figures, engine=options.engine)
        if len(evaluated) > 1:
            report.print_oracles(evaluated, engine=options.engine)
        if options.details:
            report.print_details(evaluated.values())


def _print_retrieval(options: argparse.Namespace) -> None:
    """Print recall at 20 of the generated chats, by chat and method, and of the small chats that a test measures."""
    from chats import embedding
    from tests.truth import retrieval
    from tests.truth.circles import generate_chats

    chats = [
        *generate_chats(options.category, options.seed, messages=options.messages),
        *map(retrieval.generate_small, retrieval.load_recorded()),
    ]
    with retrieval.embedding_with(options.embeddings):
        measured = [retrieval.measure(each) for each in chats]
        engine = embedding.get_engine().name
    if options.json:
        print(json.dumps([each._asdict() for searches in measured for each in searches], indent=1))
        return
    table = Table(title=f"Recall at {retrieval.HITS}, {engine}", title_justify="left")
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


def _print_questions(options: argparse.Namespace) -> None:
    """Print what becomes of questions, by chat, with a perfect reader and with two that lie."""
    from tests.truth.adversaries import ORACLES
    from tests.truth.circles import generate_chats
    from tests.truth.questions import make_questions, measure_questions

    columns = ("asked", "answered", "right", "absent", "refused", "rounds", "failed", "false statements")
    table = Table("chat", "reader", *columns, title=f"Questions, engine {options.engine}", title_justify="left")
    for planted_chat in generate_chats(options.category, options.seed, messages=options.messages):
        asked = make_questions(planted_chat.truth, seed=options.seed)
        for name in ("perfect", "lies and confirms", "lies and verifies"):
            figures = measure_questions(
                planted_chat, asked, engine=options.engine, oracle=ORACLES[name], insists=name != "perfect"
            )
            rounds = ", ".join(f"{times} x {count}" for count, times in sorted(figures.rounds.items()))
            counts = (figures.asked, figures.answered, figures.right, figures.absent, figures.refused)
            row = (*map(str, counts), rounds, str(figures.failed), str(len(figures.false_statements)))
            table.add_row(planted_chat.truth.name, name, *row)
    Console(width=150).print(table)


def _evaluate(name: str, options: argparse.Namespace) -> Figures:
    """Return the figures of one oracle over the given chats, or the generated ones."""
    from tests.truth import measure, pipeline
    from tests.truth.adversaries import INJECTION, ORACLES
    from tests.truth.circles import generate_chats
    from tests.truth.groups import GROUPS, generate_group

    types: dict[str, tuple[str, ...]] = {}
    if options.chats:
        chats = list(_load_chats(options.chats))
    elif options.category == "groups":
        generated = [generate_group(group, options.seed, extra_lines=(INJECTION,)) for group in GROUPS.values()]
        chats = [(each.truth, each.export.encode()) for each in generated]
        types = {each.truth.name: group.type_ids for each, group in zip(generated, GROUPS.values(), strict=True)}
    else:
        # All adversarial oracles meet the same chats; one of them obeys an instruction in them.
        extra_lines = () if name == "perfect" else (INJECTION,)
        generated = generate_chats(options.category, options.seed, messages=options.messages, extra_lines=extra_lines)
        chats = [(each.truth, each.export.encode()) for each in generated]
    return measure.measure(
        [
            pipeline.run_chat(
                truth,
                upload,
                engine=options.engine,
                oracle=ORACLES[name],
                type_ids=types.get(truth.name, ()),
                language=options.language,
            )
            for truth, upload in chats
        ]
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


if __name__ == "__main__":
    main()

"""Measure the shape of the code: `python -m tests.code_metrics [--list] [DIRECTORY…]`.

Counts the Python files below the directories (all packages of the product if none is given), without tests and
migrations. `--list` prints every private helper that is used once.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import tokenize
from dataclasses import dataclass
from pathlib import Path

from tests.relivchats.test_architecture import import_cycles

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("relivchats", "chats", "billing", "insights", "ops")
MAX_SUBJECT_LENGTH = 72


@dataclass(frozen=True)
class Function:
    """A function or method: where it is, its length in lines, and the number of times its file mentions it again."""

    place: str
    name: str
    lines: int
    uses: int

    @property
    def is_private_helper(self) -> bool:
        """Return whether the name starts with one underscore."""
        return self.name.startswith("_") and not self.name.startswith("__")


@dataclass(frozen=True)
class Module:
    """One file: its length in lines, its lines of code, its comments, and its functions."""

    lines: int
    code_lines: int
    comments: int
    functions: list[Function]


def measure(path: Path) -> Module:
    """Return the measurements of one file."""
    source = path.read_text()
    functions = [
        Function(
            place=f"{path}:{node.lineno}",
            name=node.name,
            lines=(node.end_lineno or node.lineno) - node.lineno + 1,
            uses=len(re.findall(rf"\b{re.escape(node.name)}\b", source)) - 1,
        )
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = source.splitlines()
    return Module(
        lines=len(lines),
        code_lines=sum(1 for line in lines if line.strip() and not line.strip().startswith("#")),
        comments=sum(token.type == tokenize.COMMENT for token in tokens),
        functions=functions,
    )


def percentile(values: list[int], share: float) -> int:
    """Return the value below which `share` (0 to 1) of the values lie; 0 of an empty list."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0


def commit_subjects() -> list[str]:
    """Return the subjects of all commits, or nothing outside a git checkout."""
    git = subprocess.run(["git", "log", "--format=%s"], cwd=ROOT, capture_output=True, text=True)
    return git.stdout.splitlines()


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", nargs="*", default=PACKAGES)
    parser.add_argument("--list", action="store_true", help="print every private helper that is used once")
    options = parser.parse_args()
    paths = [
        path
        for directory in options.directories
        for path in sorted(Path(directory).rglob("*.py"))
        if "migrations" not in path.parts
    ]
    modules = [measure(path) for path in paths]
    functions = [function for module in modules for function in module.functions]
    lengths = [function.lines for function in functions]
    per_file = [len(module.functions) for module in modules]
    used_once = [function for function in functions if function.is_private_helper and function.uses == 1]
    code_lines = sum(module.code_lines for module in modules)
    subjects = commit_subjects()
    rows = [
        ("modules, lines", f"{len(modules)}, {sum(module.lines for module in modules)}"),
        ("functions", f"{len(functions)}"),
        (
            "function length median / p90 / max",
            f"{percentile(lengths, 0.5)} / {percentile(lengths, 0.9)} / {max(lengths)}",
        ),
        ("private helpers used once", f"{len(used_once)}, {len(used_once) / len(functions):.1%} of all functions"),
        ("functions per file, median / p90", f"{percentile(per_file, 0.5)} / {percentile(per_file, 0.9)}"),
        ("comments per 100 lines of code", f"{100 * sum(module.comments for module in modules) / code_lines:.1f}"),
        ("import cycles", f"{len(import_cycles())}"),
        (
            "commit subjects over 72 characters",
            f"{sum(len(s) > MAX_SUBJECT_LENGTH for s in subjects)} of {len(subjects)}",
        ),
    ]
    for name, value in rows:
        print(f"{name:<36} {value}")
    if options.list:
        print(*(f"{function.place} {function.name}, {function.lines} lines" for function in used_once), sep="\n")


if __name__ == "__main__":
    main()

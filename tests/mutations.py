"""Is every guard of the ledger missed by some test when it is gone? `python -m tests.mutations [MODULE...]`.

On a copy of the repository each guard is taken away in turn (a refusal, an early
answer, a condition, a lock, a transaction) and the tests of coins run until the first that
fails. Prints the table of docs/ledger.md; exits 1 when a guard went and no test said so:
none failed, or the tests ran out of time or broke off, which says nothing of the guard.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = ("billing/ledger.py", "billing/payments/webhooks.py", "ops/health.py")
_MODEL = "tests/billing/test_ledger_against_model.py"
_PAYMENTS = "tests/billing/payments"
_ONE = ("-k", "not razorpay")


def tests_of(module: str) -> tuple[tuple[str, ...], ...]:
    """Near ones first: most guards fall there. Random histories come last: a failing one is made small for long."""
    if module.startswith("billing/payments/"):
        # One provider is enough: what they send is applied by the same lines.
        return (
            (*_ONE, f"{_PAYMENTS}/test_webhooks.py", f"{_PAYMENTS}/test_webhook_races.py"),
            (
                *_ONE,
                f"{_PAYMENTS}/test_reconciliation.py",
                f"{_PAYMENTS}/test_refunds.py",
                f"{_PAYMENTS}/test_crashes.py",
            ),
        )
    if module == "ops/health.py":
        return (("tests/ops/test_health.py",),)
    return (
        ("tests/billing/test_ledger.py", "tests/billing/test_races.py"),
        ("tests/billing", f"--ignore={_MODEL}"),
        (_MODEL,),
    )


#: Calls that guard by being made.
CALLS = re.compile(r"^(_?lock|_?check)")
#: Calls that guard and give something, and what gives it without guarding.
UNGUARDED = {
    "PaymentOrder.objects.lock": "PaymentOrder.objects.get(pk={})",
    "transaction.atomic": "__import__('contextlib').nullcontext()",
}
#: Without a mutant the slowest of these runs takes about a minute.
TIMEOUT_SECONDS = 300


class Mutant(NamedTuple):
    """A guard, by its function and its words, and the module's text without it."""

    function: str
    guard: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        for decorator in function.decorator_list:
            if ast.unparse(decorator) == "transaction.atomic":
                yield Mutant(function.name, "transaction.atomic", _without(source, decorator, first="@"))
        for node in ast.walk(function):
            if isinstance(node, ast.If) and not node.orelse:
                yield Mutant(function.name, f"if {ast.unparse(node.test)}", _unconditional(source, node))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and CALLS.match(_called(node.value)):
                yield Mutant(function.name, ast.unparse(node), _without(source, node))
            elif isinstance(node, ast.Call) and (unguarded := UNGUARDED.get(ast.unparse(node.func))):
                without = unguarded.format(*map(ast.unparse, node.args))
                yield Mutant(function.name, ast.unparse(node), _replaced(source, node, without))
            elif isinstance(node, ast.Call) and _called(node) == "select_for_update":
                assert isinstance(node.func, ast.Attribute)
                without = f"{ast.unparse(node.func.value)}.all()"
                yield Mutant(function.name, ".select_for_update()", _replaced(source, node, without))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def _unconditional(source: str, node: ast.If) -> str:
    """Without the refusal or the early answer; any other body without its condition."""
    leaves = isinstance(node.body[-1], ast.Raise | ast.Return)
    return _without(source, node) if leaves else _replaced(source, node.test, "True")


def _replaced(source: str, node: ast.expr, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    return b"".join([*lines[:first], before, text.encode(), after, *lines[last + 1 :]]).decode()


def _without(source: str, node: ast.expr | ast.stmt, *, first: str = "") -> str:
    """The text with the statement's lines replaced by one that does nothing."""
    lines = source.splitlines(keepends=True)
    start, end = node.lineno - 1, node.end_lineno or node.lineno
    indent = re.match(r"\s*", lines[start])
    nothing = "" if first else f"{indent.group() if indent else ''}pass\n"
    return "".join([*lines[:start], nothing, *lines[end:]])


class Outcome(NamedTuple):
    """What became of the tests without a guard. `missed`: one failed, and `told` names it."""

    missed: bool
    told: str


def outcome(repository: Path, module: str) -> Outcome:
    runs = (_run(repository, tests) for tests in tests_of(module))
    return next(filter(None, runs), Outcome(False, "**none**"))


def _run(repository: Path, tests: Sequence[str]) -> Outcome | None:
    """None: all of them passed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELIVCHATS_")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        ran = subprocess.run(
            command, cwd=repository, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Outcome(False, f"**out of time** after {TIMEOUT_SECONDS} s")
    if ran.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    return Outcome(True, _words(found.group(1))) if found else Outcome(False, f"**broke off**: {ran.returncode}")


def _words(test: str) -> str:
    """`tests/billing/test_races.py::test_that_it_is[so]`: "`races`: that it is"."""
    named = re.fullmatch(r"(?:tests/billing/)?((?:\w+/)*)test_(\w+)\.py::test_(\w+)(?:\[.*)?", test)
    return f"`{named[1]}{named[2]}`: {named[3].replace('_', ' ')}" if named else f"`{test}`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=[name for name in MODULES if (REPOSITORY / name).exists()])
    parser.add_argument("--functions", default="", help="only functions whose name this pattern matches in full")
    chosen, unnoticed = parser.parse_args(), 0
    with tempfile.TemporaryDirectory(prefix="relivchats-mutations-") as directory:
        copy = Path(directory) / "copy"
        shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(".git", ".venv", "var", "__pycache__"))
        for module in chosen.modules:
            print(f"| of `{Path(module).name}` | without | fails in `test_….py` |\n|---|---|---|", flush=True)
            source = (copy / module).read_text()
            for mutant in mutants(source):
                if chosen.functions and not re.fullmatch(chosen.functions, mutant.function):
                    continue
                (copy / module).write_text(mutant.source)
                became = outcome(copy, module)
                unnoticed += not became.missed
                guard = mutant.guard.replace("|", "\\|")
                print(f"| `{mutant.function}` | `{guard}` | {became.told} |", flush=True)
            (copy / module).write_text(source)
    sys.exit(bool(unnoticed))


if __name__ == "__main__":
    main()

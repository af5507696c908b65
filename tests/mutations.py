"""Is every guard of the ledger missed by some test when it is gone? `python -m tests.mutations [MODULE...]`.

On a copy of the repository each guard is taken away in turn (a refusal, an early
answer, a condition, a lock, a transaction) and the tests of coins run until the first that
fails. Prints a table; exits 1 when a guard went and no test noticed.
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
MODULES = ("billing/ledger.py", "billing/payments/webhooks.py")
_MODEL = "tests/billing/test_ledger_against_model.py"
_PAYMENTS = "tests/billing/payments"


def tests_of(module: str) -> tuple[tuple[str, ...], ...]:
    """Near ones first: most guards fall there. Random histories come last: a failing one is made small for long."""
    if module == "billing/payments/webhooks.py":
        # One provider is enough: what they send is applied by the same lines.
        return (
            ("-k", "not razorpay", f"{_PAYMENTS}/test_webhooks.py", f"{_PAYMENTS}/test_webhooks_at_once.py"),
            (f"{_PAYMENTS}/test_refunds.py", f"{_PAYMENTS}/test_crashes.py"),
        )
    return (
        ("tests/billing/test_ledger.py", "tests/billing/test_races.py"),
        ("tests/billing", f"--ignore={_MODEL}"),
        (_MODEL,),
    )


#: Calls that guard by being made.
CALLS = re.compile(r"^(_?lock|_?check)")
#: Calls that guard and give something, and what gives it without guarding.
UNGUARDED = {
    "settling.lock": "PaymentOrder.objects.get(pk={})",
    "transaction.atomic": "__import__('contextlib').nullcontext()",
}
TIMEOUT_SECONDS = 600


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


def first_failure(repository: Path, module: str) -> str | None:
    """The first test that fails there, or None."""
    return next(filter(None, (_failure(repository, tests) for tests in tests_of(module))), None)


def _failure(repository: Path, tests: Sequence[str]) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELIVCHATS_")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        ran = subprocess.run(
            command, cwd=repository, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"({' '.join(tests)} takes too long)"
    if ran.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    return found.group(1).removeprefix("tests/billing/") if found else f"(pytest exits {ran.returncode})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=[name for name in MODULES if (REPOSITORY / name).exists()])
    parser.add_argument("--functions", default="", help="only functions whose name this pattern matches in full")
    chosen, missed = parser.parse_args(), 0
    with tempfile.TemporaryDirectory(prefix="relivchats-mutations-") as directory:
        copy = Path(directory) / "copy"
        shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(".git", ".venv", "var", "__pycache__"))
        print("| module | function | without | first test that fails |\n|---|---|---|---|", flush=True)
        for module in chosen.modules:
            source = (copy / module).read_text()
            for mutant in mutants(source):
                if chosen.functions and not re.fullmatch(chosen.functions, mutant.function):
                    continue
                (copy / module).write_text(mutant.source)
                failed = first_failure(copy, module)
                missed += failed is None
                told = f"`{failed}`" if failed else "**none**"
                print(f"| {module} | `{mutant.function}` | `{mutant.guard}` | {told} |", flush=True)
            (copy / module).write_text(source)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()

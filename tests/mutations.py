"""Remove each guard in turn and check that a test fails: `python -m tests.mutations [MODULE...]`.

A guard is a rejection, an early return, a condition, a lock, a transaction or, in the modules of jobs, a condition of a
WHERE clause. Each is removed in a copy of the repository, and the module's tests run until the first failure. The
script prints the tables of docs/ledger.md and docs/jobs.md. It exits with 1 if a guard was removed and no test failed,
or if the tests timed out or broke off, which proves nothing.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
#: The modules whose guards docs/ledger.md lists.
MODULES = ("billing/ledger.py", "billing/payments/webhooks.py", "ops/health.py")
_MODEL = "tests/billing/test_ledger_against_model.py"
_PAYMENTS = "tests/billing/payments"
_ONE = ("-k", "not razorpay")
_JOBS = ("tests/insights/test_jobs.py",)
_LEASES = ("tests/relivchats/test_leases.py",)
_UNLOCKS = ("tests/insights/test_unlocking.py", "tests/api/test_quotes.py", "-k", "not thousand")

#: The modules whose guards docs/jobs.md lists, with the test runs that must miss each of them.
JOB_MODULES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "relivchats/leases.py": (_LEASES,),
    "insights/settlement.py": (_JOBS, _UNLOCKS),
    "insights/dispatch.py": (("tests/insights/test_jobs.py", "-k", "dispatch or places"), _JOBS),
    "insights/generation.py": (_JOBS,),
    "insights/recovery.py": (_JOBS,),
    "insights/unlocking.py": (_UNLOCKS, ("tests/api/test_insights.py",)),
}

#: Conditions that guard nothing: without them, the same rows are found by a slower way.
EQUIVALENT: Mapping[tuple[str, str], str] = {
    ("dispatch", "if not candidates"): "saves an empty transaction",
    ("held", "pk=lease.row_id"): "the token is unique, and the id is indexed",
}


def tests_of(module: str) -> tuple[tuple[str, ...], ...]:
    """Return the test runs, the nearest tests first. Random histories come last: shrinking a failing one takes long."""
    if module in JOB_MODULES:
        return JOB_MODULES[module]
    if module.startswith("billing/payments/"):
        # One provider is enough: the same lines apply what the others send.
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
#: Calls that guard and return a value, and an expression that returns the value without the guard.
UNGUARDED = {
    "PaymentOrder.objects.lock": "PaymentOrder.objects.get(pk={})",
    "transaction.atomic": "__import__('contextlib').nullcontext()",
}
#: The slowest of these runs takes about a minute if no guard is removed.
TIMEOUT_SECONDS = 300


class Mutant(NamedTuple):
    """A guard, by its function and its source text, and the module's source without it."""

    function: str
    guard: str
    source: str


def mutants(source: str, *, conditions: bool = False) -> Iterator[Mutant]:
    """Yield the module without each of its guards; with `conditions`, also without each condition of a query."""
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
            elif conditions and isinstance(node, ast.Call) and _called(node) in {"filter", "exclude"}:
                yield from _without_each_condition(source, function.name, node)


def _without_each_condition(source: str, function: str, call: ast.Call) -> Iterator[Mutant]:
    conditions: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    for removed in conditions:
        arguments = ", ".join(ast.unparse(condition) for condition in conditions if condition is not removed)
        yield Mutant(function, ast.unparse(removed), _replaced(source, call, f"{ast.unparse(call.func)}({arguments})"))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def _unconditional(source: str, node: ast.If) -> str:
    """Return the source without a rejection or an early return; any other body runs without its condition."""
    leaves = isinstance(node.body[-1], ast.Raise | ast.Return)
    return _without(source, node) if leaves else _replaced(source, node.test, "True")


def _replaced(source: str, node: ast.expr, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    return b"".join([*lines[:first], before, text.encode(), after, *lines[last + 1 :]]).decode()


def _without(source: str, node: ast.expr | ast.stmt, *, first: str = "") -> str:
    """Return the source with the lines of the statement replaced by one that does nothing."""
    lines = source.splitlines(keepends=True)
    start, end = node.lineno - 1, node.end_lineno or node.lineno
    indent = re.match(r"\s*", lines[start])
    nothing = "" if first else f"{indent.group() if indent else ''}pass\n"
    return "".join([*lines[:start], nothing, *lines[end:]])


class Outcome(NamedTuple):
    """The result of the tests without a guard: whether a test failed, and which."""

    missed: bool
    test: str


def run_tests(repository: Path, module: str) -> Outcome:
    runs = (_run(repository, tests) for tests in tests_of(module))
    return next(filter(None, runs), Outcome(False, "**none**"))


def _run(repository: Path, tests: Sequence[str]) -> Outcome | None:
    """Return None if all tests passed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELIVCHATS_")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        ran = subprocess.run(
            command, cwd=repository, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Outcome(False, f"**timed out** after {TIMEOUT_SECONDS} s")
    if ran.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    return Outcome(True, _describe(failed.group(1))) if failed else Outcome(False, f"**broke off**: {ran.returncode}")


def _describe(test: str) -> str:
    """Return "`races`: that it is" for tests/billing/test_races.py::test_that_it_is[so]."""
    parts = re.fullmatch(r"(?:tests/\w+/)?((?:\w+/)*)test_(\w+)\.py::(?:\w+::)?test_(\w+)(?:\[.*)?", test)
    return f"`{parts[1]}{parts[2]}`: {parts[3].replace('_', ' ')}" if parts else f"`{test}`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=[*MODULES, *JOB_MODULES])
    parser.add_argument("--functions", default="", help="only functions whose name this pattern matches in full")
    options, survivors = parser.parse_args(), 0
    with tempfile.TemporaryDirectory(prefix="relivchats-mutations-") as directory:
        copy = Path(directory) / "copy"
        shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(".git", ".venv", "var", "__pycache__"))
        for module in options.modules:
            print(f"| of `{Path(module).name}` | without | fails in `test_….py` |\n|---|---|---|", flush=True)
            source = (copy / module).read_text()
            for mutant in mutants(source, conditions=module in JOB_MODULES):
                if (mutant.function, mutant.guard) in EQUIVALENT:
                    continue
                if options.functions and not re.fullmatch(options.functions, mutant.function):
                    continue
                (copy / module).write_text(mutant.source)
                result = run_tests(copy, module)
                survivors += not result.missed
                guard = mutant.guard.replace("|", "\\|")
                print(f"| `{mutant.function}` | `{guard}` | {result.test} |", flush=True)
            (copy / module).write_text(source)
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()

"""Remove each guard in turn and check that a test fails: `python -m tests.mutations [MODULE...]`.

A guard is a rejection, an early return, a condition, a lock, a transaction or, in the modules of jobs, a condition of a
WHERE clause. In the modules of docs/guards.md, single operands of conditions, exception handlers, limits of slices and
some calls count as well. Each guard is removed in a copy of the repository, and the module's tests run until the first
failure. The script prints the tables of docs/ledger.md, docs/jobs.md and docs/guards.md. It exits with 1 if a guard was
removed and no test failed, or if the tests timed out or broke off, which proves nothing.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relivchats import embedded

REPOSITORY = Path(__file__).resolve().parent.parent
#: The modules whose guards docs/ledger.md lists.
MODULES = ("billing/ledger.py", "billing/payments/webhooks.py", "ops/health.py")
_MODEL = "tests/billing/test_ledger_against_model.py"
_PAYMENTS = "tests/billing/payments"
_ONE = ("-k", "not razorpay")
_JOBS = ("tests/insights/test_jobs.py",)
_RECOVERY = ("tests/insights/test_recovery.py",)
_READINGS = ("tests/insights/test_reading_recovery.py", "tests/insights/test_reading.py")
_READ_JOBS = ("tests/insights/test_read_jobs.py",)
_FAIRNESS = ("tests/insights/test_fairness.py",)
_ADMISSION = ("tests/insights/test_admission.py",)
_DEADLINES = ("tests/insights/test_deadlines.py",)
_LEASES = ("tests/relivchats/test_leases.py",)
_UNLOCKS = ("tests/insights/test_unlocking.py", "tests/api/test_quotes.py", "-k", "not thousand and not fifty")

#: The modules whose guards docs/jobs.md lists, with the test runs that must miss each of them.
JOB_MODULES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "relivchats/leases.py": (_LEASES, _FAIRNESS),
    "insights/settlement.py": (_RECOVERY, _JOBS, (*_READ_JOBS, "-k", "cause or past_its_deadline")),
    "insights/dispatch.py": (
        ("tests/ops/test_queue_and_workers.py", "-k", "paused"),
        (*_JOBS, "-k", "dispatch"),
        _FAIRNESS,
        _JOBS,
        _READINGS,
    ),
    "insights/admission.py": (_ADMISSION,),
    "insights/generation.py": (_RECOVERY, _JOBS, _DEADLINES, _READ_JOBS),
    "insights/recovery.py": (
        _RECOVERY,
        _DEADLINES,
        _JOBS,
        _READINGS,
        ("tests/api/test_questions.py",),
        _READ_JOBS,
    ),
    "insights/unlocking.py": (_UNLOCKS, _ADMISSION, ("tests/api/test_insights.py",)),
}

_PERMISSIONS = "tests/admin/test_permissions.py"

_KEY_STORE = "tests/chats/test_key_store.py"

#: Options of a run that needs neither servers nor Django.
_PURE = ("--noconftest", "-o", "addopts=", "-p", "no:django")

#: The modules whose guards docs/guards.md lists, with the test runs that must miss each of them.
GUARD_MODULES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "relivchats/idempotency.py": (("tests/relivchats/test_idempotency.py",), ("tests/api/test_idempotency.py",)),
    "relivchats/accounts/tokens.py": (("tests/accounts/test_tokens.py", "tests/accounts/test_login.py"),),
    "insights/evidence.py": ((*_PURE, "tests/insights/test_evidence.py", "tests/insights/test_evidence_languages.py"),),
    "relivchats/crypto.py": ((*_PURE, "tests/relivchats/test_crypto.py"),),
    "relivchats/key_store.py": ((*_PURE, "tests/relivchats/test_key_store.py"), (_KEY_STORE,)),
    "chats/data_keys.py": ((_KEY_STORE,),),
    "chats/exports/unpacking.py": (
        (*_PURE, "tests/chats/test_exports_unpacking.py"),
        (*_PURE, "tests/chats/test_exports_platforms.py", "-k", "each_cause"),
        (*_PURE, "tests/chats/test_exports_telegram_html.py"),
    ),
    "chats/limits.py": (("tests/api/test_limits.py",),),
    "relivchats/throttling.py": (
        ("tests/relivchats/test_throttling.py", "tests/api/test_rate_limits.py"),
        ("tests/accounts/test_login.py",),
    ),
    "relivchats/accounts/passwords.py": (
        ("tests/accounts/test_login.py",),
        (_PERMISSIONS, "-k", "cannot_approve or each_others"),
    ),
    "relivchats/proxies.py": (("tests/relivchats/test_proxies.py",),),
    "relivchats/headers.py": (("tests/relivchats/test_headers.py",),),
    "billing/adjustments.py": (
        ("tests/billing/test_adjustments.py",),
        ("tests/billing/test_repairs.py",),
        (_PERMISSIONS, "-k", "cannot_approve or each_others"),
    ),
    "relivchats/staff/lookups.py": ((_PERMISSIONS, "-k", "cannot_be_read or nul_byte or malformed"),),
    "relivchats/logs.py": (
        ("tests/relivchats/test_logs.py",),
        ("tests/api/test_problems.py", "-k", "debug"),
        ("tests/ops/test_requests.py", "-k", "repeats"),
    ),
    "relivchats/staff/bulk_actions.py": (("tests/relivchats/test_bulk_actions.py",),),
    "relivchats/heavy_requests.py": ((*_PURE, "tests/relivchats/test_heavy_requests.py"),),
    "chats/parsing_processes.py": (("tests/chats/test_parsing_processes.py",),),
    "chats/memory.py": (("tests/chats/test_memory.py",),),
}

#: Functions of docs/guards.md's modules that choose an encoding or an order, and refuse nothing.
NOT_GUARDS = {"rank", "as_utf8", "_wide_encoding", "_repair"}

#: Conditions that guard nothing, with the reason.
EQUIVALENT: Mapping[tuple[str, str], str] = {
    ("_save", "if wallet.owed and wallet.spendable"): "saves a query: there are no debts, or no coins for them",
    ("dispatch", "if not candidates"): "saves an empty transaction",
    ("claim", "if not claimed"): "saves a query: no row has the new token",
    ("renew_all", "**{self.status_column: self.leased}"): "the token implies it; the index of leased rows serves it",
    ("complete", "if delivered"): "a lost lease changes nothing, so no job is left to close",
    ("claim_insight", "if job is None"): "a closed job has no open insight, so nothing is claimed",
    ("_generate", "if chat is None"): "build_brief refuses a deleted chat as well",
    ("change_own_password", "not isinstance(request.user, User)"): "the admin has checked the login",
    ("_open_job", "insight_type__in=list(price_by_type)"): "saves reading the versions of other types",
    ("dispatch", "job__created_at__gte=Now() - _RECENT"): "saves reading the insights of jobs that are over",
    ("find_refusal", "if queued"): "saves a query: if nothing waits, the wait is that for one insight to end",
    ("_is_stalled", "status=ChatReading.Status.READING"): "the lease implies it; the index of leased rows serves it",
    ("_is_stalled", "vector_status=Chat.VectorStatus.INDEXING"): "the lease implies it; the index serves it",
    ("_wait_until_read", "finished_at__isnull=False"): "what has no duration is left out",
    ("unpack", "not text[:_STEP_BYTES].strip()"): "saves a copy of the whole text",
    ("held", "pk=lease.row_id"): "the token is unique, and the id is indexed",
    ("keep_claim", "pk=claim.pk"): "the token is unique, and the id is indexed",
    ("_once", "pk=claim.pk"): "the token is unique, and the id is indexed",
    ("renew_all", "pk__in=[claim.pk for claim in claims]"): "the tokens are unique, and the ids are indexed",
    ("renew_all", "status=None"): "the lease of a key with a response is not read",
    ("give_back", "**{self.status_column: self.leased}"): "the token implies it; the index of leased rows serves it",
    ("_once", "status=None"): "nothing fails after the response is stored",
    ("_content", "with suppress(DomainError)"): "the view refuses the file with the same error",
    ("_earlier", "user=user"): "the digest contains the user's id",
    ("is_supported", "if spans"): "saves normalizing the messages",
    ("is_supported", "if not unknown"): "saves reading the words of the messages",
    ("_mask_names", "if not parts"): "an empty pattern masks nothing",
    ("destroy_due_if_possible", "if (destroyed := destroy_due())"): "saves a line in the log every minute",
    ("destroy_due", "due_at__lte=Now()"): "saves locking keys that are not due: _destroy refuses them as well",
    ("_is_controlled", "if kind == 'user'"): "other actors have no UUID",
    ("_run_child", "ours.close()"): "it is closed when it is freed, which is a moment later",
    ("parse", "not colon"): "without a colon the key is empty, and its length is wrong",
}


def tests_of(module: str) -> tuple[tuple[str, ...], ...]:
    """Return the test runs, the nearest tests first. Random histories come last: shrinking a failing one takes long."""
    if runs := {**JOB_MODULES, **GUARD_MODULES}.get(module):
        return runs
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
#: In the modules of docs/guards.md, calls that count, undo, record or forget as well.
THOROUGH_CALLS = re.compile(
    r"^(_?refuse|spend|restart|undo|record|clear|reset|seek|update|difference_update|delete|close|notify)"
)
NO_CONTEXT = "__import__('contextlib').nullcontext()"
#: Calls that guard and return a value, and an expression that returns the value without the guard.
UNGUARDED = {
    "PaymentOrder.objects.lock": "PaymentOrder.objects.get(pk={})",
    "transaction.atomic": NO_CONTEXT,
}
#: The slowest of these runs takes about a minute if no guard is removed.
TIMEOUT_SECONDS = 300


class Mutant(NamedTuple):
    """A guard, by its function and its source text, and the module's source without it."""

    function: str
    guard: str
    source: str


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Yield the module's source without each of its guards, except those that are equivalent."""
    conditions, thorough = module in JOB_MODULES or module in GUARD_MODULES, module in GUARD_MODULES
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    found = [mutant for function in functions for mutant in _mutants(source, function, conditions, thorough)]
    if thorough:
        found += _without_each_condition_of_sql(source)
    seen = {source}
    for mutant in found:
        listed = mutant.function not in NOT_GUARDS and (mutant.function, mutant.guard) not in EQUIVALENT
        if listed and mutant.source not in seen:
            seen.add(mutant.source)
            yield mutant


def _mutants(source: str, function: ast.FunctionDef, conditions: bool, thorough: bool) -> Iterator[Mutant]:
    for decorator in function.decorator_list:
        if ast.unparse(decorator) == "transaction.atomic":
            yield Mutant(function.name, "transaction.atomic", _without(source, decorator, first="@"))
    leaving = (ast.Raise, ast.Return, ast.Continue, ast.Break) if thorough else (ast.Raise, ast.Return)
    for node in _nodes_of(function):
        if isinstance(node, ast.If) and not node.orelse:
            without = _unconditional(source, node, leaving=leaving)
            yield Mutant(function.name, f"if {ast.unparse(node.test)}", without)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and CALLS.match(_called(node.value)):
            yield Mutant(function.name, ast.unparse(node), _without(source, node))
        elif isinstance(node, ast.Call) and (unguarded := UNGUARDED.get(ast.unparse(node.func))):
            without = unguarded.format(*map(ast.unparse, node.args))
            yield Mutant(function.name, ast.unparse(node), _replaced(source, node, without))
        elif isinstance(node, ast.Call) and _called(node) == "select_for_update":
            assert isinstance(node.func, ast.Attribute)
            without = f"{ast.unparse(node.func.value)}.all()"
            yield Mutant(function.name, ".select_for_update()", _replaced(source, node, without))
        elif conditions and isinstance(node, ast.Call) and re.search(r"\.(filter|exclude)$", ast.unparse(node.func)):
            yield from _without_each_condition(source, function.name, node)
        if thorough:
            for guard, without in (*_guards_in_statements(source, node), *_guards_in_expressions(source, node)):
                yield Mutant(function.name, guard, without)


def _nodes_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function in the order of the source, without those of the functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _nodes_of(child)


def _guards_in_statements(source: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield a guard and the source without it, for kinds that only docs/guards.md lists."""
    match node:
        case ast.If(test=test, orelse=[_, *_]):
            yield f"if {ast.unparse(test)}", _replaced(source, test, "False")
        case ast.ExceptHandler(type=ast.expr() as caught):
            yield f"except {ast.unparse(caught)}", _replaced(source, caught, "()")
        case ast.Expr(value=ast.Call() as call) if THOROUGH_CALLS.match(_called(call)):
            yield ast.unparse(call), _without(source, node)
        case ast.With(items=[ast.withitem(context_expr=held)]) if re.search("lock|suppress", ast.unparse(held)):
            yield f"with {ast.unparse(held)}", _replaced(source, held, NO_CONTEXT)
    match node:
        case ast.If(test=tested) | ast.IfExp(test=tested) | ast.Return(value=ast.expr() as tested):
            for operator in (inner for inner in ast.walk(tested) if isinstance(inner, ast.BoolOp)):
                for removed in operator.values:
                    rest = [value for value in operator.values if value is not removed]
                    without = ast.unparse(rest[0] if len(rest) == 1 else ast.BoolOp(operator.op, rest))
                    yield ast.unparse(removed), _replaced(source, operator, f"({without})")


def _guards_in_expressions(source: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.IfExp(test=test, body=body):
            yield f"if {ast.unparse(test)}", _replaced(source, node, f"({ast.unparse(body)})")
        case ast.comprehension(ifs=tests):
            for test in tests:
                yield f"if {ast.unparse(test)}", _replaced(source, test, "True")
        case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=ast.Name(limit))) if limit[0] != "_":
            yield f"[:{limit}]", _replaced(source, node, ast.unparse(value))
        case ast.Subscript(value=value, slice=ast.Slice(lower=ast.UnaryOp(operand=ast.Name(limit)), upper=None)):
            yield f"[-{limit}:]", _replaced(source, node, ast.unparse(value))
        case ast.Call(args=[ast.List(elts=elements) as display, *_]):
            for removed in elements:
                rest = ", ".join(ast.unparse(element) for element in elements if element is not removed)
                yield ast.unparse(removed), _replaced(source, display, f"[{rest}]")


def _without_each_condition_of_sql(source: str) -> Iterator[Mutant]:
    """Yield the source without each condition of the WHERE clause of a constant, which ends with RETURNING."""
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Constant(value=str(sql)) as value) if "WHERE" in sql:
                clause = sql.partition("WHERE")[2].partition("RETURNING")[0]
                parts = [part.strip() for part in re.split(r"\b(AND|OR)\b", clause)]
                for index in range(0, len(parts), 2):
                    condition = re.sub(r"^\(|(?<=\))\)$|(?<!\()\)$", "", parts[index])
                    neutral = "TRUE" if "AND" in parts[max(0, index - 1) : index + 2] else "FALSE"
                    without = sql.replace(condition, neutral, 1)
                    yield Mutant(name, condition, _replaced(source, value, f'"""{without}"""'))


def _without_each_condition(source: str, function: str, call: ast.Call) -> Iterator[Mutant]:
    conditions: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    for removed in conditions:
        arguments = ", ".join(ast.unparse(condition) for condition in conditions if condition is not removed)
        yield Mutant(function, ast.unparse(removed), _replaced(source, call, f"{ast.unparse(call.func)}({arguments})"))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def _unconditional(source: str, node: ast.If, *, leaving: tuple[type[ast.stmt], ...]) -> str:
    """Return the source without a rejection or an early return; any other body runs without its condition."""
    return _without(source, node) if isinstance(node.body[-1], leaving) else _replaced(source, node.test, "True")


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
    # Without the cache of compiled modules, a run of one test takes three times as long.
    removed = ("RELIVCHATS_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    environment["RELIVCHATS_TEST_PATIENCE"] = "20"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    if not set(_PURE) <= set(tests):
        # The servers of this script serve all runs, and so does the test database: most of a run is setting them up.
        environment["RELIVCHATS_TEST_DATA"] = os.environ["RELIVCHATS_DATA"]
        command.append("--reuse-db")
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


def escape(guard: str) -> str:
    """Return the text of a guard as it appears in a table."""
    return guard.replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=[*MODULES, *JOB_MODULES, *GUARD_MODULES])
    parser.add_argument("--functions", default="", help="only functions whose name this pattern matches in full")
    options, survivors = parser.parse_args(), 0
    with tempfile.TemporaryDirectory(prefix="relivchats-mutations-") as directory, contextlib.ExitStack() as servers:
        Path(directory).chmod(0o711)
        os.environ.update(RELIVCHATS_DATA=str(Path(directory) / "data"), RELIVCHATS_FSYNC="off")
        servers.enter_context(embedded.running())
        copy = Path(directory) / "copy"
        ignored = shutil.ignore_patterns(".*", "var", "__pycache__")
        shutil.copytree(REPOSITORY, copy, ignore=ignored)
        for module in options.modules:
            if failing := [outcome.test for tests in tests_of(module) if (outcome := _run(copy, tests))]:
                sys.exit(f"{module}: the tests fail with all guards in place: {failing[0]}")
            print(f"| of `{Path(module).name}` | without | fails in `test_….py` |\n|---|---|---|", flush=True)
            source = (copy / module).read_text()
            for mutant in mutants(module, source):
                if options.functions and not re.fullmatch(options.functions, mutant.function):
                    continue
                (copy / module).write_text(mutant.source)
                result = run_tests(copy, module)
                survivors += not result.missed
                print(f"| `{mutant.function}` | `{escape(mutant.guard)}` | {result.test} |", flush=True)
            (copy / module).write_text(source)
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()

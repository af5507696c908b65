"""Measure what staff and operators use, with many rows: `python -m tests.benchmarks.operations`.

The pages of the admin as a superuser opens them, in this process; the checks of `health`, the commands and `/metrics`;
and what counting a request costs. `--data DIRECTORY` keeps the rows, which take an hour to create on a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks import population, stage

PEOPLE = 1_000_000
BYTES_PER_PERSON = 9_000


class Measured(NamedTuple):
    """Medians of several runs by the clock and of CPU time, and the queries of one more run.

    The CPU time is that of this process and of its connection to Postgres, as far as no parallel workers help. By the
    clock, other programs on the machine count too.
    """

    group: str
    name: str
    milliseconds: float
    cpu_milliseconds: float
    database_milliseconds: float
    queries: int
    slowest_milliseconds: float
    slowest: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is a million people and ten million transactions")
    parser.add_argument("--data", type=Path, help="a directory that keeps the rows; delete it to create them again")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="measure only what has this in its group or name")
    parser.add_argument("--show", type=int, default=40, help="how many of the slowest to list")
    chosen = parser.parse_args()
    print(stage.machine(), flush=True)
    people = round(PEOPLE * chosen.scale)
    free = shutil.disk_usage(chosen.data.parent if chosen.data else "/tmp").free
    with stage.installation(chosen.data) as directory:
        filled = directory / "filled"
        if not filled.exists():
            if free < people * BYTES_PER_PERSON:
                raise SystemExit(f"This takes {stage.megabytes(people * BYTES_PER_PERSON)} of disk space.")
            print(f"{people:,} people, created in {population.create(people=people):.0f} s", flush=True)
            filled.touch()
        measured = _measure_all(runs=chosen.runs, only=chosen.only)
        _write(measured, directory / "operations.tsv", show=chosen.show)


def _measure_all(*, runs: int, only: str) -> list[Measured]:
    measured: list[Measured] = []
    for group, name, prepare, action in _actions():
        if only not in f"{group} {name}":
            continue
        measured.append(_measure(group, name, prepare, action, runs=runs))
        if len(measured) % 100 == 0:
            print(f"{len(measured)} measured", flush=True)
    return measured


Action = tuple[str, str, Callable[[], object], Callable[[], object]]


def _measure(
    group: str, name: str, prepare: Callable[[], object], action: Callable[[], object], *, runs: int
) -> Measured:
    """Return the median times of an action, and its queries from one more run before."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    prepare()
    with CaptureQueriesContext(connection) as captured:
        action()
        # The next request empties the list.
        queries = list(captured)
    slowest: dict[str, Any] = max(queries, key=lambda query: float(query["time"]), default={"time": 0, "sql": ""})
    spent = []
    of_database = []
    for _ in range(runs):
        prepare()
        before = _database_seconds()
        spent.append(stage.timed(action)[1])
        of_database.append(_database_seconds() - before)
    return Measured(
        group,
        name,
        1000 * statistics.median(each.clock for each in spent),
        1000 * statistics.median(each.work for each in spent),
        1000 * statistics.median(of_database),
        len(queries),
        1000 * float(slowest["time"]),
        " ".join(str(slowest["sql"]).split()),
    )


def _database_seconds() -> float:
    """Return the CPU time of the Postgres process that serves this connection since its start."""
    from django.db import connection

    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _actions() -> Iterator[Action]:
    """Yield everything to measure: its group and name, what to do before each run, and what to measure."""
    from ops import health, page_recorder
    from ops.console import attention, overview
    from ops.monitoring_models import Snapshot

    def nothing() -> None:
        pass

    def clear() -> None:
        for cache in (health, attention, overview):
            cache.clear_cache()

    def record() -> None:
        clear()
        page_recorder.record_health()
        page_recorder.record_numbers()

    def forget() -> None:
        clear()
        Snapshot.objects.all().delete()

    client = _superuser()

    def page(address: str) -> Callable[[], object]:
        def open_page() -> None:
            answer = client.get(address, follow=True)
            assert answer.status_code == 200, f"{address}: {answer.status_code}"

        return open_page

    yield "without beat", "overview", forget, page("/admin/")
    yield "without beat", "/admin/now/model", forget, page("/admin/now/model")
    yield "overview", "first view of a process", record, page("/admin/")
    for window in ("7d", "30d"):
        yield "overview", f"first view of a process, {window}", record, page(f"/admin/overview?window={window}")
    yield "overview", "as it refreshes itself", nothing, page("/admin/overview")
    for group, address in _pages():
        yield group, address, nothing, page(address)
    for name, action in _operations():
        yield "commands", name, clear, action
    from ops.checks import ALL, VERBOSE

    for check in (*ALL, *VERBOSE):
        yield "checks", check.name, nothing, check.run
    yield "requests", "a request through the middleware, x 1000", nothing, _requests()
    yield "requests", "counting a request, x 1000", nothing, _counts()


def _superuser() -> Any:
    """Return a client that is logged in as a superuser."""
    from django.contrib import admin
    from django.contrib.auth.models import Group
    from django.test import Client

    from relivchats.accounts.models import User

    admin.autodiscover()
    staff, _ = User.objects.get_or_create(email="staff@example.org", defaults={"is_staff": True, "is_superuser": True})
    Group.objects.get_or_create(name="a group")
    client = Client(SERVER_NAME="localhost")
    client.force_login(staff)
    return client


def _pages() -> Iterator[tuple[str, str]]:
    """Yield the address of every page, with the group that it is listed in."""
    from django.contrib import admin
    from django.test import RequestFactory
    from django.urls import reverse

    from billing.models import PaymentOrder, Wallet
    from insights.models import GenerationJob
    from relivchats.accounts.models import User
    from tests.admin import everything

    staff = User.objects.get(email="staff@example.org")
    # The first person has thousands of chats, unlocks and transactions.
    busy = Wallet.objects.get(pk=1)
    for model in everything.all_models():
        address = everything.list_address(model)
        request = RequestFactory().get(address)
        request.user = staff
        changes: Any = admin.site._registry[model].get_changelist_instance(request)
        yield "lists", address
        if changes.multi_page:
            yield "last pages", f"{address}?p={changes.paginator.num_pages}"
        for spec in changes.filter_specs:
            for choice in list(spec.choices(changes))[:20]:
                if choice["query_string"] != "?":
                    yield "filters", address + choice["query_string"]
        row = changes.result_list[len(changes.result_list) // 2] if len(changes.result_list) else None
        if changes.search_fields:
            for term in (row.pk if row else "x", busy.user_id, 123, "person77@example.org", "words"):
                yield "searches", f"{address}?q={term}"
        for found in (row, busy if model is Wallet else busy.user if model is User else None):
            if found is not None:
                yield from (("rows", each) for each in everything.row_addresses(found))
    yield from (("console", address) for address in everything.live_addresses())
    order = PaymentOrder.objects.exclude(refunded_amount=0).order_by("-created_at")[0]
    job = GenerationJob.objects.filter(failed_insights=1).order_by("-created_at")[0]
    yield from (("console", address) for address in everything.console_addresses(jobs=[job], orders=[order]))
    for user in (busy.user_id, order.wallet.user_id):
        yield "console", reverse("console:person", args=[user])
    for term in (busy.user_id, job.chat_id, str(job.pk)[:8], "person77@example.org", order.provider_payment_id):
        yield "console", reverse("console:find") + f"?q={term}"


def _operations() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the commands, and what Prometheus requests."""
    from django.core.management import call_command

    from ops import prometheus, samples

    def command(*arguments: str) -> Callable[[], object]:
        def run() -> None:
            # The exit status is the level.
            with contextlib.suppress(SystemExit):
                call_command(*arguments, stdout=io.StringIO(), stderr=io.StringIO())

        return run

    for arguments in (
        ("health",),
        ("metrics",),
        ("metrics", "--since", "7d"),
        ("metrics", "--routes"),
        ("jobs",),
        ("jobs", "--stuck"),
        ("insights", "--failed"),
        ("reservations", "--stuck"),
        ("queue",),
        ("payments",),
        ("errors",),
        ("reindex", "--status"),
        ("database",),
        ("database", "--tables"),
        ("database", "--retention"),
        ("ledger", "--recent", "10"),
        ("person", "person1@example.org"),
    ):
        yield " ".join(arguments), command(*arguments)
    yield "/metrics", prometheus.scrape
    yield "the samples of a minute", samples.collect


def _requests() -> Callable[[], object]:
    """Return an action that passes a thousand requests through the middleware that counts and logs them."""
    from django.http import HttpResponse
    from django.test import RequestFactory
    from django.urls import resolve

    from relivchats.logs import RequestMiddleware

    request = RequestFactory().get("/api/chats")
    request.resolver_match = resolve("/health/live")
    handle = RequestMiddleware(lambda _: HttpResponse())

    def run() -> None:
        for _ in range(1000):
            handle(request)

    return run


def _counts() -> Callable[[], object]:
    """Return an action that counts a thousand requests of eighty routes."""
    from relivchats.request_counts import RequestCounter

    counter = RequestCounter()

    def run() -> None:
        for number in range(1000):
            counter.count(route=f"api/route/{number % 80}", method="GET", status=200, milliseconds=number % 90)

    return run


def _write(measured: list[Measured], path: Path, *, show: int) -> None:
    """Write all figures to a file, and print a summary of each group and the slowest of all."""
    path.write_text(
        "\n".join(
            f"{each.group}\t{each.name}\t{each.milliseconds:.1f}\t{each.cpu_milliseconds:.1f}\t"
            f"{each.database_milliseconds:.1f}\t{each.queries}\t"
            f"{each.slowest_milliseconds:.0f}\t{each.slowest}"
            for each in measured
        )
    )
    print("\n| group | measured | median | CPU here | in Postgres | most CPU | most queries | slowest |")
    print("|---|---|---|---|---|---|---|---|")
    for group in dict.fromkeys(each.group for each in measured):
        found = sorted((each for each in measured if each.group == group), key=_cpu_milliseconds)
        median = statistics.median(each.milliseconds for each in found)
        here = statistics.median(each.cpu_milliseconds for each in found)
        there = statistics.median(each.database_milliseconds for each in found)
        queries = max(each.queries for each in found)
        last = found[-1]
        print(
            f"| {group} | {len(found)} | {median:.0f} ms | {here:.0f} ms | {there:.0f} ms"
            f" | {_cpu_milliseconds(last):.0f} ms | {queries} | {last.name} |"
        )
    print(f"\nThe slowest of {len(measured)}; all are in {path}:")
    for each in sorted(measured, key=_cpu_milliseconds, reverse=True)[:show]:
        print(
            f"{each.milliseconds:8.1f} ms, {each.cpu_milliseconds:7.1f} + {each.database_milliseconds:7.1f} ms of CPU,"
            f" {each.queries:3} queries, the slowest {each.slowest_milliseconds:5.0f} ms  {each.group}: {each.name}"
        )


def _cpu_milliseconds(each: Measured) -> float:
    return each.cpu_milliseconds + each.database_milliseconds


if __name__ == "__main__":
    main()

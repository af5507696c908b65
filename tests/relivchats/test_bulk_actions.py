"""A batch changes each row once, records every result, and continues after a row that is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from relivchats.accounts.models import User
from relivchats.errors import Conflict
from relivchats.staff import bulk_actions
from relivchats.staff.bulk_actions import ActionContext, ActionResult, BatchResult, batch_report, run_batch
from relivchats.staff.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> QuerySet[User]:
    """Five users, read in pages of two."""
    monkeypatch.setattr(bulk_actions, "BATCH_SIZE", 2)
    User.objects.bulk_create(User(email=f"user{number}@example.org") for number in range(5))
    return User.objects.filter(email__startswith="user")


class Progress:
    """A progress display that records its calls."""

    def __init__(self) -> None:
        self.total: int | None = -1
        self.done: list[int] = []

    @contextmanager
    def __call__(self, title: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
        self.total = total
        yield self.done.append


def test_each_row_is_changed_once_whether_or_not_it_stays_in_the_queryset(users: QuerySet[User]) -> None:
    ids = sorted(users.values_list("pk", flat=True))
    for leaves in (False, True):
        changed: list[object] = []

        def step(user: User, leaves: bool = leaves, changed: list[object] = changed) -> str:
            assert user.pk not in changed
            changed.append(user.pk)
            if leaves:
                User.objects.filter(pk=user.pk).update(email=f"left-{user.email}")
            return "changed"

        assert run_batch("change", users, step, context=ActionContext()).done == 5
        assert changed == ids


def test_rows_are_read_in_pages(users: QuerySet[User]) -> None:
    with CaptureQueriesContext(connection) as queries:
        run_batch("change", users, lambda user: "changed", context=ActionContext())
    reads = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert len(reads) == 4
    assert all("LIMIT 2" in sql for sql in reads)


def test_every_result_has_an_audit_entry_and_a_refused_row_stops_no_other(users: QuerySet[User]) -> None:
    def step(user: User) -> str:
        if user.email == "user1@example.org":
            raise Conflict("It is locked.")
        if user.email == "user2@example.org":
            raise OperationalError
        return "x" * 400

    context = ActionContext(actor="ann", reason="y" * 400)
    batch = run_batch("change", users, step, context=context)
    assert (batch.done, batch.refused, batch.total) == (3, 2, 5)
    entries = AuditEntry.objects.filter(action="change", actor="ann", reason="y" * 200)
    assert entries.filter(done=True, outcome="x" * 300).count() == 3
    refused = list(entries.filter(done=False).order_by("outcome").values_list("outcome", flat=True))
    assert refused == ["It is locked.", "the database refused it (OperationalError): try again"]


def test_the_progress_of_a_queryset_has_a_total_and_that_of_a_list_has_none(users: QuerySet[User]) -> None:
    for rows, total in ((users, 5), (list(users), None)):
        progress = Progress()
        run_batch("change", rows, lambda user: "changed", context=ActionContext(progress=progress))
        assert (progress.total, progress.done) == (total, [1, 2, 3, 4, 5])


def test_only_the_first_results_are_listed_and_all_are_counted(users: QuerySet[User]) -> None:
    batch = run_batch("change", users, lambda user: "changed", context=ActionContext())
    assert (batch.total, len(batch.listed)) == (5, 2)
    assert (batch + batch).total == 10
    assert (batch + batch).listed == batch.listed


def test_a_report_warns_only_of_refusals() -> None:
    batch = BatchResult()
    batch.add(ActionResult("1", done=True, outcome="changed"))
    assert [line.name for line in batch_report("Changed", batch, remedy="try again").lines] == ["done"]
    batch.add(ActionResult("2", done=False, outcome="locked"))
    assert batch_report("Changed", batch, remedy="try again").lines[1].remedy == "try again"

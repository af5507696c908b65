"""The operators' commands show trouble, change nothing without their flag, and write down what they change."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from billing import audit, ledger
from billing.models import CoinReservation, Wallet
from chats.models import Chat
from insights.models import GenerationJob, Insight
from ops.models import LedgerAudit
from relivchats.staff import bulk_actions
from relivchats.staff.models import AuditEntry
from tests.ops import rows
from tests.processes import BrokerHandle

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]


def call(*arguments: str) -> tuple[int, str]:
    printed = StringIO()
    try:
        call_command(*arguments, stdout=printed, stderr=StringIO())
    except SystemExit as left:
        return int(left.code or 0), printed.getvalue()
    return 0, printed.getvalue()


def as_json(*arguments: str) -> tuple[int, dict[str, Any]]:
    status, printed = call(*arguments, "--json")
    answer: dict[str, Any] = json.loads(printed)
    return status, answer


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs",),
        ("jobs", "--stuck"),
        ("jobs", "--recover"),
        ("insights",),
        ("insights", "--failed"),
        ("insights", "--failed", "--retry"),
        ("reservations",),
        ("reservations", "--stuck"),
        ("reservations", "--stuck", "--release"),
        ("reindex",),
        ("reindex", "--status"),
        ("reindex", "--failed"),
        ("reindex", "--all", "--dry-run"),
        ("ledger",),
        ("ledger", "--recent", "10"),
        ("queue",),
    ],
)
def test_a_quiet_service_exits_0_in_words_and_in_json(arguments: tuple[str, ...]) -> None:
    status, words = call(*arguments)
    assert status == 0
    assert words.strip()
    status, answer = as_json(*arguments)
    assert (status, answer["level"]) == (0, "fine")


def test_jobs_tells_how_far_each_is_and_what_holds_it_up() -> None:
    running, waiting = rows.abandoned_insight(late=-rows.LONG).job, rows.job(vector_status="pending")
    overdue = rows.overdue_job()
    status, answer = as_json("jobs")
    waiting_for = {row["job"]: row["waiting for"] for row in answer["rows"]}
    assert waiting_for[str(running.pk)].startswith("leased by a worker until ")
    assert waiting_for[str(waiting.pk)] == "waiting for indexing"
    assert waiting_for[str(overdue.pk)] == "past its deadline for 60 min"
    assert status == 1
    _, stuck = as_json("jobs", "--stuck")
    assert [row["job"] for row in stuck["rows"]] == [str(overdue.pk)]


def test_jobs_recover_ends_what_is_overdue_and_gives_the_coins_back() -> None:
    job = rows.overdue_job()
    as_json("jobs", "--stuck")
    assert GenerationJob.objects.overdue().count() == 1, "looking changes nothing"
    status, _ = as_json("jobs", "--recover", "--reason", "after the outage")
    job.refresh_from_db()
    assert (status, job.status, job.reservation.status) == (0, "failed", "released")
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.reason, entry.done) == ("command", "recover", "after the outage", True)
    assert audit.audit() == []


def test_failed_insights_are_told_with_their_causes_and_tried_again() -> None:
    job = rows.failed_job(code="unusable_answer")
    status, answer = as_json("insights", "--failed")
    assert status == 1
    assert [line["name"] for line in answer["lines"]] == ["unusable_answer"]
    assert {row["insight"] for row in answer["rows"]} == {str(pk) for pk in job.insights.values_list("pk", flat=True)}
    assert Insight.objects.count() == 2, "looking changes nothing"
    status, answer = as_json("insights", "--failed", "--retry")
    assert (status, answer["done"]) == (0, 2)
    assert Insight.objects.filter(status="pending").count() == 2
    assert Wallet.objects.get(user=job.user).reserved == job.reservation.coins
    assert as_json("insights", "--failed")[0] == 0, "tried again, so no longer on the list"
    assert AuditEntry.objects.filter(action="retry insight", done=True).count() == 2
    assert audit.audit() == []


def test_a_retry_that_its_owner_cannot_pay_is_refused_and_the_others_go_on() -> None:
    poor, rich = rows.failed_job(), rows.failed_job()
    assert poor.user is not None
    wallet = poor.user.wallet
    ledger.adjust(wallet=wallet, amount=-wallet.spendable, actor="test", reason="test", idempotency_key="poor")
    status, answer = as_json("insights", "--failed", "--retry")
    assert (status, answer["done"], answer["refused"]) == (1, 2, 2)
    assert Insight.objects.filter(status="pending", chat=rich.chat).count() == 2
    assert AuditEntry.objects.filter(done=False).count() == 2


def test_stuck_reservations_are_shown_then_released() -> None:
    reservation = rows.orphaned_reservation()
    status, answer = as_json("reservations", "--stuck")
    assert (status, [row["reservation"] for row in answer["rows"]]) == (1, [str(reservation.pk)])
    assert CoinReservation.objects.overdue().count() == 1, "looking changes nothing"
    status, answer = as_json("reservations", "--stuck", "--release")
    reservation.refresh_from_db()
    assert (status, reservation.status, reservation.wallet.reserved) == (0, "released", 0)
    assert AuditEntry.objects.get().object_id == str(reservation.pk)


def test_releasing_a_reservation_of_an_overdue_job_ends_the_job_first() -> None:
    job = rows.overdue_job()
    CoinReservation.objects.filter(pk=job.reservation_id).update(expires_at=Now() - rows.LONG)
    status, _ = as_json("reservations", "--release")
    job.refresh_from_db()
    assert (status, job.status, job.reservation.status) == (0, "failed", "released")
    assert audit.audit() == []


def test_a_reservation_whose_job_still_runs_is_not_released() -> None:
    job = rows.job()
    CoinReservation.objects.filter(pk=job.reservation_id).update(expires_at=Now() - rows.LONG)
    status, answer = as_json("reservations", "--release")
    job.refresh_from_db()
    assert (status, answer["refused"], job.reservation.status) == (1, 1, "active")


def test_reindex_tells_first_and_then_asks() -> None:
    failed = rows.chat(rows.person(), vector_status="failed")
    other = rows.chat(failed.owner)
    assert as_json("reindex")[0] == 1
    status, answer = as_json("reindex", "--failed", "--dry-run")
    assert (status, [row["chat"] for row in answer["rows"]]) == (0, [str(failed.pk)])
    assert not Chat.objects.index_due().exists(), "a dry run changes nothing"
    as_json("reindex", "--failed")
    assert set(Chat.objects.index_due()) == {failed}
    as_json("reindex", str(other.pk))
    assert set(Chat.objects.index_due()) == {failed, other}
    assert AuditEntry.objects.filter(action="reindex chat").count() == 2


def test_reindex_of_an_unknown_chat_touches_none() -> None:
    chat = rows.chat(rows.person())
    with pytest.raises(CommandError, match="There is no chat"):
        call("reindex", str(chat.pk), "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11")
    assert not Chat.objects.index_due().exists()


def test_work_goes_in_batches_and_reaches_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "BATCH_SIZE", 2)
    owner = rows.person()
    for _ in range(5):
        rows.chat(owner, vector_status="failed")
    _, answer = as_json("reindex", "--failed")
    assert (answer["done"], len(answer["rows"])) == (5, 2)
    assert Chat.objects.index_due().count() == AuditEntry.objects.count() == 5


def test_ledger_prints_every_invariant_and_exits_2_when_one_is_broken() -> None:
    wallet = rows.person().wallet
    status, answer = as_json("ledger")
    assert (status, answer["clean"]) == (0, True)
    assert [line["name"] for line in answer["lines"]] == [invariant.number for invariant in audit.registered()]
    Wallet.objects.filter(pk=wallet.pk).update(balance=7)
    status, answer = as_json("ledger")
    broken = [line for line in answer["lines"] if line["level"] == "critical"]
    assert (status, answer["clean"], [line["name"] for line in broken]) == (2, False, ["1"])
    assert broken[0]["data"]["rows"][0]["wallet_id"] == wallet.pk
    assert list(LedgerAudit.objects.order_by("pk").values_list("broken", flat=True)) == [[], ["1"]]


def test_the_latest_transactions_come_newest_first() -> None:
    rows.person()
    rows.person()
    _, answer = as_json("ledger", "--recent", "1")
    (row,) = answer["rows"]
    assert (row["type"], row["amount"]) == ("admin_adjustment", 1000)
    for number in ("0", "-1", "1001"):
        with pytest.raises(CommandError, match="from 1 to 1000"):
            call("ledger", f"--recent={number}")


def test_queue_tells_what_waits_where(broker: BrokerHandle) -> None:
    rows.job()
    with broker.client as client:
        client.lpush("upkeep", "a message", "another")
    _, answer = as_json("queue")
    counts = {row["what"]: row["how many"] for row in answer["rows"]}
    assert (counts["messages in upkeep"], counts["insights due"]) == (2, 2)


def test_queue_without_a_broker_tells_its_half_and_exits_3(broker: BrokerHandle) -> None:
    rows.job()
    with broker.down():
        status, answer = as_json("queue")
    assert (status, answer["due"], answer["messages"]) == (3, 2, None)

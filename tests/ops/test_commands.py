"""The operators' commands list problems, change nothing without their flag, and log every change."""

from __future__ import annotations

import json
import re
import shlex
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, ManagementUtility, call_command, get_commands, load_command_class
from django.db import OperationalError
from django.db.models.functions import Now

from billing import audit, ledger
from billing.models import CoinReservation, Wallet
from billing.payments.providers.base import ProviderRefused
from billing.payments.refunds import RefundFailed
from chats.models import Chat
from insights.models import GenerationJob, Insight
from ops.models import LedgerAudit
from relivchats import installation
from relivchats.errors import DataUnreadable, DomainError
from relivchats.staff import bulk_actions, commands
from relivchats.staff.models import AuditEntry
from tests.ops import rows
from tests.processes import BrokerHandle

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

APPS = ("billing", "chats", "insights", "ops")


def call(*arguments: str) -> tuple[int, str]:
    printed = StringIO()
    try:
        call_command(*arguments, stdout=printed, stderr=StringIO())
    except SystemExit as exited:
        return int(exited.code or 0), printed.getvalue()
    return 0, printed.getvalue()


def as_json(*arguments: str) -> tuple[int, dict[str, Any]]:
    status, printed = call(*arguments, "--json")
    answer: dict[str, Any] = json.loads(printed)
    return status, answer


OURS = sorted(name for name, app in get_commands().items() if str(app).split(".")[0] in ("relivchats", *APPS))


@pytest.mark.parametrize("name", OURS)
def test_the_help_of_every_command_has_an_example_that_is_accepted(name: str) -> None:
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    last = parser.format_help().rstrip().splitlines()[-1]
    assert last.startswith(f"Example: manage.py {name}"), "the help ends with an example, in one line"
    words = shlex.split(last.removeprefix(f"Example: manage.py {name}").replace("ORDER", str(uuid4())))
    parser.parse_args(words)


@pytest.mark.parametrize(
    "arguments",
    [("jobs", "--recover"), ("database", "--cancel", "0"), ("reindex", "--failed"), ("keys", "--erase-unreadable")],
)
def test_what_changes_something_is_not_repeated(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="changes something"):
        call(*arguments, "--watch")
    assert not AuditEntry.objects.exists()


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
        ("unlocks",),
    ],
)
def test_without_problems_every_command_exits_with_0_as_text_and_as_json(arguments: tuple[str, ...]) -> None:
    status, text = call(*arguments)
    assert status == 0
    assert text.strip()
    status, answer = as_json(*arguments)
    assert (status, answer["level"]) == (0, "fine")


def test_jobs_lists_the_progress_of_each_job_and_what_it_waits_for() -> None:
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


def test_jobs_names_a_finished_job_with_an_open_insight_and_recovers_it() -> None:
    job = rows.job()
    GenerationJob.objects.filter(pk=job.pk).update(status="completed", finished_at=Now())
    for options in ((), ("--stuck",)):
        status, answer = as_json("jobs", *options)
        line = next(line for line in answer["lines"] if line["name"] == "contradiction")
        assert (status, line["data"]["jobs"]) == (1, [str(job.pk)])
        assert line["text"].startswith("1 finished job with an open insight")
        assert line["remedy"].endswith("jobs --recover")
    status, answer = as_json("jobs", "--recover")
    counts = {row["recovered"]: row["count"] for row in answer["rows"]}
    assert (status, counts["contradictory jobs"], counts["reservations"]) == (0, 1, 1)
    assert not audit.audit()
    assert as_json("jobs")[0] == 0


def test_jobs_recover_closes_overdue_jobs_and_releases_their_coins() -> None:
    job = rows.overdue_job()
    as_json("jobs", "--stuck")
    assert GenerationJob.objects.overdue().count() == 1, "listing changes nothing"
    status, _ = as_json("jobs", "--recover", "--reason", "after the outage")
    job.refresh_from_db()
    assert (status, job.status, job.reservation.status) == (0, "failed", "released")
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.reason, entry.done) == ("command", "recover", "after the outage", True)
    assert audit.audit() == []


def test_failed_insights_are_listed_by_cause_and_retried() -> None:
    job = rows.failed_job(code="unusable_answer")
    status, answer = as_json("insights", "--failed")
    assert status == 1
    assert [line["name"] for line in answer["lines"]] == ["unusable_answer"]
    assert {row["insight"] for row in answer["rows"]} == {str(pk) for pk in job.insights.values_list("pk", flat=True)}
    assert Insight.objects.count() == 2, "listing changes nothing"
    status, answer = as_json("insights", "--failed", "--retry")
    assert (status, answer["done"]) == (0, 2)
    assert Insight.objects.filter(status="pending").count() == 2
    assert Wallet.objects.get(user=job.user).reserved == job.reservation.coins
    assert as_json("insights", "--failed")[0] == 0, "retried insights are not listed"
    assert AuditEntry.objects.filter(action="retry insight", done=True).count() == 2
    assert audit.audit() == []


def test_a_retry_that_its_owner_cannot_pay_is_refused_and_the_others_run() -> None:
    poor, rich = rows.failed_job(), rows.failed_job()
    assert poor.user is not None
    wallet = poor.user.wallet
    ledger.adjust(wallet=wallet, amount=-wallet.spendable, actor="test", reason="test", idempotency_key="poor")
    status, answer = as_json("insights", "--failed", "--retry")
    assert (status, answer["done"], answer["refused"]) == (1, 2, 2)
    assert Insight.objects.filter(status="pending", chat=rich.chat).count() == 2
    assert AuditEntry.objects.filter(done=False).count() == 2


def test_stuck_reservations_are_listed_then_released() -> None:
    reservation = rows.orphaned_reservation()
    status, answer = as_json("reservations", "--stuck")
    assert (status, [row["reservation"] for row in answer["rows"]]) == (1, [str(reservation.pk)])
    assert CoinReservation.objects.overdue().count() == 1, "listing changes nothing"
    status, answer = as_json("reservations", "--stuck", "--release")
    reservation.refresh_from_db()
    assert (status, reservation.status, reservation.wallet.reserved) == (0, "released", 0)
    assert AuditEntry.objects.get().object_id == str(reservation.pk)


def test_releasing_the_reservation_of_an_overdue_job_closes_the_job_first() -> None:
    job = rows.overdue_job()
    CoinReservation.objects.filter(pk=job.reservation_id).update(expires_at=Now() - rows.LONG)
    status, _ = as_json("reservations", "--release")
    job.refresh_from_db()
    assert (status, job.status, job.reservation.status) == (0, "failed", "released")
    assert audit.audit() == []


def test_the_reservation_of_a_running_job_is_not_released() -> None:
    job = rows.job()
    CoinReservation.objects.filter(pk=job.reservation_id).update(expires_at=Now() - rows.LONG)
    status, answer = as_json("reservations", "--release")
    job.refresh_from_db()
    assert (status, answer["refused"], job.reservation.status) == (1, 1, "active")


def test_reindex_lists_the_chats_in_a_dry_run_and_requests_indexing_otherwise() -> None:
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


def test_reindex_with_an_unknown_chat_changes_no_chat() -> None:
    chat = rows.chat(rows.person())
    with pytest.raises(CommandError, match="There is no chat"):
        call("reindex", str(chat.pk), "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11")
    assert not Chat.objects.index_due().exists()


def test_a_bulk_action_processes_every_row_once_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "BATCH_SIZE", 2)
    owner = rows.person()
    for _ in range(5):
        rows.chat(owner, vector_status="failed")
    _, answer = as_json("reindex", "--failed")
    assert (answer["done"], len(answer["rows"])) == (5, 2)
    assert Chat.objects.index_due().count() == AuditEntry.objects.count() == 5


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bulk_action_shows_its_progress_on_stderr_once_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "BATCH_SIZE", 2)
    owner = rows.person()
    for _ in range(5):
        rows.chat(owner, vector_status="failed")
    printed, progress = StringIO(), StringIO()
    call_command("reindex", "--failed", "--json", stdout=printed, stderr=progress)
    assert progress.getvalue().splitlines() == [f"reindex chat: {done} of 5" for done in (2, 4, 5)]
    assert json.loads(printed.getvalue())["done"] == 5, "stdout contains only the report"


def test_on_a_terminal_a_bulk_action_shows_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    owner = rows.person()
    for _ in range(3):
        rows.chat(owner, vector_status="failed")
    progress = Terminal()
    call_command("reindex", "--failed", stdout=StringIO(), stderr=progress)
    assert "reindex chat" in progress.getvalue()
    assert "3/3" in progress.getvalue()


def test_on_a_terminal_a_report_has_colours_and_in_a_pipe_it_has_none() -> None:
    rows.chat(rows.person(), vector_status="failed")
    for stream, is_coloured in ((Terminal(), True), (StringIO(), False)):
        with pytest.raises(SystemExit):
            call_command("reindex", stdout=stream)
        assert ("\033[" in stream.getvalue()) is is_coloured


def test_ledger_lists_every_invariant_and_exits_with_2_if_one_is_broken() -> None:
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


def test_recent_transactions_are_listed_newest_first() -> None:
    rows.person()
    rows.person()
    _, answer = as_json("ledger", "--recent", "1")
    (row,) = answer["rows"]
    assert (row["type"], row["amount"]) == ("admin_adjustment", 1000)
    for number in ("0", "-1", "1001"):
        with pytest.raises(CommandError, match="from 1 to 1000"):
            call("ledger", f"--recent={number}")


@pytest.mark.parametrize(
    "arguments",
    [
        *(("logs", f"--lines={lines}") for lines in ("-5", "0", "1.5", "100001", "9" * 5000)),
        *((name, f"--since={since}") for name in ("logs", "errors", "metrics", "uploads") for since in ("-1h", "0s")),
        *((name, "--since=999999d") for name in ("logs", "errors", "metrics", "uploads")),
        *(("errors", f"--limit={limit}") for limit in ("-1", "0", "3000000000")),
        ("person", "somebody@example.org", "--limit=-1"),
        *(("database", f"--long={long}") for long in ("-3", "nan", "inf")),
        *(("database", f"--{how}={pid}") for how in ("cancel", "kill") for pid in ("-1", "3000000000")),
        *(("health", f"--watch={pause}") for pause in ("-1", "nan", "inf", "x")),
        ("keys", "--files=-1"),
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_a_number_or_duration_that_makes_no_sense_is_refused_in_a_sentence(arguments: tuple[str, ...]) -> None:
    option = arguments[-1].partition("=")[0]
    with pytest.raises(CommandError, match=rf"argument {option}: \S+ is n(o|ot) "):
        call(*arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("logs web --lines -5", "logs: error: argument --lines: -5 is no whole number from 1 to 100000"),
        ("metrics --since -5h", "metrics: error: argument --since: -5h is no duration: write 30m, 1h or 7d"),
        ("coins ann@example.org +5", "coins: error: the following arguments are required: --reason"),
        ("payments --refund 6b1a9f5e-0000-4000-8000-000000000000", "A refund needs a reason: --reason 'bought twice'"),
        ("queue --pause insights", "Dispatch is paused only for a reason: --reason 'the provider is down'"),
        ("ledger --repair 1 --yes", "A repair needs a reason: --reason 'changed by SQL'"),
        ("person nobody@example.org", "There is no such person. Enter an e-mail address or an id in full."),
        ("health --watch 5 --nonsense", "health: error: unrecognized arguments: --nonsense"),
    ],
    ids=lambda text: text.partition(" ")[0],
)
def test_what_is_malformed_or_refused_exits_with_64_which_is_no_level(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ManagementUtility(["manage.py", *shlex.split(arguments)]).execute()
    assert ended.value.code == 64
    assert capsys.readouterr().err.splitlines()[-1].endswith(sentence)


@pytest.mark.parametrize(
    "fault",
    [DomainError("no space is left"), ProviderRefused("expired"), RefundFailed(), DataUnreadable()],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_of_ours_or_of_a_provider_is_critical_and_no_refusal(
    fault: DomainError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, **options: Any) -> None:
        raise fault

    monkeypatch.setattr(type(load_command_class("ops", "jobs")), "report", fail)
    with pytest.raises(CommandError, match=re.escape(fault.detail)) as failed:
        call("jobs")
    assert failed.value.returncode == 2


def test_where_nothing_runs_every_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, **options: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(type(load_command_class("ops", "workers")), "report", fail)
    monkeypatch.setattr(installation, "is_nothing_running", lambda: True)
    monkeypatch.setattr(installation, "ended_because", lambda: "beat died too often")
    status, answer = as_json("workers")
    assert (status, answer["lines"][0]["text"]) == (3, "nothing is running here: beat died too often")
    assert "./dev up" in answer["lines"][0]["remedy"]


def test_queue_counts_messages_and_due_rows(broker: BrokerHandle) -> None:
    rows.job()
    with broker.client as client:
        client.lpush("upkeep", "a message", "another")
    _, answer = as_json("queue")
    counts = {row["what"]: row["how many"] for row in answer["rows"]}
    assert (counts["messages in upkeep, of periodic tasks"], counts["insights due"]) == (2, 2)


def test_queue_without_a_broker_counts_the_rows_and_exits_with_3(broker: BrokerHandle) -> None:
    rows.job()
    with broker.down():
        status, answer = as_json("queue")
    assert (status, answer["due"], answer["messages"]) == (3, 2, None)


def test_unlocks_are_paused_and_resumed_by_command() -> None:
    status, answer = as_json("unlocks", "--pause", "a wrong model")
    assert (status, answer["lines"][0]["text"]) == (0, "paused for 0 s by command")
    assert answer["rows"][0]["reason"] == "a wrong model"
    for refused in (("--pause", "again"), ("--pause", "")):
        with pytest.raises(CommandError):
            call("unlocks", *refused)
    status, answer = as_json("unlocks", "--resume", "--reason", "the right model")
    assert (status, answer["lines"][0]["text"]) == (0, "accepted")
    entries = AuditEntry.objects.order_by("pk").values_list("action", "actor", "reason", "done")
    assert list(entries) == [
        ("pause unlocks", "command", "a wrong model", True),
        ("resume unlocks", "command", "the right model", True),
    ]
    with pytest.raises(CommandError, match="not paused"):
        call("unlocks", "--resume")

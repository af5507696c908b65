"""The live pages judge as the commands and the checks do, link to the rows, and offer what applies and is allowed."""

from __future__ import annotations

import html
import io
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.db.models import DateTimeField, Value
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from chats.models import ChatUpload
from insights.models import ChatReading, DispatchPause, InsightAttempt, ReadWindow, UnlockPause
from insights.question_models import ChatQuestion
from ops import samples, schedule, uploads, usage, workers
from ops.console import live, sections
from ops.models import Heartbeat, ScheduleEntry
from ops.monitoring_models import ErrorEvent, Sample
from relivchats.accounts.models import User
from relivchats.staff.models import AuditEntry
from tests.admin import everything
from tests.admin.test_console import clerk
from tests.ops import rows
from tests.ops.test_commands import as_json
from tests.processes import BrokerHandle

pytestmark = pytest.mark.django_db

HEARTBEATS = everything.list_address(Heartbeat)


def page(name: str) -> str:
    return reverse("console:live", args=[name])


def states(desk: Client) -> tuple[dict[str, str], dict[str, str]]:
    """Return the states of the processes on the live page and on the list of heartbeats."""
    (card, _) = desk.get(page("processes")).context["sections"]
    listed = desk.get(HEARTBEATS).context["cl"].result_list
    shown = {row["process"]: row["state"] for row in card.report.table.as_json()}
    return shown, {row.name: workers.from_row(row).state for row in listed}


def test_the_pages_of_processes_wait_for_heartbeats_that_the_database_could_not_take(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = rows.heartbeat("worker", age=timedelta(minutes=1)).name
    assert states(desk) == ({name: "silent"}, {name: "silent"})
    assert '<span class="rc-label rc-danger">silent</span>' in desk.get(HEARTBEATS).content.decode()
    just_started = Value(Heartbeat.objects.annotate(now=Now()).values_list("now", flat=True)[0], DateTimeField())
    monkeypatch.setattr(workers, "DATABASE_STARTED_AT", just_started)
    assert states(desk) == ({name: "alive"}, {name: "alive"})
    assert '<span class="rc-label rc-success">alive</span>' in desk.get(HEARTBEATS).content.decode()


def test_a_killed_process_has_its_state_and_the_remedy_of_this_installation(desk: Client) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    name = rows.heartbeat("beat", name=f"beat@{socket.gethostname()[:120]}:{ended.pid}").name
    shown = desk.get(page("processes")).content.decode()
    assert '<span class="rc-label rc-danger">killed</span>' in shown
    assert reverse("admin:ops_heartbeat_change", args=[name]) in shown
    assert "./dev up" in shown


def test_the_rows_of_tasks_have_no_state_of_a_process(desk: Client) -> None:
    rows.heartbeat("retention", age=timedelta(minutes=50), name="retention")
    assert "silent</span>" not in desk.get(HEARTBEATS).content.decode()


def test_the_starts_of_a_day_are_counted_by_kind(desk: Client) -> None:
    for kind in ("worker", "worker", "web"):
        samples.add_start(kind)
    assert "Started within 24 hours: 1 web, 2 worker, 0 beat" in desk.get(page("processes")).content.decode()
    Sample.objects.update(at=Now() - timedelta(hours=25))
    assert samples.count_starts("worker") == {"worker": 0}


def test_an_id_in_a_report_leads_to_the_search_and_nothing_else_is_markup() -> None:
    pk = "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11"
    text = sections.linked_ids(f"<b>generate {pk}</b>")
    assert text.startswith("&lt;b&gt;generate <a ")
    assert f'href="/admin/find?q={pk}"' in text
    assert sections.linked_ids("12345678") == "12345678"


def test_a_live_page_runs_the_same_number_of_queries_for_three_rows_and_for_thirty(desk: Client) -> None:
    for number in range(3):
        everything.one_of_each(number)
    desk.get("/admin/")
    few = {name: _queries(desk, name) for name in live.PAGES}
    for number in range(3, 30):
        everything.one_of_each(number)
    assert {name: _queries(desk, name) for name in live.PAGES} == few


def _queries(desk: Client, name: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert desk.get(page(name)).status_code == 200
    return len(captured)


def test_every_live_page_of_an_empty_installation_says_so_in_a_sentence(desk: Client) -> None:
    for name in live.PAGES:
        answer = desk.get(page(name))
        assert answer.status_code == 200
        for section in answer.context["sections"]:
            is_empty = not section.report.lines and not list(section.rows())
            assert not is_empty or section.empty.endswith("."), (name, section.report.title)


def member(group: str) -> Client:
    """A client of somebody in one of the groups of staff."""
    call_command("staff_groups", yes=True, stdout=io.StringIO())
    user = User.objects.create_user(f"{group.replace(' ', '-')}@example.org", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def buttons(client: Client, name: str) -> list[str]:
    return [button.title for section in client.get(page(name)).context["sections"] for button in section.buttons]


OPERATORS = {"viewer": False, "support": False, "operator": True, "finance": False, "catalogue editor": False}


def test_what_the_queue_counts_is_linked_to_the_list_of_it_for_those_who_may_view_that(desk: Client) -> None:
    rows.failed_job()
    shown = desk.get(page("queue")).content.decode()
    links = [html.unescape(address) for address in re.findall(r'href="(/admin/(?:chats|insights)/\w+/\?[^"]*)"', shown)]
    assert len(links) >= 5
    for address in links:
        assert desk.get(address).context["cl"].active_filters, f"no filter of the list: {address}"
    assert "/admin/insights/insight/?" not in clerk("view_dispatchpause").get(page("queue")).content.decode()


@pytest.mark.parametrize(("group", "may"), OPERATORS.items(), ids=OPERATORS)
def test_the_page_of_the_queue_offers_what_applies_to_those_who_may_do_it(
    group: str, may: bool, desk: Client, broker: BrokerHandle
) -> None:
    ScheduleEntry.objects.create(
        name="canary",
        task="ops.tasks.canary",
        schedule="every 10 s",
        next_run_at=datetime(2026, 11, 30, 21, 37, 17, tzinfo=UTC),
    )
    ScheduleEntry.objects.create(name="old", task="ops.tasks.old", schedule="every 10 s")
    client = member(group)
    run_now = reverse("admin:ops_scheduleentry_run_now_this", args=["canary"])
    shown = client.get(page("queue")).content.decode()
    assert (run_now in shown) is may
    assert run_now.replace("canary", "old") not in shown
    confirmation = client.get(run_now)
    assert confirmation.status_code == (200 if may else 403)
    assert not may or "2026-11-30 21:37:17 UTC" in confirmation.content.decode()
    assert buttons(client, "queue") == (["Pause insights"] if may else [])
    pause = DispatchPause.objects.create(reason="test", paused_by="command")
    assert buttons(client, "queue") == (["Resume insights"] if may else [])
    resume = reverse("admin:insights_dispatchpause_resume_insights_this", args=[pause.pk])
    assert (resume in client.get(page("queue")).content.decode()) is may


@pytest.mark.parametrize(
    ("name", "what", "model"), [("queue", "insights", DispatchPause), ("model", "unlocks", UnlockPause)]
)
def test_who_pauses_and_resumes_on_a_live_page_comes_back_to_it(
    desk: Client, name: str, what: str, model: type[DispatchPause | UnlockPause]
) -> None:
    def press(title: str, fields: dict[str, str]) -> None:
        (address,) = (
            button.address
            for section in desk.get(page(name)).context["sections"]
            for button in section.buttons
            if button.title == title
        )
        form = desk.get(address)
        sent = {**fields, "reason": "a test"}
        if "list_address" in form.context:
            hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form.content.decode())
            address, sent = form.context["list_address"], {**dict(hidden), **sent}
        answer = desk.post(address, sent)
        assert (answer.status_code, answer.headers["Location"]) == (302, page(name))

    press(f"Pause {what}", {})
    assert model.objects.active().exists()
    press(f"Resume {what}", {})
    assert not model.objects.active().exists()


def test_who_pauses_on_the_list_comes_back_to_the_list_and_never_to_another_site(desk: Client) -> None:
    listed = everything.list_address(DispatchPause)
    for back in ("", "?next=https://example.org/", "?next=//example.org/", "?next=javascript:alert(1)"):
        DispatchPause.objects.all().delete()
        answer = desk.post(f"{listed}add/{back}", {"reason": "a test"})
        assert (answer.status_code, answer.headers["Location"]) == (302, listed)


@pytest.mark.parametrize(("group", "may"), OPERATORS.items(), ids=OPERATORS)
def test_only_operators_run_a_task_now_and_only_with_a_reason(
    group: str, may: bool, broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "WATCH_SECONDS", 0)
    rows.heartbeat("worker")
    entry = ScheduleEntry.objects.create(name="canary", task="ops.tasks.canary", schedule="every 10 s")
    client = member(group)
    runs = AuditEntry.objects.filter(action="run task")
    chosen = {"action": "run_now", "_selected_action": [entry.pk]}
    client.post(everything.list_address(ScheduleEntry), chosen)
    assert (broker.waiting("upkeep"), runs.count()) == (0, 0)
    answer = client.post(everything.list_address(ScheduleEntry), {**chosen, "reason": "a test"}, follow=True)
    assert broker.waiting("upkeep") == int(may)
    assert [run.reason for run in runs.all()] == (["a test"] if may else [])
    assert ("1 done: sent; it still waits for a worker" in answer.content.decode()) is may


def upload(outcome: str, *, number: int = 1, days_ago: int = 0, **more: str) -> None:
    owner = User.objects.first() or rows.person()
    for _ in range(number):
        row = ChatUpload.objects.create(owner=owner, outcome=outcome, size_bytes=10, milliseconds=5, **more)
        ChatUpload.objects.filter(pk=row.pk).update(created_at=Now() - timedelta(days=days_ago))


def groups(desk: Client, window: str) -> dict[str, list[list[str]]]:
    """Return the cells of the groups of each section, as text without markup."""
    shown = desk.get(page("uploads"), {"window": window}).context["sections"]
    return {
        section.report.title.split(":")[0]: [[strip_tags(str(cell)) for cell in row[:6]] for row in section.rows()]
        for section in shown
    }


def test_uploads_of_a_period_are_grouped_by_what_they_have_in_common_and_by_whose_fault_it_is(desk: Client) -> None:
    upload("accepted", number=6)
    upload("refused", number=3, reason="NotAChatExport", header_shape="99/99 aaaa")
    upload("failed", number=1, reason="ParsingTooSlow", platform="whatsapp", dialect="android")
    upload("refused", days_ago=3, reason="EmptyExport")
    assert groups(desk, "24h") == {
        "Failed": [["ParsingTooSlow", "1", "10.0 %", "whatsapp", "android", "None"]],
        "Refused": [["This is not a chat export", "3", "30.0 %", "None", "None", "99/99 aaaa"]],
    }
    assert ["The file is empty", "1", "9.1 %", "None", "None", "None"] in groups(desk, "7d")["Refused"]
    assert groups(desk, "nonsense") == groups(desk, "24h")
    # Of the same kind, and before the period of the page.
    upload("refused", days_ago=2, reason="NotAChatExport", header_shape="99/99 aaaa")
    for section in desk.get(page("uploads")).context["sections"]:
        for row in section.rows():
            (address,) = re.findall(r'href="([^"]+)"', row[0])
            assert desk.get(html.unescape(address)).context["cl"].result_count == row[1]


def test_the_command_lists_the_same_uploads_and_warns_of_those_that_failed(desk: Client) -> None:
    assert as_json("uploads")[0] == 0
    upload("refused", number=2, reason="NotAChatExport")
    status, answer = as_json("uploads", "--since", "7d")
    assert (status, answer["counts"], answer["rows"][0]["reason"]) == (0, {"refused": 2}, "This is not a chat export")
    upload("failed", reason="ParsingTooSlow")
    status, answer = as_json("uploads")
    assert (status, answer["lines"][0]["text"]) == (1, "1 of 3 uploads, 33.3 %")


def test_a_period_with_too_many_uploads_to_count_is_not_shown_as_empty(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "within", lambda compute, *, milliseconds: None)
    assert "Choose a shorter period." in desk.get(page("uploads")).content.decode()
    assert as_json("uploads")[0] == 3


@pytest.mark.parametrize(("group", "may"), OPERATORS.items(), ids=OPERATORS)
def test_the_page_of_the_model_pauses_and_resumes_unlocks_for_those_who_may(
    group: str, may: bool, broker: BrokerHandle
) -> None:
    client = member(group)
    assert buttons(client, "model") == (["Pause unlocks"] if may else [])
    UnlockPause.objects.create(reason="a long reason", paused_by="command")
    assert buttons(client, "model") == (["Resume unlocks"] if may else [])
    assert "a long reason" in client.get(page("model")).content.decode()
    stranger = clerk("view_insightattempt")
    assert "a long reason" not in stranger.get(page("model")).content.decode()
    assert "a long reason" in clerk("view_insightattempt", "view_unlockpause").get(page("model")).content.decode()


def work(*, model: str = "m-002") -> None:
    """An attempt of today, one of yesterday and one beyond the period, a chat that was read, and a question."""
    insight = rows.failed_job().insights.all()[0]
    for number, days_ago, code in ((1, 0, ""), (2, 1, "timeout"), (3, 31, "")):
        attempt = InsightAttempt.objects.create(
            insight=insight, number=number, engine="openai", model=model, tokens_in=1_000_000, tokens_out=100_000,
            milliseconds=5, outcome="retry", error_code=code,
        )  # fmt: skip
        InsightAttempt.objects.filter(pk=attempt.pk).update(created_at=Now() - timedelta(days=days_ago))
    InsightAttempt.objects.create(
        insight=insight, number=4, engine="local", model="rules", milliseconds=5, outcome="completed"
    )
    chat = rows.chat(rows.person())
    reading = ChatReading.objects.create(
        chat=chat, engine="openai", model=model, version=1, status="completed", started_at=Now(), finished_at=Now()
    )
    ReadWindow.objects.create(
        reading=reading, first_number=1, last_number=9, status="read", sealed_result=b"s", model=model, tokens_in=7
    )
    ChatQuestion.objects.create(
        chat=chat, status="answered", step="done", sealed_question=b"s", sealed_answer=b"s", outcome="answered",
        deadline_at=Now(), finished_at=Now(), engine="openai", model=model, tokens_out=5,
    )  # fmt: skip


def test_tokens_are_summed_by_day_and_model_and_cost_what_the_setting_says(desk: Client, settings: Any) -> None:
    settings.MODEL_PRICES = {"m": (0.5, 2.0), "m-002-large": (9.0, 9.0)}
    work()
    today, yesterday = usage.fetch() or []
    assert (today.insights, today.windows, today.questions, today.failed) == (1, 1, 1, 0)
    assert (today.tokens_in, today.tokens_out) == (1_000_007, 100_005)
    assert today.cost == pytest.approx(0.5000035 + 0.20001)
    assert (yesterday.insights, yesterday.failed, yesterday.day) == (1, 1, today.day - timedelta(days=1))
    shown = desk.get(page("model")).content.decode()
    assert "2,000,007 tokens in, 200,005 out; about $1.40" in shown
    assert as_json("engine", "--usage")[1]["rows"][0]["cost, about"] == "$0.70"
    (section,) = [each for each in desk.get(page("model")).context["sections"] if each.charts]
    assert [chart.latest for chart in section.charts] == ["today: 1,000,007", "today: 100,005", "today: 0.70"]


def test_days_that_are_over_are_summed_once_and_count_what_was_deleted_since(monkeypatch: pytest.MonkeyPatch) -> None:
    work()
    # Yesterday is over also in the first hour of a day.
    monkeypatch.setattr(usage, "SETTLED_AFTER", timedelta())
    before = usage.fetch()
    usage.record()
    with CaptureQueriesContext(connection) as captured:
        usage.record()
        assert usage.fetch() == before
    assert len([each for each in captured if 'SUM("insight_attempts"' in each["sql"]]) == 1, "for today"
    InsightAttempt.objects.all().delete()
    today, yesterday = usage.fetch() or []
    assert (today.insights, today.questions, yesterday.insights, yesterday.tokens_in) == (0, 1, 1, 1_000_000)


def test_a_model_without_a_price_has_tokens_and_no_cost(desk: Client, settings: Any) -> None:
    settings.MODEL_PRICES = {}
    work(model="unknown")
    assert as_json("engine", "--usage")[1]["rows"][0]["cost, about"] is None
    shown = desk.get(page("model")).content.decode()
    assert "no price of unknown in MODEL_PRICES" in shown
    assert "$" not in shown.split("tokens in, ")[1].split("</small>")[0]


def test_the_calls_that_the_provider_refused_are_counted_by_code(desk: Client) -> None:
    for number in (1, 2):
        ErrorEvent.objects.create(
            at=Now(), role="worker", host="h", pid=number, level="WARNING", logger="l", fingerprint="f",
            event="the provider refused a call: RESOURCE_EXHAUSTED", code="quota_exhausted", times=number,
        )  # fmt: skip
    ((code, times, _),) = usage.refusals_report().table.rows  # type: ignore[union-attr]
    assert (code, times) == ("quota_exhausted", 3)
    assert "quota_exhausted" in desk.get(page("model")).content.decode()


def test_errors_are_grouped_by_cause_and_lead_to_their_rows_and_the_request(desk: Client) -> None:
    request_id = "914ee40229604e639750447d5313b178"
    for fingerprint, days_ago in (("a1", 0), ("a1", 0), ("a1", 2), ("b2", 3)):
        event = ErrorEvent.objects.create(
            at=Now(), role="web", host="h", pid=1, level="ERROR", logger="l", event="crash", fingerprint=fingerprint,
            request_id=request_id,
        )  # fmt: skip
        ErrorEvent.objects.filter(pk=event.pk).update(at=Now() - timedelta(days=days_ago))
    assert [len(list(desk.get(page("errors"), {"window": each}).context["sections"][0].rows())) for each in
            ("24h", "7d")] == [1, 2]  # fmt: skip
    answer = desk.get(page("errors"))
    assert f'href="/admin/find?q={request_id}"' in answer.content.decode()
    ((event_cell, times, *_),) = answer.context["sections"][0].rows()
    (address,) = re.findall(r'href="([^"]+)"', event_cell)
    assert (desk.get(html.unescape(address)).context["cl"].result_count, times) == (2, 2)

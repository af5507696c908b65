"""The pages of the console: what they show, to whom, and that they never wait."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.db.models import BooleanField, Func, Model
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils.html import escape, strip_tags

from billing.models import PaymentOrder, Wallet, WebhookEvent
from chats.models import Chat
from insights.models import GenerationJob
from ops import timelines
from ops.console import attention, charts, errors, overview, search
from ops.console.cached import Cached
from ops.monitoring_models import ErrorEvent
from relivchats import installation
from relivchats.accounts.models import AccessToken, User
from relivchats.staff.bounded import within
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level, Line, Report
from tests.admin import everything
from tests.admin.conftest import slow
from tests.ops import rows
from tests.ops.test_commands import as_json

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer() -> User:
    everything.one_of_each(1)
    return User.objects.exclude(is_staff=True)[0]


def clerk(*permissions: str) -> Client:
    user = User.objects.create_user(f"{'-'.join(permissions) or 'none'}@example.org", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def page_of(row: Model) -> str:
    names: dict[type[Model], str] = {User: "person", PaymentOrder: "payment", GenerationJob: "job"}
    return reverse(f"console:{names[type(row)]}", args=[row.pk])


def test_a_timeline_leaves_out_what_the_reader_may_not_see(desk: Client, customer: User) -> None:
    page = page_of(customer)
    everything_ = {entry.what.split()[0] for entry in desk.get(page).context["timeline"].entries}
    assert {"account", "upload", "unlock", "order", "refund", "adjustment"} <= everything_
    entries = clerk("view_user", "view_chatupload").get(page).context["timeline"].entries
    assert {entry.what.split()[0] for entry in entries} == {"account", "upload"}


def test_the_page_of_a_person_and_the_command_show_the_same(desk: Client, customer: User) -> None:
    AuditEntry.objects.create(actor="command", action="adjust wallet", object_id=str(customer.wallet.pk), done=True)
    # An id that is a number is not one of a wallet only.
    AuditEntry.objects.create(actor="command", action="retry event", object_id=str(customer.wallet.pk), done=True)
    shown = desk.get(page_of(customer)).context
    _, answer = as_json("person", str(customer.pk), "--limit", "200")
    entries = [(entry.kind, entry.what, str(entry.pk), entry.details) for entry in shown["timeline"].entries]
    assert entries == [(row["kind"], row["what"], row["id"], row["details"]) for row in answer["rows"]]
    facts = {name.lower(): strip_tags(value) for name, value in shown["facts"]}
    assert answer["counts"].items() <= facts.items()
    whats = [entry.what for entry in shown["timeline"].entries]
    assert "staff: adjust wallet" in whats
    assert "staff: retry event" not in whats
    content = desk.get(page_of(customer)).content.decode()
    assert [entry.what for entry in shown["timeline"].entries if entry.link not in content] == []


def test_the_page_of_a_person_counts_only_what_the_reader_may_view(desk: Client, customer: User) -> None:
    facts = dict(clerk("view_user", "view_chat").get(page_of(customer)).context["facts"])
    assert {"Wallet", "Unlocks", "Tokens"}.isdisjoint(facts)
    assert strip_tags(facts["Chats"]) == "4"


def test_a_payment_and_a_job_show_all_that_belongs_to_them_and_nothing_else(desk: Client, customer: User) -> None:
    order = PaymentOrder.objects.all()[0]
    events = [entry.what for entry in desk.get(page_of(order)).context["timeline"].entries]
    assert {"order created", "order paid", "event x", "refund completed", "debt open"} <= set(events)
    job = GenerationJob.objects.filter(insights__attempts__isnull=False)[0]
    entries = desk.get(page_of(job)).context["timeline"].entries
    assert [entry for entry in entries if entry.what.startswith("attempt 1")]
    assert "coins reserved" in [entry.what for entry in entries]
    assert [entry for entry in entries if "order" in entry.what] == []


def test_search_finds_a_row_by_its_id_its_first_characters_and_a_person_by_e_mail(desk: Client, customer: User) -> None:
    job = GenerationJob.objects.all()[0]
    for term in (str(job.pk), str(job.pk)[:8], f" {job.pk} "):
        found = desk.get(reverse("console:find"), {"q": term}).context["matches"]
        assert (str(job.pk), page_of(job)) in [(match.pk, match.page) for match in found], term
    found = desk.get(reverse("console:find"), {"q": customer.email or ""}).context["matches"]
    assert [(match.kind, match.pk) for match in found] == [("User", str(customer.pk))]
    found = desk.get(reverse("console:find"), {"q": "pi_1"}).context["matches"]
    assert str(PaymentOrder.objects.all()[0].pk) in [match.pk for match in found]
    for term in ("", "nobody@example.org", "\0", "x" * 500, "zzzzzzzz", "' OR 1=1"):
        assert desk.get(reverse("console:find"), {"q": term}).context["matches"] == [], term


def test_the_search_for_the_id_of_a_refused_request_shows_the_command_that_finds_its_line(desk: Client) -> None:
    shown = desk.get(reverse("console:find"), {"q": " 0f6c1c9e6d0a4c628f3e2b8f5a7d9e10 "})
    command = installation.as_typed(installation.log_of_request("0f6c1c9e6d0a4c628f3e2b8f5a7d9e10"))
    assert escape(command) in shown.content.decode()
    for term in ("nobody@example.org", "short", "a $(command)"):
        assert "only in the log" not in desk.get(reverse("console:find"), {"q": term}).content.decode(), term


def test_a_search_that_takes_too_long_says_so(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_QUERY_MILLISECONDS", 100)
    desk.get("/admin/")
    with slow("UNION ALL"):
        assert "The search took too long" in desk.get(reverse("console:find"), {"q": "12"}).content.decode()


def test_search_finds_no_row_that_the_reader_may_not_see(desk: Client, customer: User) -> None:
    job = GenerationJob.objects.all()[0]
    found = clerk("view_chat").get(reverse("console:find"), {"q": str(job.chat_id)}).context["matches"]
    assert [match.kind for match in found] == ["Chat"]


def test_the_command_palette_finds_pages_and_rows(desk: Client, customer: User) -> None:
    page = desk.get("/admin/search/", {"s": "webhook", "extended": "1"}).content.decode()
    assert everything.list_address(WebhookEvent) in page
    job = GenerationJob.objects.all()[0]
    assert page_of(job) in desk.get("/admin/search/", {"s": str(job.pk), "extended": "1"}).content.decode()


def test_an_unpaid_order_offers_no_refund_and_an_applied_event_no_retry(desk: Client) -> None:
    user = rows.person()
    everything.payments(1, user=user)
    order, event = PaymentOrder.objects.all()[0], WebhookEvent.objects.all()[0]
    refund = reverse("admin:billing_paymentorder_refund_this", args=[order.pk])
    retry = reverse("admin:billing_webhookevent_apply_this", args=[event.pk])
    order_page = reverse("admin:billing_paymentorder_change", args=[order.pk])
    event_page = reverse("admin:billing_webhookevent_change", args=[event.pk])
    assert refund in desk.get(order_page).content.decode()
    assert retry in desk.get(event_page).content.decode()
    PaymentOrder.objects.filter(pk=order.pk).update(status="pending", completed_at=None)
    WebhookEvent.objects.filter(pk=event.pk).update(status="applied", applied_at=event.received_at)
    assert refund not in desk.get(order_page).content.decode()
    assert "It is not paid." in desk.get(refund, follow=True).content.decode()
    assert retry not in desk.get(event_page).content.decode()


def test_a_query_that_takes_too_long_is_given_up_and_the_connection_can_be_used() -> None:
    def sleep() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
        return "slept"

    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        before = cursor.fetchone()
    started = time.monotonic()
    assert within(sleep, milliseconds=50) is None
    assert time.monotonic() - started < 20
    assert within(lambda: "done", milliseconds=5000) == "done"
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == before


@pytest.mark.django_db(transaction=True)
def test_a_restart_of_postgres_is_not_taken_for_a_slow_query() -> None:
    def lose_the_connection() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return "still connected"

    with pytest.raises(OperationalError):
        within(lose_the_connection, milliseconds=5000, key="counts")
    connection.close()
    assert within(lambda: "counted", milliseconds=5000, key="counts") == "counted"


def test_the_page_of_errors_says_so_if_grouping_them_takes_too_long(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "QUERY_MILLISECONDS", 100)
    with slow('SUM("error_events"."times")'):
        page = desk.get(reverse("console:live", args=["errors"]), {"window": "30d"})
    assert page.status_code == 200
    assert "Grouping them took too long. Choose a shorter period." in page.content.decode()


@pytest.mark.parametrize(
    ("table", "left_out"), [("error_events", "error events"), ("django_admin_log", "log entries")], ids=str
)
def test_a_timeline_says_what_it_leaves_out_because_finding_it_takes_too_long(
    desk: Client, customer: User, monkeypatch: pytest.MonkeyPatch, table: str, left_out: str
) -> None:
    monkeypatch.setattr(timelines, "QUERY_MILLISECONDS", 100)
    with slow(f'FROM "{table}"'):
        page = desk.get(page_of(customer))
        _, answer = as_json("person", str(customer.pk))
    sentence = f"Not all {left_out} are shown: finding them took too long. The rest is complete."
    assert sentence in page.content.decode()
    assert "upload" in {entry.kind for entry in page.context["timeline"].entries}
    assert sentence in {line["text"] for line in answer["lines"]}
    assert "Not all" not in desk.get(page_of(customer)).content.decode()


def test_a_person_s_own_errors_are_found_while_those_of_their_work_take_too_long(
    desk: Client, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = {"at": Now(), "role": "web", "host": "h", "pid": 1, "level": "ERROR", "logger": "l", "fingerprint": "f"}
    own = ErrorEvent.objects.create(event="own crash", user_id=customer.pk, **moment)
    monkeypatch.setattr(timelines, "QUERY_MILLISECONDS", 2000)
    with slow('NOT ("error_events"."user_id"'):
        timeline = desk.get(page_of(customer)).context["timeline"]
    assert own.pk in {entry.pk for entry in timeline.entries if entry.kind == "error"}
    assert timeline.left_out == (ErrorEvent,)


def test_a_cached_value_is_computed_once_until_it_is_old() -> None:
    calls: list[str] = []

    def compute(key: str) -> int:
        calls.append(key)
        return len(calls)

    cache = Cached(compute, seconds=3600)
    assert [cache.get("a"), cache.get("a"), cache.get("b")] == [1, 1, 2]
    cache.seconds = 0
    assert cache.get("a") == 3


@pytest.mark.parametrize("is_usable", [True, False])
def test_a_request_waits_for_another_one_unless_the_old_value_is_usable(is_usable: bool) -> None:
    calls: list[str] = []
    is_computing, may_finish = threading.Event(), threading.Event()

    def compute(key: str) -> str:
        calls.append(key)
        if len(calls) == 1:
            return "old"
        is_computing.set()
        assert may_finish.wait(30)
        return "new"

    cache = Cached(compute, seconds=0, usable_seconds=3600 if is_usable else 0)
    assert cache.get("a") == "old"
    with ThreadPoolExecutor(2) as requests:
        first = requests.submit(cache.get, "a")
        assert is_computing.wait(30)
        second = requests.submit(cache.get, "a")
        if is_usable:
            assert second.result(30) == "old"
        may_finish.set()
        assert (first.result(30), second.result(30)) == ("new", "old" if is_usable else "new")


def test_a_chart_has_gaps_where_nothing_is_known_unless_it_is_bridged() -> None:
    series = [1.0, 2.0, None, 4.0]
    assert charts.line(series, label="x", top=5).count('class="rc-line"') == 2
    assert charts.line(series, label="x", top=5, is_bridged=True).count('class="rc-line"') == 1
    assert "<script" not in charts.line(series, label="<script>", top=5)
    assert [charts.ceiling([value]) for value in (0, 0.4, 1, 3, 99, 101)] == [1, 1, 1, 5, 100, 200]
    assert charts.ceiling([None]) == 1


def test_the_axis_of_a_share_begins_below_all_values_and_the_target_and_has_no_area() -> None:
    assert [charts.floor_of_shares([value, None], target=95) for value in (100, 90, 57.1, 50, 3)] == [90, 80, 50, 0, 0]
    assert charts.floor_of_shares([], target=70) == 50
    series = [100.0, 57.1]
    assert "rc-area" in charts.line(series, label="x", top=100)
    assert "rc-area" not in charts.line(series, label="x", top=100, bottom=50)


def test_a_chart_with_an_axis_has_the_values_and_times_that_its_readout_shows() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    axis = charts.Axis(start, start + timedelta(hours=1), "ms")
    drawn = charts.line([1.23456, None], label="x", top=5, axis=axis)
    assert 'data-values="[1.235, null]" data-start="2026-01-01T00:00:00+00:00"' in drawn
    assert 'data-end="2026-01-01T01:00:00+00:00" data-unit="ms"' in drawn


@pytest.mark.parametrize(
    ("seconds", "ticks"), [(0.4, [0]), (5, [0, 1, 2, 3, 4, 5]), (47, [0, 10, 20, 30, 40]), (90_000, [0, 21_600, 43_200,
    64_800, 86_400])], ids=str
)  # fmt: skip
def test_the_bars_of_a_job_have_at_most_six_ticks(seconds: float, ticks: list[int]) -> None:
    drawn = charts.bars([charts.Bar("a", "success", 0, 0, seconds)], seconds=seconds, label="x")
    assert [int(tick) for tick in re.findall(r">(\d+) s</text>", drawn)] == ticks


@pytest.mark.parametrize(
    ("text", "headline", "details"),
    [
        ("no worker is alive", "no worker is alive", ""),
        ("2 of 16 do not hold, such as “a; b”", "2 of 16 do not hold", "such as “a; b”"),
        ("worker@a is frozen; 1 alive", "worker@a is frozen", "1 alive"),
    ],
    ids=["no details", "an example", "what else is known"],
)
def test_the_headline_of_the_overview_is_the_cause_without_its_details(text: str, headline: str, details: str) -> None:
    found = overview.findings(Report("Health", (Line("x", Level.CRITICAL, text),)), checked_at=None)
    assert (found["headline"], found["details"]) == (headline, details)


@pytest.mark.django_db
def test_the_page_of_a_user_leads_to_everything_about_the_person(desk: Client, customer: User) -> None:
    leads = reverse("admin:accounts_user_timeline_this", args=[customer.pk])
    assert leads in desk.get(reverse("admin:accounts_user_change", args=[customer.pk])).content.decode()
    assert desk.get(leads)["Location"] == page_of(customer)
    page = desk.get(page_of(customer)).content.decode()
    for model in (Chat, GenerationJob, AccessToken):
        assert f'href="{attention.list_address(model)}?q={customer.pk}"' in page
    assert desk.get(attention.list_address(Chat), {"q": str(customer.pk)}).context["cl"].result_count == 4


@pytest.mark.django_db
def test_a_count_that_takes_too_long_leaves_out_no_other(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.orphaned_reservation()
    is_slow = Func(template="(SELECT true FROM pg_sleep(60))", output_field=BooleanField())
    slow = attention.Kind("Slow", lambda: Wallet.objects.annotate(is_slow=is_slow).filter(is_slow=True), "")
    monkeypatch.setattr(attention, "KINDS", (slow, *attention.KINDS))
    monkeypatch.setattr(attention, "COUNT_MILLISECONDS", 1500)
    counts = {item.title: item.number for item in desk.get("/admin/").context["items"]}
    assert counts["Slow"] is None
    assert counts["Overdue reservations"] == 1

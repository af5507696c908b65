"""Every list is filtered by time and state. The counts of the choices stop at a limit, by one query."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import OperationalError, connection, models
from django.db.models import DateTimeField
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from psycopg.errors import QueryCanceled

from billing.models import CoinReservation, CreditTransaction
from chats.models import Chat, ChatUpload
from insights.models import Insight
from ops.monitoring_models import Sample
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.staff import bounded, filters, lists
from relivchats.staff.bounded import count_each
from relivchats.staff.filters import CountedFilter, TimeFilter
from tests.admin import everything
from tests.ops import rows

pytestmark = pytest.mark.django_db

#: Lists of a handful of rows, or of parts of a chat, which have neither a time nor a state.
WITHOUT_TIME = {"chordcounter", "transcriptblock", "chunk", "readwindow", "requesttotal", "bonus", "group", "category",
                "insighttype", "creditpackage", "packageprice"}  # fmt: skip


def upload(*, days_ago: float = 0, outcome: str = "accepted") -> ChatUpload:
    owner = User.objects.create_user(f"{User.objects.count()}@example.org")
    created = ChatUpload.objects.create(owner=owner, outcome=outcome, size_bytes=1, milliseconds=1)
    ChatUpload.objects.filter(pk=created.pk).update(created_at=Now() - timedelta(days=days_ago))
    return created


def found(client: Client, model: type[models.Model], **query: str) -> set[Any]:
    answer = client.get(everything.list_address(model), query)
    assert answer.status_code == 200, answer.headers
    return {row.pk for row in answer.context["cl"].result_list}


def choices(client: Client, model: type[models.Model], parameter: str, **query: str) -> dict[str, str]:
    """Return the count of each choice of a filter, by its label."""
    listed = client.get(everything.list_address(model), query).context["cl"]
    for spec in listed.filter_specs:
        if isinstance(spec, CountedFilter) and spec.parameter_name == parameter:
            return {choice["display"]: choice["count"] for choice in spec.choices(listed)}
    raise AssertionError(f"no filter {parameter}")


def test_every_list_with_a_time_is_filtered_by_it() -> None:
    without = set()
    for model, model_admin in admin.site._registry.items():
        request: Any = None
        specs = model_admin.get_list_filter(request)
        if not any(isinstance(spec, tuple) and spec[1] is TimeFilter for spec in specs):
            without.add(model._meta.model_name)
    assert without == WITHOUT_TIME


def test_every_list_with_a_state_is_filtered_by_it() -> None:
    """A column with choices, or with a colour, is a state."""
    for model, model_admin in admin.site._registry.items():
        states = [
            field.name
            for field in model._meta.concrete_fields
            if field.choices and field.name in {"status", "outcome", "type", "kind", "vector_status", "level", "role"}
        ]
        filtered = {spec[0] if isinstance(spec, tuple) else spec for spec in model_admin.list_filter}
        missing = set(states) - filtered - ({"status"} if model is Chat else set())
        missing -= {"kind"} if model._meta.model_name == "adjustment" else set()
        assert not missing, model


def test_a_span_of_time_shows_its_rows(desk: Client) -> None:
    new, week, month, old = (upload(days_ago=days).pk for days in (0, 2, 20, 90))
    assert found(desk, ChatUpload) == {new, week, month, old}
    assert found(desk, ChatUpload, when="24h") == {new}
    assert found(desk, ChatUpload, when="7d") == {new, week}
    assert found(desk, ChatUpload, when="30d") == {new, week, month}


def place(row: ChatUpload, moment: datetime) -> Any:
    ChatUpload.objects.filter(pk=row.pk).update(created_at=moment)
    return row.pk


def test_days_include_the_first_and_the_last_one_in_the_zone_of_the_reader(desk: Client) -> None:
    # Midnight in Berlin is 23:00 UTC of the day before.
    before = place(upload(), datetime(2026, 1, 9, 22, 59, tzinfo=UTC))
    first = place(upload(), datetime(2026, 1, 9, 23, 0, tzinfo=UTC))
    last = place(upload(), datetime(2026, 1, 11, 22, 59, tzinfo=UTC))
    after = place(upload(), datetime(2026, 1, 11, 23, 0, tzinfo=UTC))
    days = {"from": "2026-01-10", "to": "2026-01-11"}
    assert found(desk, ChatUpload, **days) == {last, after}
    desk.cookies["zone"] = "Europe/Berlin"
    assert found(desk, ChatUpload, **days) == {first, last}
    assert found(desk, ChatUpload, **{"from": "2026-01-10"}) == {first, last, after}
    assert found(desk, ChatUpload, to="2026-01-11") == {before, first, last}
    page = desk.get(everything.list_address(ChatUpload), days).content.decode()
    assert "Europe/Berlin" in page
    assert 'value="2026-01-10"' in page


@pytest.mark.parametrize("zone", ["", "Mars/Base", "../../etc/passwd", "x" * 5000, "Europe", "\x01"])
def test_an_unknown_zone_is_utc(desk: Client, zone: str) -> None:
    desk.cookies["zone"] = zone
    row = place(upload(), datetime(2026, 1, 10, 0, 0, tzinfo=UTC))
    assert found(desk, ChatUpload, **{"from": "2026-01-10", "to": "2026-01-10"}) == {row}


def test_today_begins_at_midnight_of_the_reader(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    place(upload(), datetime(2026, 3, 1, 22, 30, tzinfo=UTC))
    today = place(upload(), datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    desk.cookies["zone"] = "Europe/Berlin"
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 3, 2, 0, 30, tzinfo=UTC))
    assert found(desk, ChatUpload, when="today") == {today}
    del desk.cookies["zone"]
    assert found(desk, ChatUpload, when="today") == set()


@pytest.mark.parametrize(
    "query",
    [
        {"when": "yesterday"},
        {"from": "10.1.2026"},
        {"to": "2026-02-30"},
        {"from": "0001-01-01"},
        {"to": "9999-12-31"},
        {"outcome__exact": "nonsense"},
        {"outcome__exact": ""},
    ],
    ids=str,
)
def test_an_invalid_filter_shows_the_whole_list_and_says_so(desk: Client, query: dict[str, str]) -> None:
    upload()
    upload(days_ago=900)
    answer = desk.get(everything.list_address(ChatUpload), query, follow=True)
    assert answer.status_code == 200
    assert len(answer.context["cl"].result_list) == 2
    assert "The list is shown without filters." in answer.content.decode()


def test_a_choice_counts_the_rows_that_it_would_show_with_the_other_filters(desk: Client) -> None:
    for days, outcome in ((0, "accepted"), (0, "accepted"), (0, "refused"), (3, "refused"), (3, "failed")):
        upload(days_ago=days, outcome=outcome)
    counts = choices(desk, ChatUpload, "outcome__exact")
    assert (counts["accepted"], counts["refused"], counts["failed"], counts["identical"]) == ("2", "2", "1", "0")
    counts = choices(desk, ChatUpload, "outcome__exact", when="24h", outcome__exact="refused")
    assert (counts["accepted"], counts["refused"], counts["failed"]) == ("2", "1", "0")
    one = ChatUpload.objects.filter(outcome="failed").values_list("owner", flat=True)[0]
    counts = choices(desk, ChatUpload, "outcome__exact", q=str(one))
    assert (counts["accepted"], counts["failed"]) == ("0", "1")


def test_a_count_above_the_limit_says_so(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (filters, lists):
        monkeypatch.setattr(module, "MAX_COUNTED", 2)
    for _ in range(2):
        upload()
    assert choices(desk, ChatUpload, "outcome__exact")["accepted"] == "2"
    upload()
    assert choices(desk, ChatUpload, "outcome__exact")["accepted"] == "2+"


def test_a_list_longer_than_the_limit_says_so(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists.BoundedPaginator, "MAX_COUNT", 2)
    for shown in ("1 chat upload", "2 chat uploads", "2+ chat uploads"):
        upload()
        text = re.sub(r"\s+", " ", desk.get(everything.list_address(ChatUpload)).content.decode())
        assert f" {shown} " in text


def test_a_list_is_shown_without_counts_that_take_too_long(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    upload()

    def sleep(*arguments: Any, **options: Any) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
        return []

    monkeypatch.setattr(lists, "count_each", sleep)
    monkeypatch.setattr(lists, "COUNT_MILLISECONDS", 20)
    assert choices(desk, ChatUpload, "outcome__exact")["accepted"] == "?"
    assert len(found(desk, ChatUpload)) == 1


def test_if_counting_takes_too_long_the_first_rows_of_the_list_are_counted(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days, outcome in ((0, "accepted"), (1, "refused"), (2, "refused")):
        upload(days_ago=days, outcome=outcome)
    counted: list[int] = []

    def count_slowly_at_first(selections: Any, *, limit: int) -> list[int]:
        counted.append(len(selections))
        if len(counted) == 1:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(30)")
        return count_each(selections, limit=limit)

    monkeypatch.setattr(lists, "count_each", count_slowly_at_first)
    monkeypatch.setattr(lists, "COUNT_MILLISECONDS", 500)
    monkeypatch.setattr(lists, "MAX_SAMPLED", 2)
    listed = desk.get(everything.list_address(ChatUpload)).context["cl"]
    counts = {value: listed.choice_counts["outcome__exact", value] for value in ("accepted", "refused", "failed")}
    assert counts == {"accepted": "1+", "refused": "1+", "failed": "0+"}


def test_counts_that_took_too_long_are_not_tried_again_for_minutes(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload()
    tried = []

    def fail_at_first(selections: Any, *, limit: int) -> list[int]:
        tried.append(1)
        if len(tried) == 1:
            raise OperationalError("canceling statement due to statement timeout") from QueryCanceled()
        return count_each(selections, limit=limit)

    monkeypatch.setattr(lists, "count_each", fail_at_first)
    for _ in range(3):
        assert choices(desk, ChatUpload, "outcome__exact")["accepted"] == "1+"
    assert len(tried) == 4, "the first rows are counted each time"
    # With another filter all rows may be few.
    assert choices(desk, ChatUpload, "outcome__exact", when="24h")["accepted"] == "1"
    bounded.clear_cache()
    assert choices(desk, ChatUpload, "outcome__exact")["accepted"] == "1"


@pytest.mark.parametrize(
    "model", [Insight, CoinReservation, CreditTransaction, ChatUpload, Chat], ids=lambda model: model.__name__
)
def test_one_query_counts_all_choices_and_each_count_stops_at_the_limit(
    desk: Client, model: type[models.Model]
) -> None:
    everything.one_of_each(1)
    desk.get("/admin/")
    with CaptureQueriesContext(connection) as captured:
        listed = desk.get(everything.list_address(model)).context["cl"]
    values = [value for spec in listed.filter_specs if isinstance(spec, CountedFilter) for value in spec.lookup_choices]
    table = model._meta.db_table
    counts = [query["sql"] for query in captured if "AS counted" in query["sql"] and f'FROM "{table}"' in query["sql"]]
    (sql,) = counts
    assert sql.count(f"LIMIT {filters.MAX_COUNTED + 1}") == sql.count("AS counted") == len(values) > 0
    assert "sealed" not in sql
    assert "ORDER BY" not in sql


def test_values_that_are_not_known_in_advance_are_read_from_few_rows(desk: Client) -> None:
    now = datetime.now(UTC)
    Sample.objects.create(at=now, name="queue_depth", value=1)
    Sample.objects.create(at=now - timedelta(days=2), name="rare", value=1)
    with CaptureQueriesContext(connection) as captured:
        assert set(choices(desk, Sample, "name__exact")) == {"All", "queue depth", "rare"}
    assert [query for query in captured if "DISTINCT" in query["sql"] and '"samples"' in query["sql"]] == []
    assert found(desk, Sample, name__exact="rare")
    assert found(desk, Sample, name__exact="unknown") == set()


def test_no_filter_reads_all_values_of_a_column() -> None:
    """Django offers the distinct values of a column without choices, for which it reads the whole table."""
    for model, model_admin in admin.site._registry.items():
        for spec in model_admin.list_filter:
            if isinstance(spec, str):
                assert model._meta.get_field(spec).is_relation, (model, spec)


def test_a_filter_by_state_and_one_by_time_apply_together(desk: Client) -> None:
    chat = rows.chat(rows.person(), vector_status="failed")
    old = rows.chat(rows.person(), vector_status="failed")
    Chat.objects.filter(pk=old.pk).update(created_at=Now() - timedelta(days=8))
    rows.chat(rows.person())
    assert found(desk, Chat, indexing="failed", when="7d") == {chat.pk}
    assert found(desk, Chat, vector_status__exact="failed") == {chat.pk, old.pk}


def test_the_form_of_days_keeps_the_other_filters(desk: Client) -> None:
    upload(outcome="failed")
    page = desk.get(everything.list_address(ChatUpload), {"outcome__exact": "failed", "q": "7", "when": "7d"})
    form = page.content.decode().split('class="rc-days"')[1].split("</form>")[0]
    assert '<input type="hidden" name="outcome__exact" value="failed">' in form
    assert '<input type="hidden" name="q" value="7">' in form
    assert 'name="when"' not in form


def test_the_time_of_every_list_is_a_moment() -> None:
    for model, model_admin in admin.site._registry.items():
        name = getattr(model_admin, "time_field", "created_at")
        if model._meta.model_name not in WITHOUT_TIME:
            assert isinstance(model._meta.get_field(name), DateTimeField), model

"""A list is exported as a CSV file: only declared columns, no private text, recorded, and of a bounded size."""

from __future__ import annotations

import csv
import io
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import Error, connection, models, transaction
from django.db.models import Value
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import CreditTransaction, PaymentOrder, WebhookEvent
from chats import admin as chats_admin
from chats.models import Chat, ChatUpload
from insights.models import Insight
from ops.monitoring_models import Sample
from relivchats import csv_files
from relivchats.accounts.models import User
from relivchats.staff import exports, filters
from relivchats.staff.models import AuditEntry
from tests.admin import everything
from tests.admin.conftest import CANARY, slow
from tests.ops import rows

EXPORTED: dict[Any, Any] = {
    model: each for model, each in admin.site._registry.items() if getattr(each, "export_columns", ())
}
#: Columns of text without choices: ids, codes, names of engines and of parts of the code, and who acted by id.
TEXTS = {
    *(
        "actor",
        "proposed_by",
        "decided_by",
        "paused_by",
        "resumed_by",
        "object_id",
        "task_id",
        "event_id",
        "fingerprint",
    ),
    *("provider_order_id", "provider_payment_id", "provider_refund_id", "package_id", "category_id", "insight_type_id"),
    *("provider", "currency", "failure", "error_code", "index_error_code", "reason", "code", "state", "outcome"),
    *("platform", "dialect", "engine", "index_engine", "model", "language", "level", "name", "action", "type"),
    *("logger", "error", "location", "route", "method", "task_name", "status"),
}


def export_address(model: type[models.Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_export")


def download(client: Client, model: type[models.Model], query: str = "") -> list[list[str]]:
    """Export a list, and return the lines of the file."""
    answer = client.post(export_address(model) + query, {"reason": "for the accountant"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    return list(csv.reader(io.StringIO(answer.getvalue().decode())))


def records() -> models.QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(action="export list")


def field_at(model: type[models.Model], path: str) -> Any:
    *relations, name = path.split("__")
    for relation in relations:
        model = model._meta.get_field(relation).related_model  # type: ignore[assignment]
    return next(field for field in model._meta.concrete_fields if name in (field.name, field.attname))


def test_a_column_is_an_id_a_time_a_number_a_state_or_a_code() -> None:
    assert len(EXPORTED) > 25
    for model, model_admin in EXPORTED.items():
        assert model._meta.pk.name in model_admin.export_columns
        for path in model_admin.export_columns:
            field = field_at(model, path)
            kinds = (
                models.UUIDField,
                models.DateTimeField,
                models.IntegerField,
                models.FloatField,
                models.BooleanField,
            )
            simple = isinstance(field, (*kinds, models.ForeignKey, models.OneToOneField)) or bool(field.choices)
            assert simple or path in TEXTS or path in {"order__currency", "content_type__model"}, (model, path)
            assert field.name not in {"email", "external_id", "password", "token", "digest", "header_shape"}
            assert field.name != "reason" or model is ChatUpload, "there, it is the name of an error"


@pytest.mark.django_db(transaction=True)
def test_no_export_has_private_text(desk: Client, private_chat: Chat) -> None:
    everything.one_of_each(1)
    planted = 0
    for model, model_admin in EXPORTED.items():
        for field in model._meta.concrete_fields:
            # Without a password that matches its session, the superuser would be logged out.
            kept = {field.name, field.attname} & {"password", *model_admin.export_columns}
            if kept or field.choices or not isinstance(field, models.CharField | models.TextField):
                continue
            # Some columns are append-only or unique; those of other tables still have the text.
            try:
                with transaction.atomic():
                    planted += model._base_manager.update(**{field.attname: Value(CANARY)})
            except Error:
                continue
    assert planted > 50
    read = 0
    for model in EXPORTED:
        lines = download(desk, model)
        read += len(lines) - 1
        assert CANARY.lower() not in str(lines).lower(), model
        assert "@" not in str(lines), model
    assert read > 50


@pytest.mark.django_db
def test_the_file_has_the_rows_of_the_filtered_list_in_its_order(desk: Client) -> None:
    everything.one_of_each(1)
    everything.one_of_each(2)
    listed = desk.get(everything.list_address(Insight), {"status__exact": "failed"}).context["cl"]
    headings, *lines = download(desk, Insight, "?status__exact=failed")
    assert headings[:3] == ["id", "job_id", "chat_id"]
    assert [line[0] for line in lines] == [str(row.pk) for row in listed.result_list]
    assert {line[headings.index("status")] for line in lines} == {"failed"}
    assert lines[0][headings.index("created_at")].endswith("Z")
    assert len(download(desk, Insight)) > len(lines) + 1


@pytest.mark.django_db
def test_an_export_is_recorded_with_its_filters_and_number_of_rows(desk: Client, staff: User) -> None:
    everything.one_of_each(1)
    person = User.objects.exclude(pk=staff.pk)[0]
    assert person.email
    own = CreditTransaction.objects.filter(wallet=person.wallet).count()
    download(desk, CreditTransaction, f"?q={person.email}&when=30d")
    entry = records().get()
    assert (entry.actor, entry.action, entry.object_id, entry.reason) == (
        f"user {staff.pk}",
        "export list",
        "billing.credittransaction",
        "for the accountant",
    )
    assert entry.outcome == f"{own} rows; created at: last 30 days; of user {person.pk}"


@pytest.mark.django_db
@pytest.mark.parametrize("term", ["what Zorblax wrote", "nobody@example.org"])
def test_the_record_of_an_export_has_no_words_of_a_search(desk: Client, term: str) -> None:
    everything.one_of_each(1)
    download(desk, CreditTransaction, f"?q={term}")
    assert records().get().outcome == "0 rows; a value that no row has"


@pytest.mark.django_db
@pytest.mark.parametrize("term", ["phone|+4917012345", "{person.email}", "{person.pk}"])
def test_a_search_for_a_user_is_recorded_with_the_id_that_means_nothing_after_the_erasure(
    desk: Client, term: str
) -> None:
    person = User.objects.create_user("person@example.org", external_id="phone|+4917012345")
    download(desk, User, "?" + urlencode({"q": term.format(person=person)}))
    assert records().get().outcome == f"1 rows; of user {person.pk}"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "chosen"),
    [(Sample, "name__exact=Anna Schmidt said so"), (ChatUpload, "failure=Anna Schmidt|wrote")],
    ids=["sample", "failure"],
)
def test_a_chosen_value_that_no_row_has_is_neither_recorded_nor_shown(
    desk: Client, model: type[models.Model], chosen: str
) -> None:
    everything.one_of_each(1)
    download(desk, model, f"?{chosen}")
    outcome = records().get().outcome
    assert outcome.startswith("0 rows; ")
    assert outcome.endswith(": a value that no row has")
    for address in (everything.list_address(model), export_address(model)):
        page = desk.get(f"{address}?{chosen}").content.decode()
        assert "a value that no row has" in page
        # The address of the page has it, and so have the links to it.
        assert "Schmidt" not in re.sub(r'(href|value|action)="[^"]*"', "", page)


@pytest.mark.django_db
def test_a_rare_value_that_a_row_has_is_recorded(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_READ_FOR_VALUES", 0)
    monkeypatch.setattr(chats_admin, "MAX_READ_FOR_VALUES", 0)
    Sample.objects.create(at=Now(), name="queue_depth", value=1)
    shape = {"outcome": "refused", "reason": "EmptyExport", "header_shape": "99/99 a"}
    ChatUpload.objects.create(owner=rows.person(), size_bytes=1, milliseconds=1, **shape)
    download(desk, Sample, "?name__exact=queue_depth")
    download(desk, ChatUpload, "?failure=EmptyExport|99/99 a")
    outcomes = list(records().order_by("pk").values_list("outcome", flat=True))
    assert outcomes == ["1 rows; name: queue depth", "1 rows; failure: The file is empty · 99/99 a"]


@pytest.mark.django_db
def test_opening_the_page_exports_and_records_nothing(desk: Client) -> None:
    everything.one_of_each(1)
    page = desk.get(export_address(PaymentOrder), {"status__exact": "completed"})
    assert page.status_code == 200
    assert "amount_in_minor_units" in page.content.decode()
    assert "status: completed" in page.content.decode()
    assert desk.post(export_address(PaymentOrder), {"reason": " "}).headers["Content-Type"].startswith("text/html")
    assert not records().exists()


@pytest.mark.django_db
def test_a_list_links_to_its_export_with_the_filters_that_apply(desk: Client) -> None:
    everything.one_of_each(1)
    page = desk.get(everything.list_address(Chat), {"vector_status__exact": "failed"}).content.decode()
    assert f'href="{export_address(Chat)}?vector_status__exact=failed"' in page


@pytest.mark.django_db
def test_exporting_takes_its_own_permission_and_that_to_view_the_list() -> None:
    everything.one_of_each(1)
    clerk = User.objects.create_user("clerk@example.org", is_staff=True)
    client = Client()
    client.force_login(clerk)
    view, export = (Permission.objects.get(codename=name) for name in ("view_chat", "export_lists"))
    for granted in ([view], [export], []):
        clerk.user_permissions.set(granted)
        assert client.get(export_address(Chat)).status_code == 403
        assert client.post(export_address(Chat), {"reason": "test"}).status_code == 403
    clerk.user_permissions.set([view])
    assert "Export CSV" not in client.get(everything.list_address(Chat)).content.decode()
    assert not records().exists()
    clerk.user_permissions.set([view, export])
    assert "Export CSV" in client.get(everything.list_address(Chat)).content.decode()
    assert len(download(client, Chat)) > 1
    assert client.post(export_address(WebhookEvent), {"reason": "test"}).status_code == 403


@pytest.mark.django_db
def test_a_file_that_is_cut_says_so(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_ROWS", 2)
    user = rows.person()
    for number in range(3):
        ChatUpload.objects.create(owner=user, outcome="accepted", size_bytes=number, milliseconds=1)
    assert "the first 2 of more" in desk.get(export_address(ChatUpload)).content.decode()
    answer = desk.post(export_address(ChatUpload), {"reason": "test"})
    assert "-first-2.csv" in answer.headers["Content-Disposition"]
    lines = list(csv.reader(io.StringIO(answer.getvalue().decode())))
    assert len(lines) == 4
    assert lines[-1] == ["cut after 2 rows: more match, filter the list"]
    assert records().get().outcome == "2 rows"


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_export_whose_count_takes_too_long_leads_back_to_the_list(
    desk: Client, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    everything.one_of_each(1)
    monkeypatch.setattr(exports, "COUNT_MILLISECONDS", 100)
    address = f"{export_address(ChatUpload)}?outcome__exact=failed"
    with slow(f"LIMIT {exports.MAX_ROWS + 1}"):
        answer = getattr(desk, method)(address, {"reason": "test"} if method == "post" else None)
    assert answer.headers["Location"] == f"{everything.list_address(ChatUpload)}?outcome__exact=failed"
    listed = desk.get(answer.headers["Location"]).content.decode()
    assert "Nothing is exported: counting the rows took too long. Filter the list, such as by time." in listed
    assert not records().exists()


@pytest.mark.django_db
def test_rows_are_read_while_they_are_sent_and_no_more_than_the_limit(desk: Client) -> None:
    everything.one_of_each(1)
    with CaptureQueriesContext(connection) as captured:
        answer = desk.post(export_address(Chat), {"reason": "test"})
        assert answer.streaming
        before = len(captured)
        answer.getvalue()
    sent = [query["sql"] for query in captured.captured_queries[before:]]
    assert [sql for sql in sent if f"LIMIT {exports.MAX_ROWS}" in sql and "sealed" not in sql]
    counts = [query["sql"] for query in captured if "COUNT(*)" in query["sql"] and '"chats"' in query["sql"]]
    assert all("LIMIT" in sql for sql in counts)


@pytest.mark.django_db
def test_an_invalid_filter_is_exported_by_nobody(desk: Client) -> None:
    answer = desk.post(export_address(Chat) + "?vector_status__exact=nonsense", {"reason": "test"})
    assert answer.headers["Location"] == f"{everything.list_address(Chat)}?e=1"
    assert not records().exists()


@pytest.mark.django_db
def test_a_code_of_a_provider_is_no_formula(desk: Client) -> None:
    everything.one_of_each(1)
    PaymentOrder.objects.update(failure='=HYPERLINK("http://example.org")')
    headings, line = download(desk, PaymentOrder)
    assert line[headings.index("failure")] == '\'=HYPERLINK("http://example.org")'


@pytest.mark.parametrize("prefix", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
def test_a_text_that_a_spreadsheet_would_run_is_escaped(prefix: str) -> None:
    (_, line) = csv_files.stream(["value"], [[f"{prefix}1+1"]])
    assert next(csv.reader(io.StringIO(line, newline="")))[0] == f"'{prefix}1+1"


def test_a_negative_number_stays_a_number() -> None:
    assert list(csv_files.stream(["amount"], [[-5]])) == ["amount\r\n", "-5\r\n"]

"""Staff see what changes and what a model is sent before a definition is saved, and restore earlier versions."""

from __future__ import annotations

import copy
import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from insights import catalogue
from insights.definition_versions import save_type
from insights.models import Insight, InsightType, InsightTypeVersion
from relivchats.accounts.models import User
from relivchats.staff.models import AuditEntry
from tests.admin import everything
from tests.ops import rows

pytestmark = pytest.mark.django_db
COMPARE = "admin:insights_insighttypeversion_compare"


@pytest.fixture
def basics() -> InsightType:
    return InsightType.objects.get(pk="communication_basics")


def page_of(insight_type: InsightType) -> str:
    return reverse("admin:insights_insighttype_change", args=[insight_type.pk])


def form_values(insight_type: InsightType, **changes: Any) -> dict[str, Any]:
    """Return what the browser posts: the values of the form as it was opened, and the changes."""
    values = {name: getattr(insight_type, name) for name in ("title", "icon", "purpose", "price", "min_messages")}
    values |= {"category": insight_type.category_id, "display_order": insight_type.display_order, "active": "on"}
    values |= {"groups": "on"} if insight_type.groups else {}
    values |= {"definition": json.dumps(insight_type.definition), "edited_version": insight_type.version}
    return values | changes


def with_question(insight_type: InsightType, question: str) -> str:
    definition = copy.deepcopy(insight_type.definition)
    definition["section"][0]["question"] = question
    return json.dumps(definition)


def save(desk: Client, insight_type: InsightType, question: str, reason: str = "clearer") -> None:
    """Change a question as staff do: submit, review, submit again."""
    values = form_values(insight_type, definition=with_question(insight_type, question), reason=reason)
    reviewed = desk.post(page_of(insight_type), values)
    values |= hidden_values(reviewed)
    assert desk.post(page_of(insight_type), values).status_code == 302
    insight_type.refresh_from_db()


def hidden_values(page: Any) -> dict[str, str]:
    """Return the values of the hidden fields that the page posts."""
    text = page.content.decode()
    tags = [re.search(rf'<input[^>]*name="{name}"[^>]*>', text) for name in ("reviewed", "edited_version")]
    found: dict[str, str] = {}
    for tag in tags:
        assert tag is not None
        name, value = (re.search(rf'{attribute}="([^"]*)"', tag[0]) for attribute in ("name", "value"))
        assert name is not None
        found[name[1]] = value[1] if value else ""
    return found


def changed_lines(page: Any, kind: str) -> list[str]:
    """Return the added or removed lines of a page, without markup."""
    found = re.findall(rf'<div class="{kind}">(.*?)</div>', page.content.decode(), re.DOTALL)
    return [html.unescape(re.sub("<[^>]+>", "", line)) for line in found]


@pytest.mark.parametrize(
    ("definition", "place"),
    [
        ('{"section": [{"title": 3}], "overall": {}}', "section 1"),
        ('{"section": [{"key": [], "like": []}], "overall": {}}', "section 1"),
        ('{"section": 7, "overall": {}}', "section"),
        ("[7]", "definition"),
        ('"words"', "definition"),
        ('{\n  "section": [,]\n}', "Line 2, column 15"),
        ('{"section": [],\n"overall": "\\u0000"}', "Line 2: the character"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 10_000, "number is too long"),
    ],
)
def test_an_invalid_definition_is_refused_with_its_location_and_not_saved(
    desk: Client, basics: InsightType, definition: str, place: str
) -> None:
    answer = desk.post(page_of(basics), form_values(basics, definition=definition, reason="test"))
    assert answer.status_code == 200
    (error,) = answer.context["errors"]
    assert place in str(error)
    assert not answer.context["adminform"].form.review
    assert InsightTypeVersion.objects.filter(insight_type=basics).count() == 1


def test_a_new_price_is_saved_at_once_and_creates_no_version(desk: Client, basics: InsightType) -> None:
    assert desk.post(page_of(basics), form_values(basics, price=75)).status_code == 302
    basics.refresh_from_db()
    assert (basics.price, basics.version, basics.versions.count()) == (75, 1, 1)


def test_a_changed_definition_is_shown_before_it_is_saved(desk: Client, basics: InsightType) -> None:
    old = basics.definition["section"][0]["question"]
    values = form_values(basics, definition=with_question(basics, "Who says <hello> first?"), reason="shorter")
    page = desk.post(page_of(basics), values)
    assert page.status_code == 200
    assert "Not saved yet" in page.content.decode()
    assert any(old in line for line in changed_lines(page, "removed"))
    added = [line for line in changed_lines(page, "added") if "Who says <hello> first?" in line]
    # In the definition, compared with the database and with the file, and in what a model is sent.
    assert len(added) == 3
    texts = re.findall(r'<pre class="wide-text">(.*?)</pre>', page.content.decode(), re.DOTALL)
    assert ["Who says &lt;hello&gt; first?" in text for text in texts] == [True, False]
    assert basics.versions.count() == 1

    assert desk.post(page_of(basics), values | hidden_values(page)).status_code == 302
    basics.refresh_from_db()
    assert basics.definition["section"][0]["question"] == "Who says <hello> first?"


def test_a_review_lists_the_texts_without_a_translation(desk: Client, basics: InsightType) -> None:
    definition = copy.deepcopy(basics.definition)
    definition["section"][0]["title"] = "Who says <hello>?"
    values = form_values(basics, definition=json.dumps(definition), reason="clearer")
    page = desk.post(page_of(basics), values).content.decode()
    assert "de, es, hi, pt will show these sentences in English:" in page
    assert "<li>Who says &lt;hello&gt;?</li>" in page

    unchanged = desk.post(
        page_of(basics), form_values(basics, definition=with_question(basics, "Who?"), reason="clearer")
    )
    assert "will show these sentences in English" not in unchanged.content.decode()


def test_a_review_without_errors_asks_for_no_correction(desk: Client, basics: InsightType) -> None:
    values = form_values(basics, definition=with_question(basics, "Who says hello first?"))
    assert "Please correct the error" in desk.post(page_of(basics), values).content.decode(), "the reason is missing"
    page = desk.post(page_of(basics), values | {"reason": "clearer"}).content.decode()
    assert "Not saved yet" in page
    assert "Please correct the error" not in page


def test_a_version_says_who_saved_it_and_why(desk: Client, staff: User, basics: InsightType) -> None:
    save(desk, basics, "Who says hello first?", reason="the question was too long")
    first, second = basics.versions.order_by("version")
    assert (first.saved_by, first.reason) == ("catalogue", "Loaded from the files")
    assert (second.saved_by, second.reason) == (f"user {staff.pk}", "the question was too long")
    assert second.created_at > first.created_at
    page = desk.get(next(everything.row_addresses(second))).content.decode()
    assert "the question was too long" in page
    assert str(staff.pk) in page


def test_a_changed_definition_needs_a_reason(desk: Client, basics: InsightType) -> None:
    values = form_values(basics, definition=with_question(basics, "Why?"))
    page = desk.post(page_of(basics), values)
    page = desk.post(page_of(basics), values | hidden_values(page))
    assert "Say why the definition changes" in page.content.decode()
    assert basics.versions.count() == 1


def test_what_was_not_reviewed_is_not_saved(desk: Client, basics: InsightType) -> None:
    values = form_values(basics, definition=with_question(basics, "Why?"), reason="test")
    page = desk.post(page_of(basics), values)
    edited_again = values | hidden_values(page) | {"definition": with_question(basics, "Why not?")}
    page = desk.post(page_of(basics), edited_again)
    assert "Not saved yet" in page.content.decode()
    assert basics.versions.count() == 1
    assert desk.post(page_of(basics), edited_again | hidden_values(page)).status_code == 302


def test_of_two_edits_at_the_same_time_the_second_is_compared_with_the_first(desk: Client, basics: InsightType) -> None:
    mine = form_values(basics, definition=with_question(basics, "Mine?"), reason="test")
    mine |= hidden_values(desk.post(page_of(basics), mine))
    save(desk, InsightType.objects.get(pk=basics.pk), "Theirs?")
    page = desk.post(page_of(basics), mine)
    assert "Version 2 was saved meanwhile" in page.content.decode()
    assert any("Theirs?" in line for line in changed_lines(page, "removed"))
    assert InsightType.objects.get(pk=basics.pk).definition["section"][0]["question"] == "Theirs?"
    assert desk.post(page_of(basics), mine | hidden_values(page)).status_code == 302
    assert InsightType.objects.get(pk=basics.pk).definition["section"][0]["question"] == "Mine?"


def test_a_new_type_is_reviewed_too(desk: Client, basics: InsightType) -> None:
    page = reverse("admin:insights_insighttype_add")
    values = form_values(basics, id="a_new_type", reason="asked for by many", edited_version="")
    answer = desk.post(page, values)
    assert "do not have this type" in answer.content.decode()
    assert not InsightType.objects.filter(pk="a_new_type").exists()
    assert desk.post(page, values | hidden_values(answer)).status_code == 302
    (version,) = InsightType.objects.get(pk="a_new_type").versions.all()
    assert (version.version, version.reason) == (1, "asked for by many")


def keep_one_section(definition: dict[str, Any]) -> None:
    definition["section"] = definition["section"][:1]


def remove_evidence(definition: dict[str, Any]) -> None:
    for section in definition["section"]:
        section.pop("evidence", None)


def remove_reading(definition: dict[str, Any]) -> None:
    for section in definition["section"]:
        section.pop("reading", None)


def rename_sections(definition: dict[str, Any]) -> None:
    for number, section in enumerate(definition["section"]):
        section["key"] = f"section_{number}"
        section.pop("like", None)


@pytest.mark.parametrize("change", [keep_one_section, remove_evidence, remove_reading, rename_sections])
def test_every_valid_definition_can_be_reviewed(
    desk: Client, basics: InsightType, change: Callable[[dict[str, Any]], None]
) -> None:
    definition = copy.deepcopy(basics.definition)
    change(definition)
    page = desk.post(page_of(basics), form_values(basics, definition=json.dumps(definition), reason="test"))
    assert page.status_code == 200
    assert page.context["adminform"].form.review is not None, page.context["errors"]


def test_the_list_says_which_types_staff_edited(desk: Client, basics: InsightType) -> None:
    address = everything.list_address(InsightType)
    before = desk.get(address).content.decode()
    save(desk, basics, "Who says hello first?")
    after = desk.get(address).content.decode()
    assert before.count("as in the catalogue") - after.count("as in the catalogue") == 1


def test_the_page_of_a_type_counts_the_texts_without_a_translation(desk: Client, basics: InsightType) -> None:
    address = reverse("admin:insights_insighttype_change", args=[basics.pk])
    assert "All texts are translated." in desk.get(address).content.decode()

    basics.purpose = "What nobody has translated."
    basics.save()

    page = desk.get(address).content.decode()
    assert "1 in Hindi in Devanagari script, 1 in Latin American Spanish" in page


def test_two_versions_are_compared_with_each_other_and_with_the_file(desk: Client, basics: InsightType) -> None:
    save(desk, basics, "Second?")
    save(desk, basics, "Third?")
    first, second, third = basics.versions.order_by("version")
    compared = desk.get(reverse(COMPARE, args=[third.pk]))
    assert (len(changed_lines(compared, "removed")), "Second?" in changed_lines(compared, "removed")[0]) == (1, True)
    compared = desk.get(reverse(COMPARE, args=[third.pk]), {"earlier": first.pk})
    assert "Second?" not in compared.content.decode()
    assert "Third?" in changed_lines(compared, "added")[0]
    against_file = desk.get(reverse(COMPARE, args=[second.pk]), {"earlier": "file"})
    assert "Second?" in changed_lines(against_file, "added")[0]
    same = desk.get(reverse(COMPARE, args=[first.pk]), {"earlier": "file"})
    assert "The two texts are the same" in same.content.decode()


def test_a_version_is_compared_only_with_versions_of_its_type(desk: Client, basics: InsightType) -> None:
    version = basics.versions.get()
    other = InsightTypeVersion.objects.exclude(insight_type=basics)[0]
    for chosen in (other.pk, version.pk, "nonsense"):
        page = desk.get(reverse(COMPARE, args=[version.pk]), {"earlier": chosen})
        assert page.status_code == 200
        assert "heading" not in page.context
    # Refused before the view, as in every address of the admin.
    assert desk.get(reverse(COMPARE, args=[version.pk]), {"earlier": "\0"}).status_code == 400
    assert desk.get(reverse(COMPARE, args=[10**9])).status_code == 404


def test_a_type_that_no_file_has_is_compared_with_nothing(desk: Client) -> None:
    everything.one_of_each(1)
    version = InsightTypeVersion.objects.get(insight_type="type-1")
    page = desk.get(reverse(COMPARE, args=[version.pk]))
    assert "do not have this type" in page.content.decode()


def restore(client: Client, version: InsightTypeVersion, **values: str) -> Any:
    chosen = {"action": "restore", "_selected_action": [str(version.pk)], **values}
    return client.post(everything.list_address(InsightTypeVersion), chosen, follow=True)


def test_an_earlier_version_is_restored_as_a_new_version(desk: Client, staff: User, basics: InsightType) -> None:
    original = basics.definition
    save(desk, basics, "Second?")
    first = basics.versions.get(version=1)
    restore(desk, first, reason="the change made it worse")
    basics.refresh_from_db()
    newest = basics.versions.get(version=3)
    assert (basics.version, basics.definition, newest.definition) == (3, original, original)
    assert newest.saved_by == f"user {staff.pk}"
    assert newest.reason == "Version 1 restored: the change made it worse"
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.done) == ("restore definition", str(first.pk), True)


def test_the_current_definition_is_not_restored(desk: Client, basics: InsightType) -> None:
    answer = restore(desk, basics.versions.get(), reason="test")
    assert "has the current definition" in answer.content.decode()
    assert basics.versions.count() == 1


def test_a_version_that_is_not_valid_any_more_is_not_restored(desk: Client, basics: InsightType) -> None:
    old = InsightTypeVersion.objects.create(insight_type=basics, version=7, definition={"section": []})
    answer = restore(desk, old, reason="test")
    assert "is not valid any more" in answer.content.decode()
    basics.refresh_from_db()
    assert (basics.version, bool(basics.definition["section"])) == (1, True)


def test_an_insight_keeps_the_version_that_it_was_written_with(desk: Client) -> None:
    insight = rows.abandoned_insight()
    written_with = insight.type_version
    save(desk, insight.insight_type, "Second?")
    kept = Insight.objects.get(pk=insight.pk).type_version
    assert (kept.pk, kept.definition) == (written_with.pk, written_with.definition)
    link = reverse("admin:insights_insighttypeversion_change", args=[kept.pk])
    assert link in desk.get(next(everything.row_addresses(insight))).content.decode()


def test_restoring_takes_the_permission_to_change_types(basics: InsightType) -> None:
    save_type(basics, saved_by="user 1", reason="test")
    clerk = User.objects.create_user("clerk@example.org", is_staff=True)
    clerk.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_insighttypeversion", "change_insighttypeversion"])
    )
    client = Client()
    client.force_login(clerk)
    version = basics.versions.get()
    restore(client, version, reason="test")
    assert client.get(reverse("admin:insights_insighttypeversion_restore_this", args=[version.pk])).status_code == 403
    assert not AuditEntry.objects.exists()


def test_a_viewer_of_types_sees_the_definition_and_no_form(basics: InsightType) -> None:
    viewer = User.objects.create_user("viewer@example.org", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_insighttype"))
    client = Client()
    client.force_login(viewer)
    page = client.get(page_of(basics))
    assert page.status_code == 200
    assert html.escape(basics.definition["section"][0]["question"]) in page.content.decode()
    assert "<textarea" not in page.content.decode()
    assert client.post(page_of(basics), form_values(basics, price=1)).status_code == 403


def test_loading_the_files_overwrites_edits_only_on_demand_and_keeps_them_as_a_version(
    desk: Client, basics: InsightType
) -> None:
    save(desk, basics, "Second?")
    assert catalogue.load().kept == [basics.pk]
    assert catalogue.load(overwrite=[basics.pk]).overwritten == [basics.pk]
    basics.refresh_from_db()
    assert not catalogue.is_edited(basics)
    versions = basics.versions.order_by("version")
    assert [version.saved_by.split()[0] for version in versions] == ["catalogue", "user", "catalogue"]
    assert versions[1].definition["section"][0]["question"] == "Second?"


def test_a_comparison_keeps_the_spaces_between_changed_words(desk: Client, basics: InsightType) -> None:
    save(desk, basics, "one two three four five six seven eight")
    save(desk, basics, "one 2 3 four five six seven eight")
    compared = desk.get(reverse(COMPARE, args=[basics.versions.get(version=3).pk]))
    (removed,), (added,) = (changed_lines(compared, kind) for kind in ("removed", "added"))
    assert "one two three four" in removed
    assert "one 2 3 four" in added

"""Staff see the prompts of every release, what changed between two of them, and what a model is sent."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management.sql import emit_post_migrate_signal
from django.test import Client
from django.urls import reverse

from insights import preview, prompt_files, prompt_history, text_diffs
from insights.engines import answers
from insights.engines.base import EngineRefused
from insights.engines.client import ModelAnswer, ModelRequest
from insights.engines.model_engine import ModelEngine, get_pseudonyms
from insights.models import InsightAttempt, InsightType, PromptSet, PromptVersion
from relivchats.accounts.models import User
from relivchats.language_models import quota
from tests.admin import everything
from tests.ops import rows

PREVIEW = "admin:insights_promptversion_preview"
COMPARE = "admin:insights_promptversion_compare"


@pytest.fixture
def prompts_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the prompt files that a test can change."""
    directory = tmp_path / "prompts"
    shutil.copytree(prompt_files.DIRECTORY, directory)
    monkeypatch.setattr(prompt_files, "DIRECTORY", directory)
    yield directory
    monkeypatch.undo()
    _forget_files()


def _forget_files() -> None:
    prompt_files.load.cache_clear()
    prompt_files.compute_version.cache_clear()


def change_prompt(directory: Path, name: str, old: str, new: str) -> None:
    """Change a prompt file and migrate, as a deployment of a new release does."""
    path = directory / f"{name}.md"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    _forget_files()
    emit_post_migrate_signal(verbosity=0, interactive=False, db="default")


def get_current(name: str) -> PromptVersion:
    return PromptVersion.objects.get(name=name, digest=prompt_history.compute_digest(prompt_files.load(name)))


def parts_of(page: Any) -> dict[str, str]:
    """Return the texts that a preview shows, by their part."""
    found = re.findall(r'<pre class="wide-text" data-part="(\w+)">(.*?)</pre>', page.content.decode(), re.DOTALL)
    return {part: html.unescape(text) for part, text in found}


@pytest.mark.django_db
def test_migrate_records_the_prompts_of_the_release_once() -> None:
    prompt_history.record()
    prompt_history.record()
    recorded = PromptSet.objects.get(version=prompt_files.compute_version())
    texts = dict(recorded.prompts.values_list("name", "text"))
    assert texts == {name: prompt_files.load(name) for name in prompt_files.NAMES}
    assert PromptVersion.objects.count() == len(prompt_files.NAMES)


@pytest.mark.django_db
def test_a_changed_file_becomes_a_new_version_and_the_old_one_stays(prompts_directory: Path) -> None:
    before = list(PromptVersion.objects.order_by("pk").values())
    earlier_set = prompt_files.compute_version()
    change_prompt(prompts_directory, "verify", "Be strict", "Be very strict")
    assert list(PromptVersion.objects.order_by("pk").values())[: len(before)] == before
    added = PromptVersion.objects.order_by("pk")[len(before) :]
    assert [(row.name, "Be very strict" in row.text) for row in added] == [("verify", True)]
    old, new = PromptSet.objects.get(pk=earlier_set), PromptSet.objects.get(pk=prompt_files.compute_version())
    assert old.pk != new.pk
    assert set(old.prompts.values_list("pk")) ^ set(new.prompts.values_list("pk")) == {
        (added[0].pk,),
        (next(row["id"] for row in before if row["name"] == "verify"),),
    }


@pytest.mark.django_db
def test_a_changed_list_of_kinds_is_a_changed_prompt() -> None:
    """The reading prompt contains the kinds, so its recorded text does too."""
    text = get_current("read").text
    assert "$" not in text
    assert "- conflict: " in text


@pytest.mark.django_db
def test_the_page_of_an_insight_leads_to_the_texts_that_it_was_written_with(
    desk: Client, prompts_directory: Path
) -> None:
    insight = rows.abandoned_insight()
    written_with = prompt_files.compute_version()
    attempt = InsightAttempt.objects.create(
        insight=insight, number=1, engine="x", model="x", milliseconds=5, outcome="retry", prompt_version=written_with
    )
    text = get_current("write").text
    change_prompt(prompts_directory, "write", "plain and kind", "Short.")
    address = reverse("admin:insights_promptset_change", args=[written_with])
    for row in (insight, attempt):
        page = desk.get(next(everything.row_addresses(row))).content.decode()
        assert f'href="{address}"' in page
    links = re.findall(r'href="(/admin/insights/promptversion/\d+/change/)"', desk.get(address).content.decode())
    assert len(links) == len(prompt_files.NAMES)
    assert any(html.escape(text) in desk.get(link).content.decode() for link in links)


@pytest.mark.django_db
def test_an_attempt_with_an_unknown_version_of_the_prompts_has_no_link(desk: Client) -> None:
    attempt = InsightAttempt.objects.create(
        insight=rows.abandoned_insight(), number=1, engine="x", model="x", milliseconds=5, outcome="retry",
        prompt_version="of-another-age",
    )  # fmt: skip
    page = desk.get(next(everything.row_addresses(attempt))).content.decode()
    assert "of-another-age" in page
    assert "/admin/insights/promptset/of-another-age" not in page


@pytest.mark.django_db
def test_only_the_texts_of_this_release_are_current(desk: Client, prompts_directory: Path) -> None:
    old = get_current("verify")
    change_prompt(prompts_directory, "verify", "Be strict", "Be very strict")
    assert not prompt_history.is_current(old)
    assert prompt_history.is_current(get_current("verify"))
    page = desk.get(everything.list_address(PromptVersion))
    assert page.context["cl"].result_count == len(prompt_files.NAMES) + 1


@pytest.mark.django_db
def test_a_comparison_shows_the_removed_and_the_added_words(desk: Client, prompts_directory: Path) -> None:
    change_prompt(prompts_directory, "verify", "Be strict", "Be <very> strict")
    newest = get_current("verify")
    page = desk.get(reverse(COMPARE, args=[newest.pk])).content.decode()
    removed, added = (re.findall(rf'<div class="{kind}">(.*?)</div>', page) for kind in ("removed", "added"))
    assert len(removed) == len(added) == 1
    assert "Be strict" in removed[0]
    assert "<ins>" in added[0]
    assert re.sub("</?ins>", "", added[0]).count("Be &lt;very&gt; strict") == 1
    assert "<very>" not in page


@pytest.mark.django_db
def test_a_version_can_be_compared_with_any_other_of_its_prompt_only(desk: Client, prompts_directory: Path) -> None:
    first = get_current("verify")
    change_prompt(prompts_directory, "verify", "Be strict", "Be very strict")
    second = get_current("verify")
    change_prompt(prompts_directory, "verify", "Be very strict", "Be kind")
    third = get_current("verify")
    compared = desk.get(reverse(COMPARE, args=[third.pk]))
    assert compared.context["earlier"] == second
    compared = desk.get(reverse(COMPARE, args=[third.pk]), {"earlier": first.pk})
    assert compared.context["earlier"] == first
    for other in (get_current("write").pk, "words", third.pk):
        refused = desk.get(reverse(COMPARE, args=[third.pk]), {"earlier": other})
        assert refused.status_code == 200
        assert "earlier" not in refused.context


@pytest.mark.django_db
def test_a_prompt_with_one_version_has_nothing_to_compare(desk: Client) -> None:
    page = desk.get(reverse(COMPARE, args=[get_current("read").pk]))
    assert "There is no other version" in page.content.decode()
    assert desk.get(reverse(COMPARE, args=[10**9])).status_code == 404


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ("a\nb\nc", "a\nb\nc", []),
        ("a\nb", "a", ["same", "removed"]),
        ("a", "a\nb", ["same", "added"]),
        ("a\nb", "a\nxyz", ["same", "removed", "added"]),
        ("a\nb\nc\nd\ne\nold", "a\nb\nc\nd\ne\nnew", ["skipped", *["same"] * 3, "removed", "added"]),
        ("old\na\nb\nc\nd\ne", "new\na\nb\nc\nd\ne", ["removed", "added", *["same"] * 3, "skipped"]),
    ],
)
def test_two_texts_are_compared_line_by_line(old: str, new: str, kinds: list[str]) -> None:
    assert [line.kind for line in text_diffs.compare_texts(old, new)] == kinds


def test_changed_words_are_marked_in_a_line_of_few_words_only() -> None:
    line = " ".join(f"word{number % 7}" for number in range(text_diffs.MAX_WORDS))
    removed, added = text_diffs.compare_texts(line, line.replace("word3", "other", 1))
    assert [part for part, differs in removed.parts if differs] == ["word3 "]
    assert [part for part, differs in added.parts if differs] == ["other "]
    assert "".join(part for part, _ in removed.parts) == line
    longer = f"{line} more"
    # The time to compare words grows faster than their number squared.
    removed, added = text_diffs.compare_texts(longer, f"{longer} words")
    assert removed.parts == ((longer, False),)
    assert added.parts == ((f"{longer} words", False),)


class RecordingClient:
    """Answers as a model that writes the claims of the sample chat, and keeps the requests."""

    name = "recording"
    address = ""

    def __init__(self, claims: dict[str, list[dict[str, Any]]]) -> None:
        self.claims = claims
        self.requests: list[ModelRequest] = []

    def missing_settings(self) -> tuple[str, ...]:
        return ()

    def generate(self, request: ModelRequest) -> ModelAnswer:
        self.requests.append(request)
        sections = {key: {"can_judge": True, "claims": written} for key, written in self.claims.items()}
        empty: dict[str, Any] = {"relationship": "couple", "languages": [], "episodes": [], "dangers": []}
        writing = {"can_judge": True, "sections": sections}
        schemas: dict[str, dict[str, Any]] = {json.dumps(answers.verification_schema()): {"verdicts": []}}
        schemas[json.dumps(answers.reading_schema(2))] = empty
        answer = schemas.get(json.dumps(request.schema), writing)
        return ModelAnswer(json.dumps(answer), tokens_in=1, tokens_out=1, model="recording-1")


def send_all(insight_type: InsightType) -> dict[str, ModelRequest]:
    """Return what the engine sends about the sample chat, by prompt."""
    brief = preview.build_brief(insight_type)
    pseudonyms = get_pseudonyms(preview.PEOPLE, {})
    written: dict[str, list[dict[str, Any]]] = {
        section.key: [] for section in brief.definition.sections if section.evidence.max
    }
    for claim in preview.list_claims(brief):
        if claim.episode is None:
            written[claim.section].append(
                {
                    "sentence": pseudonyms.mask(claim.sentence),
                    "context": pseudonyms.mask(claim.context),
                    "numbers": list(claim.numbers),
                    "person": "all" if claim.person is None else pseudonyms.label(claim.person),
                }
            )
    client = RecordingClient(written)
    engine = ModelEngine(
        client,
        name="recording",
        model="",
        reading_model="",
        window_tokens=8_000,
        parallel_windows=1,
        write_tokens=24_000,
    )
    engine.read(preview.build_window(), people=preview.PEOPLE)
    # Nothing is confirmed, so nothing would be delivered; the requests were made.
    with suppress(EngineRefused):
        engine.write(brief)
    return dict(zip(("read", "write", "verify"), client.requests, strict=True))


@pytest.mark.django_db
def test_a_preview_is_what_the_engine_sends(desk: Client, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.VERIFY_CLAIMS = True
    monkeypatch.setattr(quota, "call", lambda request, *, send, **_: send(request))
    types = list(InsightType.objects.all())
    assert types
    for insight_type in types:
        for name, sent in send_all(insight_type).items():
            shown = parts_of(desk.get(reverse(PREVIEW), {"prompt": name, "type": insight_type.pk}))
            assert shown["instructions"] == sent.instructions, (name, insight_type)
            assert shown["content"] == sent.content, (name, insight_type)
            assert json.loads(shown["schema"]) == sent.schema, (name, insight_type)


@pytest.mark.django_db
def test_a_preview_contains_no_name_and_no_address(desk: Client) -> None:
    chat = preview.load_chat()
    text = " ".join(message.text for message in chat.messages)
    private = [*" ".join(preview.PEOPLE).lower().split(), "kabir.singh@example.org", "98200"]
    assert any(word in text.lower() for word in private)
    for insight_type in InsightType.objects.all():
        for name in prompt_files.NAMES:
            shown = parts_of(desk.get(reverse(PREVIEW), {"prompt": name, "type": insight_type.pk}))
            assert set(shown) == {"instructions", "content", "schema"}
            assert [word for word in private if word in " ".join(shown.values()).lower()] == [], (name, insight_type)


def test_the_sample_chat_shows_every_kind_of_line() -> None:
    window = preview.build_window()
    assert len(window.messages) == len(preview.load_chat().messages)
    assert window.forwarded
    assert window.candidates


@pytest.mark.django_db
def test_every_sample_claim_is_verified_for_some_type() -> None:
    """A claim that the server would remove before the verification previews nothing."""
    verified = {
        claim.sentence
        for insight_type in InsightType.objects.all()
        for claim in preview.list_claims(preview.build_brief(insight_type))
        if claim.episode is None
    }
    assert verified == {claim.sentence for claim in preview.load_chat().claims}


@pytest.mark.django_db
@pytest.mark.parametrize("query", [{"prompt": "nonsense"}, {"type": "nonsense"}, {"type": "%00"}])
def test_a_preview_of_nothing_shows_the_form_again(desk: Client, query: dict[str, str]) -> None:
    page = desk.get(reverse(PREVIEW), query)
    assert page.status_code == 200
    assert parts_of(page) == {}


@pytest.mark.django_db
def test_a_preview_says_that_a_definition_is_not_valid(desk: Client) -> None:
    InsightType.objects.update(definition={})
    page = desk.get(reverse(PREVIEW), {"prompt": "write"})
    assert "The definition of this type is not valid" in page.content.decode()
    assert parts_of(page) == {}


@pytest.mark.django_db
def test_prompts_take_the_view_permission_and_cannot_be_edited(desk: Client) -> None:
    version = get_current("read")
    addresses = [
        everything.list_address(PromptVersion),
        *everything.row_addresses(version),
        reverse(PREVIEW),
        reverse(COMPARE, args=[version.pk]),
    ]
    viewer = User.objects.create_user("viewer@example.org", is_staff=True)
    client = Client()
    client.force_login(viewer)
    assert [client.get(address).status_code for address in addresses] == [403] * len(addresses)
    viewer.user_permissions.add(Permission.objects.get(codename="view_promptversion"))
    assert [client.get(address).status_code for address in addresses] == [200] * len(addresses)
    assert desk.get(reverse("admin:insights_promptversion_add")).status_code == 403
    assert desk.post(next(everything.row_addresses(version)), {"text": "Judge them."}).status_code == 403
    assert PromptVersion.objects.get(pk=version.pk).text == version.text
    anonymous = Client()
    assert {anonymous.get(address).status_code for address in addresses} == {302}

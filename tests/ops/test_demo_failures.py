"""The demo explains every failure of the server, which a fake HTTP server plays here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.demo import walkthrough as walkthrough_module
from ops.demo.client import Client, Problem, Unreachable
from ops.demo.walkthrough import Incomplete, Walkthrough
from relivchats.terminal import Layout
from tests.fakes.api import Answer, FakeAPI, serving

NOW = datetime.now(UTC)
CHAT: dict[str, Any] = {"id": "c1"}
MESSAGE = {"number": 7, "sender": "Asha", "sent_at": "2025-06-03T13:12:00", "text": "khana khaya?"}
SECTION = {
    "title": "Checking in",
    "rating": None,
    "finding": "They ask.",
    "people": [],
    "facts": [],
    "evidence": [{"context": "", "messages": [MESSAGE]}],
}
DOCUMENT = {
    "overall": {"score": 8, "rating": "good", "summary": "Warm."},
    "sections": [SECTION],
    "recommendations": [],
    "sufficiency": {"messages_read": 9, "messages_total": 9, "limits": []},
    "provenance": {"engine": "local"},
}
INSIGHT = {
    "id": "i1",
    "title": "Emotional Intimacy",
    "icon": "💕",
    "status": "completed",
    "price": 100,
    "voided": False,
    "error_code": "",
    "finished_at": NOW.isoformat(),
    "document": DOCUMENT,
}
JOB = {
    "job_id": "j1",
    "status": "completed",
    "created_at": NOW.isoformat(),
    # Tests are collected long before the last of them runs.
    "deadline_at": (NOW + timedelta(days=1)).isoformat(),
    "insights": [INSIGHT],
}


@pytest.fixture(autouse=True)
def _poll_without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walkthrough_module, "MIN_POLL_SECONDS", 0)


def answers(**changes: Any) -> dict[str, list[Answer]]:
    """The responses of a server without failures, apart from the changes."""
    unlocked = {"job_id": "j1", "total_insights": 1, "coins_reserved": 100}
    return {
        "POST /api/insights/unlock": changes.get("unlock") or [Answer(unlocked, 202)],
        "GET /api/insights/jobs/j1/status": changes.get("job") or [Answer(JOB)],
        "GET /api/insights/chats/c1": changes.get("insights") or [Answer({"insights": [INSIGHT]})],
        "GET /api/chats/c1/timeline": [Answer({"next": None, "results": []})],
        "GET /api/chats/c1/messages": [Answer({"results": [changes.get("message", MESSAGE)]})],
        "GET /api/credits/balance": [Answer({"spendable": 900})],
    }


def unlock(api: FakeAPI) -> str:
    lines: list[str] = []
    Walkthrough(Client(api.base_url, "rc_token"), Layout(width=96), lines.append).unlock(CHAT)
    return "\n".join(lines)


def test_without_failures_the_quotes_are_compared_and_the_coins_are_counted() -> None:
    with serving(answers()) as api:
        printed = unlock(api)
    assert "#7 Asha: khana khaya?" in printed
    assert "1 insight with 1 quote of 1 message." in printed
    assert "They cost 100 coins; 900 are left to spend." in printed


@pytest.mark.parametrize(
    "change", [{"text": "something else"}, {"sender": "Rohan"}, {"sent_at": "2025-06-03T13:13:00"}, {"number": 8}]
)
def test_a_quote_that_differs_from_the_chat_is_an_error(change: dict[str, Any]) -> None:
    with serving(answers(message={**MESSAGE, **change})) as api, pytest.raises(Incomplete, match="7"):
        unlock(api)


def test_a_failed_insight_is_named_and_the_others_are_printed() -> None:
    failed = {**INSIGHT, "id": "i2", "title": "Love Language", "status": "failed", "error_code": "engine_refused"}
    job = [Answer({**JOB, "status": "partial_failure", "insights": [INSIGHT, failed]})]
    lines: list[str] = []
    with serving(answers(job=job, insights=[Answer({"insights": [INSIGHT, failed]})])) as api:
        walkthrough = Walkthrough(Client(api.base_url, "rc_token"), Layout(width=96), lines.append)
        with pytest.raises(Incomplete, match="Not written: Love Language"):
            walkthrough.unlock(CHAT)
    shown = "\n".join(lines)
    assert "✗" in shown
    assert "engine_refused" in shown
    assert "#7 Asha" in shown
    assert "They cost 100 coins" in shown


def test_if_every_insight_failed_no_report_is_printed() -> None:
    failed = {**INSIGHT, "status": "failed", "error_code": "indexing_failed", "document": None}
    job = [Answer({**JOB, "status": "failed", "insights": [failed]})]
    lines: list[str] = []
    with serving(answers(job=job, insights=[Answer({"insights": [failed]})])) as api:
        walkthrough = Walkthrough(Client(api.base_url, "rc_token"), Layout(width=96), lines.append)
        with pytest.raises(Incomplete, match="Their coins were released"):
            walkthrough.unlock(CHAT)
    assert "cost" not in "\n".join(lines)


def test_each_insight_is_listed_once_when_it_finishes() -> None:
    running = {**JOB, "status": "running", "insights": [{**INSIGHT, "status": "generating", "finished_at": None}]}
    arrived = {**JOB, "status": "running"}
    with serving(answers(job=[Answer(running), Answer(arrived), Answer(JOB)])) as api:
        printed = unlock(api)
    assert printed.count("✓") == 1


def test_waiting_ends_after_the_deadline_of_the_job() -> None:
    late = {**JOB, "status": "running", "deadline_at": (NOW - timedelta(minutes=2)).isoformat()}
    with serving(answers(job=[Answer(late)])) as api, pytest.raises(Incomplete, match="manage health"):
        unlock(api)


def test_a_request_that_is_rate_limited_is_retried() -> None:
    busy = Answer({"title": "Too many requests"}, 429, retry_after=0)
    with serving(answers(job=[busy, Answer(JOB)])) as api:
        assert "khana khaya?" in unlock(api)


def test_a_request_is_retried_a_limited_number_of_times() -> None:
    busy = Answer({"title": "Too many requests", "detail": "Wait."}, 429, retry_after=0)
    with serving(answers(job=[busy])) as api, pytest.raises(Problem, match=r"Too many requests\. Wait\."):
        unlock(api)
    assert api.requests.count("GET /api/insights/jobs/j1/status") == 3


def test_an_answer_that_is_not_json_is_another_server() -> None:
    with serving(answers(job=[Answer(b"<html>Hello</html>")])) as api, pytest.raises(Unreachable):
        unlock(api)

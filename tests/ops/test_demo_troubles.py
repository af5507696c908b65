"""What the demo says when the service behind it is in trouble: said by a stand-in at the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.demo.client import Client, Problem, Unreachable
from ops.demo.story import Story, Unfinished
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
    "error_code": "",
    "finished_at": NOW.isoformat(),
    "document": DOCUMENT,
}
JOB = {
    "job_id": "j1",
    "status": "completed",
    "created_at": NOW.isoformat(),
    "deadline_at": (NOW + timedelta(minutes=10)).isoformat(),
    "insights": [INSIGHT],
}


def answers(**changes: Any) -> dict[str, list[Answer]]:
    """A service where all is well, but for the changes."""
    unlocked = {"job_id": "j1", "total_insights": 1, "coins_reserved": 100}
    return {
        "POST /api/insights/unlock": changes.get("unlock") or [Answer(unlocked, 202)],
        "GET /api/insights/jobs/j1/status": changes.get("job") or [Answer(JOB)],
        "GET /api/insights/chats/c1": changes.get("insights") or [Answer({"insights": [INSIGHT]})],
        "GET /api/chats/c1/messages": [Answer({"results": [changes.get("message", MESSAGE)]})],
        "GET /api/credits/balance": [Answer({"spendable": 900})],
    }


def unlock(api: FakeAPI) -> str:
    told: list[str] = []
    Story(Client(api.base_url, "rc_token"), Layout(width=96), told.append).unlock(CHAT)
    return "\n".join(told)


def test_when_all_is_well_the_story_ends_with_quotes_read_back_and_coins_counted() -> None:
    with serving(answers()) as api:
        told = unlock(api)
    assert "#7 Asha: khana khaya?" in told
    assert "1 insight with 1 quote of 1 message." in told
    assert "They cost 100 coins; 900 are left to spend." in told


@pytest.mark.parametrize(
    "change", [{"text": "something else"}, {"sender": "Rohan"}, {"sent_at": "2025-06-03T13:13:00"}, {"number": 8}]
)
def test_a_quote_that_does_not_stand_in_the_chat_is_noticed(change: dict[str, Any]) -> None:
    with serving(answers(message={**MESSAGE, **change})) as api, pytest.raises(Unfinished, match="7"):
        unlock(api)


def test_an_insight_that_failed_is_named_and_the_others_are_shown() -> None:
    failed = {**INSIGHT, "id": "i2", "title": "Love Language", "status": "failed", "error_code": "engine_refused"}
    job = [Answer({**JOB, "status": "partial_failure", "insights": [INSIGHT, failed]})]
    told: list[str] = []
    with serving(answers(job=job, insights=[Answer({"insights": [INSIGHT, failed]})])) as api:
        story = Story(Client(api.base_url, "rc_token"), Layout(width=96), told.append)
        with pytest.raises(Unfinished, match="Not written: Love Language"):
            story.unlock(CHAT)
    shown = "\n".join(told)
    assert "✗" in shown
    assert "engine_refused" in shown
    assert "#7 Asha" in shown
    assert "They cost 100 coins" in shown


def test_when_every_insight_failed_there_is_nothing_to_report_on() -> None:
    failed = {**INSIGHT, "status": "failed", "error_code": "indexing_failed", "document": None}
    job = [Answer({**JOB, "status": "failed", "insights": [failed]})]
    told: list[str] = []
    with serving(answers(job=job, insights=[Answer({"insights": [failed]})])) as api:
        story = Story(Client(api.base_url, "rc_token"), Layout(width=96), told.append)
        with pytest.raises(Unfinished, match="Their coins came back"):
            story.unlock(CHAT)
    assert "cost" not in "\n".join(told)


def test_each_insight_is_told_once_when_it_arrives() -> None:
    running = {**JOB, "status": "running", "insights": [{**INSIGHT, "status": "generating", "finished_at": None}]}
    arrived = {**JOB, "status": "running"}
    with serving(answers(job=[Answer(running), Answer(arrived), Answer(JOB)])) as api:
        told = unlock(api)
    assert told.count("✓") == 1


def test_a_job_long_past_its_deadline_is_not_waited_for() -> None:
    late = {**JOB, "status": "running", "deadline_at": (NOW - timedelta(minutes=2)).isoformat()}
    with serving(answers(job=[Answer(late)])) as api, pytest.raises(Unfinished, match="manage health"):
        unlock(api)


def test_a_busy_service_is_asked_again() -> None:
    busy = Answer({"title": "Too many requests"}, 429, retry_after=0)
    with serving(answers(job=[busy, Answer(JOB)])) as api:
        assert "khana khaya?" in unlock(api)


def test_a_service_that_stays_busy_is_not_asked_for_ever() -> None:
    busy = Answer({"title": "Too many requests", "detail": "Wait."}, 429, retry_after=0)
    with serving(answers(job=[busy])) as api, pytest.raises(Problem, match=r"Too many requests\. Wait\."):
        unlock(api)
    assert api.asked.count("GET /api/insights/jobs/j1/status") == 3


def test_something_else_at_the_address_is_told_from_relivchats() -> None:
    with serving(answers(job=[Answer(b"<html>Hello</html>")])) as api, pytest.raises(Unreachable):
        unlock(api)

"""The independent model of the soak test: what it expects, and that it notices contradictions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.accounts import Bought, Person, Prices

PRICES = Prices.shown(
    [
        {
            "id": "romantic",
            "price": 120,
            "insight_types": [{"id": "a", "price": 50}, {"id": "b", "price": 100}],
        }
    ]
)


def reported(job: str, *, coins: int, **prices: int) -> dict[str, Any]:
    insights = [{"id": f"{job}-{name}", "insight_type_id": name, "price": price} for name, price in prices.items()]
    return {"job_id": job, "coins_reserved": coins, "insights": insights}


@pytest.fixture
def person() -> Person:
    person = Person(1, "user", 1, "token", orders=[Bought("order", 400, paid=True)])
    person.record_unlock(reported("one", coins=120, a=40, b=80), chat_id="chat", prices=PRICES)
    return person


def state(insight_id: str, status: str, *, price: int, voided: bool = False) -> dict[str, Any]:
    return {"id": insight_id, "status": status, "price": price, "voided": voided}


def test_only_delivered_insights_are_charged(person: Person) -> None:
    assert person.balance_range() == (330, 450)
    person.record_state(state("one-a", "completed", price=40))
    person.record_state(state("one-b", "failed", price=80))
    assert person.balance_range() == (410, 410)
    assert person.contradictions == []


def test_a_voided_insight_and_an_open_question_are_not_charged(person: Person) -> None:
    person.record_state(state("one-a", "completed", price=40, voided=True))
    person.record_state(state("one-b", "completed", price=80))
    question = {"id": "q", "chat_id": "chat", "price": 5, "status": "answering", "answer": None}
    person.record_question(question)
    assert person.balance_range() == (365, 370)
    person.record_question({**question, "status": "answered", "answer": {"outcome": "answered"}})
    assert person.balance_range() == (365, 365)


def test_a_retry_costs_at_most_what_failed(person: Person) -> None:
    person.record_state(state("one-b", "failed", price=80))
    person.record_unlock(reported("two", coins=80, b=80), chat_id="chat", prices=PRICES)
    assert person.contradictions == []


def test_an_answer_that_arrives_twice_counts_once(person: Person) -> None:
    assert person.record_unlock(reported("one", coins=120, a=40, b=80), chat_id="chat", prices=PRICES) == 0
    assert person.balance_range() == (330, 450)


@pytest.mark.parametrize(("coins", "prices"), [(121, {"a": 41, "b": 80}), (120, {"a": 40, "b": 70})])
def test_another_price_is_a_contradiction(coins: int, prices: dict[str, int]) -> None:
    person = Person(1, "user", 1, "token")
    person.record_unlock(reported("one", coins=coins, **prices), chat_id="chat", prices=PRICES)
    assert len(person.contradictions) == 1


def test_an_insight_that_changes_after_its_end_is_a_contradiction(person: Person) -> None:
    person.record_state(state("one-a", "completed", price=40))
    person.record_state(state("one-a", "failed", price=40))
    assert len(person.contradictions) == 1

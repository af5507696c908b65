"""What must be true when the faults are over. Each check returns violations, as sentences."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import connection

from billing.audit import audit
from chats import data_keys, keys, points
from tests import canary
from tests.fakes.qdrant import FakeQdrant
from tests.soak.accounts import Person
from tests.soak.client import Unanswered
from tests.soak.customers import Customer
from tests.soak.staff import repeat
from tests.soak.texts import Canaries

#: What an open job can take at most: its deadline, recovery, and a wait for the model's breaker.
SETTLING_SECONDS = 420.0

#: Queries that return rows only while something is not finished.
_OPEN = {
    "jobs are open": "SELECT job_id, status FROM insight_generation_jobs WHERE status IN ('queued', 'running')",
    "insights are open": "SELECT id, status FROM insights WHERE status IN ('pending', 'generating')",
    "questions are open": "SELECT id, status FROM chat_questions WHERE status IN ('pending', 'answering')",
    "chats are being indexed": "SELECT id, vector_status FROM chats WHERE vector_status = 'indexing'"
    " OR (vector_status = 'pending' AND index_requested_at IS NOT NULL)",
    "chats are being read": "SELECT id, status FROM chat_readings WHERE status = 'reading'",
    "coins are reserved": "SELECT id, coins FROM coin_reservations WHERE status = 'active'",
    "orders are paid but not credited": "SELECT id, status FROM webhook_events WHERE status = 'received'",
    "refunds are pending": "SELECT id, status FROM payment_refunds WHERE status = 'pending'",
}
#: Queries whose rows are violations.
_NEVER = {
    "a type was unlocked twice for a chat": "SELECT chat_id, insight_type_id, count(*) FROM insights"
    " WHERE status <> 'failed' AND chat_id IS NOT NULL GROUP BY chat_id, insight_type_id HAVING count(*) > 1",
    "a reading failed without a reason": "SELECT id FROM chat_readings WHERE status = 'failed' AND error_code = ''",
    "a reading is incomplete although it is complete": "SELECT r.id FROM chat_readings r"
    " JOIN chat_reading_windows w ON w.reading_id = r.id WHERE r.status = 'completed' AND w.status = 'pending'",
    "an insight failed without a reason": "SELECT id FROM insights WHERE status = 'failed' AND error_code = ''",
    "an insight without a chat has a document": "SELECT id FROM insights"
    " WHERE chat_id IS NULL AND sealed_document IS NOT NULL",
    "a delivered insight has no document": "SELECT id FROM insights"
    " WHERE status = 'completed' AND chat_id IS NOT NULL AND sealed_document IS NULL",
    "an insight has two completed attempts": "SELECT insight_id, count(*) FROM insight_attempts"
    " WHERE outcome = 'completed' GROUP BY insight_id HAVING count(*) > 1",
    "an event was not applied": "SELECT id, status FROM webhook_events WHERE status = 'needs_review'",
}
#: Tables that must not mention an erased chat.
_OF_CHAT = ("transcript_blocks", "chunks", "vector_matrices", "chat_readings", "chat_questions", "insights")


def wait_until_settled() -> list[str]:
    """Wait until nothing is open any more. Return what still is after SETTLING_SECONDS."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        still = [f"{name}: {rows[:3]}" for name, sql in _OPEN.items() if (rows := _rows(sql))]
        if not still or time.monotonic() > deadline:
            return still
        time.sleep(1)


def find_violations(
    customers: Sequence[Customer], qdrant: FakeQdrant, canaries: Canaries, *, logs: Iterable[str]
) -> Iterator[str]:
    """Yield everything that is wrong."""
    for finding in repeat(audit):
        invariant = finding.invariant
        yield f"invariant {invariant.number}: {invariant.name}: {finding.total} rows, {finding.rows[:2]}"
    for name, sql in _NEVER.items():
        if rows := _rows(sql):
            yield f"{name}: {rows[:3]}"
    for customer in customers:
        yield from _check_person(customer)
    people = [customer.person for customer in customers]
    yield from _check_insights(people)
    yield from _check_erased(people)
    yield from _check_qdrant(qdrant)
    yield from _check_keys(people)
    try:
        canary.assert_nowhere(*canaries.all(), logs=logs)
    except AssertionError as error:
        yield f"private text: {error}"


def _check_person(customer: Customer) -> Iterator[str]:
    """Yield how the coins and insights of a person differ from the answers they got."""
    person = customer.person
    who = f"person {person.number}"
    yield from (f"{who}: {contradiction}" for contradiction in person.contradictions)
    if person.erased:
        # The account is gone and with it the API, but the ledger keeps its rows.
        statuses = {
            str(pk): (status, voided) for pk, status, voided in _rows("SELECT id, status, voided FROM insights")
        }
        for insight in person.insights.values():
            insight.status, insight.voided = statuses.get(insight.id, ("lost", False))
        ((balance, reserved, owed, user_id),) = _rows(
            f"SELECT balance, reserved, owed, user_id FROM wallets WHERE id = {person.wallet_id}"
        )
        if user_id is not None:
            yield f"{who} was erased, and the wallet still names the user"
    else:
        try:
            if not customer.settle():
                yield f"{who} still waits for {len(person.open_jobs())} jobs"
            wallet = customer.read_balance()
        except Unanswered as error:
            yield f"{who}: {error}"
            return
        balance, reserved, owed = wallet["balance"], wallet["reserved"], wallet["owed"]
    low, high = person.balance_range()
    if not low <= balance - owed <= high or reserved or (balance and owed):
        yield f"{who} owns {balance} coins, {reserved} of them reserved, and owes {owed}; it should be {low} to {high}"


def _check_insights(people: Sequence[Person]) -> Iterator[str]:
    """Yield insights that were promised and do not exist, and those that nobody was promised."""
    promised = {insight.id for person in people for insight in person.insights.values()}
    stored = {str(pk) for (pk,) in _rows("SELECT id FROM insights")}
    if lost := promised - stored:
        yield f"{len(lost)} insights are lost: {sorted(lost)[:3]}"
    if surplus := stored - promised:
        yield f"{len(surplus)} insights were promised to nobody: {sorted(surplus)[:3]}"
    questions = Counter(
        str(chat_id) for (chat_id,) in _rows("SELECT chat_id FROM chat_questions WHERE status = 'answered'")
    )
    asked = Counter(each.chat_id for person in people for each in person.questions.values())
    # One that failed is answered with a 503 that names no question.
    if surplus_questions := {chat_id for chat_id, count in questions.items() if count > asked[chat_id]}:
        yield f"questions that nobody asked in {len(surplus_questions)} chats: {sorted(surplus_questions)[:3]}"


def _check_erased(people: Sequence[Person]) -> Iterator[str]:
    """Yield what is left of chats that were deleted, and chats that nobody knows."""
    erased = {chat.id for person in people for chat in person.chats if chat.deleted}
    owned = {chat.id for person in people for chat in person.chats if not chat.deleted}
    stored = {str(pk) for (pk,) in _rows("SELECT id FROM chats")}
    if stored != owned:
        yield f"{len(owned - stored)} chats are lost, and {len(stored - owned)} chats belong to nobody"
    for table in _OF_CHAT:
        left = {str(pk) for (pk,) in _rows(f"SELECT DISTINCT chat_id FROM {table}")} & erased
        if left:
            yield f"{len(left)} erased chats are still in {table}: {sorted(left)[:3]}"


def _check_keys(people: Sequence[Person]) -> Iterator[str]:
    """Yield chats without their file in the key store, and files of chats that were deleted or never stored."""
    repeat(data_keys.destroy_due)
    survey, store = repeat(keys.survey), repeat(data_keys.open_store)
    if survey.without_file:
        yield f"{len(survey.without_file)} chats lack their file in the key store: {survey.without_file[:3]}"
    if survey.outside:
        yield f"the keys of {survey.outside} chats are not in the key store"
    if survey.unused_files:
        yield f"{len(survey.unused_files)} files in the key store belong to no chat: {survey.unused_files[:3]}"
    # The survey counts a file whose destruction is not due yet as used.
    deleted = [UUID(chat.id) for person in people for chat in person.chats if chat.deleted]
    if left := [chat_id for chat_id in deleted if store and store.key_name(chat_id) is not None]:
        yield f"the keys of {len(left)} deleted chats are not destroyed: {left[:3]}"


def _check_qdrant(qdrant: FakeQdrant) -> Iterator[str]:
    """Yield how Qdrant differs from Postgres after a clean-up, as beat makes it every few minutes."""
    points.synchronize()
    comparison = points.compare()
    if comparison.orphan_count or comparison.unused_collections:
        yield f"Qdrant has vectors of erased chats after a clean-up: {asdict(comparison)}"
    chats = {str(pk) for (pk,) in _rows("SELECT id FROM chats")}
    for collection in list(qdrant.configs):
        for payload in qdrant.payloads(collection):
            if payload.keys() != {"chat_id", "chunk"} or payload["chat_id"] not in chats:
                yield f"a point of {collection} has the payload {sorted(payload)} of chat {payload.get('chat_id')}"
                return


def count_rows() -> dict[str, dict[str, int]]:
    """Return how many jobs, insights, readings and so on there are, by status."""
    tables = {
        "jobs": ("insight_generation_jobs", "status"),
        "insights": ("insights", "status || CASE WHEN voided THEN ' (voided)' ELSE '' END"),
        "attempts": ("insight_attempts", "outcome"),
        "readings": ("chat_readings", "status"),
        "questions": ("chat_questions", "status"),
        "chats by index": ("chats", "vector_status"),
        "orders": ("payment_orders", "status"),
        "errors of insights": ("insights", "error_code"),
        "errors of questions": ("chat_questions", "error_code"),
    }
    return {
        name: {str(value): count for value, count in _rows(f"SELECT {column}, count(*) FROM {table} GROUP BY 1")}
        for name, (table, column) in tables.items()
    }


def _rows(sql: str) -> list[tuple[Any, ...]]:
    def read() -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    return repeat(read)

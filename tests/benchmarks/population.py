"""Rows for benchmarks of a large installation: people, wallets, jobs and insights of 90 days, most of them recent.

Each statement fills one table. `{n}` people have a wallet each, with ten transactions. Every second person owns a chat
with a job of four insights and a question; person 1 owns one chat in 250 as well. The share of the time that has passed
at a row is a number from 0 to 1, from which `pg_temp.at` computes the time: the last two days have 15 % of the rows.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db import connection

from relivchats import database_roles

_FUNCTIONS = """
CREATE FUNCTION pg_temp.at(share float8) RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT current_setting('benchmark.end')::timestamptz - interval '90 days' * (1 - share) ^ 2 $$;
CREATE FUNCTION pg_temp.id(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT md5(kind || n)::uuid $$;
CREATE FUNCTION pg_temp.owner(chat bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    $$ SELECT CASE WHEN chat % 250 = 0 THEN 1 ELSE 2 * chat - 1 END $$;
"""

#: The chats, with the share of the time that has passed when they are created, and what became of their jobs.
_CHATS = """
    SELECT c, pg_temp.id('chat', c) AS id, pg_temp.owner(c) AS owner, share, share + (1 - share) * 0.2 AS unlocked,
        CASE WHEN c > {chats} - {open} THEN 4 ELSE 0 END AS waiting,
        CASE WHEN c > {chats} - {open} THEN 0 WHEN c % 500 = 7 THEN 4 WHEN c % 30 = 0 THEN 1 ELSE 0 END AS failed
    FROM (SELECT c, (c - 0.5) / {chats} AS share FROM generate_series(1, {chats}) AS c) AS numbered
"""


TRANSACTIONS_PER_PERSON = 10


class Rows(NamedTuple):
    """The rows of a table: its columns as SQL expressions over a source. Other columns get a neutral value."""

    table: str
    columns: dict[str, str]
    source: str


_ROWS = (
    Rows(
        "users",
        {
            "id": "pg_temp.id('user', n)",
            "email": "'person' || n || '@example.org'",
            "external_id": "CASE WHEN n % 2 = 0 THEN 'user_' || md5('external' || n) END",
            "password": "'!' || md5('password' || n)",
            "is_active": "n % 1000 <> 0",
            "created_at": "pg_temp.at((n - 0.5) / {n})",
        },
        "generate_series(1, {n}) AS n",
    ),
    Rows(
        "chats",
        {
            "id": "id",
            "owner_id": "pg_temp.id('user', owner)",
            "status": "'completed'",
            "platform": "CASE c % 20 WHEN 0 THEN 'telegram' WHEN 1 THEN 'instagram' ELSE 'whatsapp' END",
            "dialect": "'android'",
            "date_order": "'dmy'",
            "clock": "'local'",
            "message_count": "500 + c % 5000",
            "line_count": "510 + c % 5000",
            "participant_count": "2 + (c % 50 = 0)::int",
            "first_message_on": "'2024-01-01'",
            "last_message_on": "'2024-12-31'",
            "vector_status": "CASE WHEN c % 1000 = 3 THEN 'failed' WHEN c % 10 = 9 THEN 'pending' ELSE 'completed' END",
            "index_error_code": "CASE WHEN c % 1000 = 3 THEN 'engine_unavailable' ELSE '' END",
            "index_engine": "'{engine}'",
            "indexed_at": "pg_temp.at(share)",
            "content_fingerprint": "decode(md5('content' || c), 'hex')",
            "wrapped_key": "decode(repeat(md5('key' || c), 2), 'hex')",
            "sealed_statistics": "decode(repeat(md5('statistics' || c), 10), 'hex')",
            "created_at": "pg_temp.at(share)",
        },
        f"({_CHATS}) AS chats",
    ),
    Rows(
        "chat_uploads",
        {
            "owner_id": "pg_temp.id('user', owner)",
            "chat_id": "CASE WHEN c % 20 < 18 THEN id END",
            "outcome": "CASE WHEN c % 20 < 18 THEN 'accepted' WHEN c % 200 = 19 THEN 'failed' ELSE 'refused' END",
            "reason": "CASE WHEN c % 20 < 18 THEN '' ELSE 'UnknownFormat' END",
            "error_code": "CASE WHEN c % 20 < 18 THEN '' ELSE 'unknown_format' END",
            "header_shape": "CASE WHEN c % 20 < 18 THEN '' ELSE '99/99/99 ' || repeat('a', (c % 37)::int) END",
            "platform": "'whatsapp'",
            "request_id": "md5('request' || c)",
            "size_bytes": "100000",
            "milliseconds": "100 + c % 900",
            "created_at": "pg_temp.at(share)",
        },
        f"({_CHATS}) AS chats",
    ),
    Rows(
        "chunks",
        {
            "chat_id": "id",
            "number": "number",
            "conversation": "number",
            "first_number": "number * 10",
            "last_number": "number * 10 + 9",
        },
        f"({_CHATS}) AS chats, generate_series(1, 5) AS number WHERE c % 10 = 1",
    ),
    Rows(
        "transcript_blocks",
        {"chat_id": "id", "first_number": "1", "last_number": "500", "sealed": "'\\x00'"},
        f"({_CHATS}) AS chats WHERE c % 1000 = 1",
    ),
    Rows(
        "vector_matrices",
        {"chat_id": "id", "engine": "'{engine}'", "dimensions": "256", "created_at": "pg_temp.at(share)"},
        f"({_CHATS}) AS chats WHERE c % 10 = 1",
    ),
    Rows(
        "chat_readings",
        {
            "id": "pg_temp.id('reading', c)",
            "chat_id": "id",
            "status": "CASE WHEN c % 500 = 1 THEN 'failed' ELSE 'completed' END",
            "error_code": "CASE WHEN c % 500 = 1 THEN 'engine_unavailable' ELSE '' END",
            "engine": "'gemini'",
            "model": "'gemini-2.5-flash'",
            "version": "1",
            "created_at": "pg_temp.at(share)",
        },
        f"({_CHATS}) AS chats WHERE c % 5 = 1",
    ),
    Rows(
        "chat_reading_windows",
        {
            "reading_id": "pg_temp.id('reading', c)",
            "first_number": "number * 100",
            "last_number": "number * 100 + 99",
            "status": "'read'",
            "sealed_result": "'\\x00'",
        },
        f"({_CHATS}) AS chats, generate_series(1, 2) AS number WHERE c % 5 = 1",
    ),
    Rows(
        "coin_reservations",
        {
            "id": "pg_temp.id('unlock', c)",
            "wallet_id": "owner",
            "coins": "40",
            "captured_coins": "CASE WHEN waiting > 0 THEN 0 ELSE 40 - 10 * failed END",
            "status": "CASE WHEN waiting > 0 THEN 'active' WHEN failed = 4 THEN 'released' ELSE 'captured' END",
            "expires_at": "CASE WHEN waiting > 0 THEN now() + interval '30 days' ELSE pg_temp.at(unlocked) END",
            "resolved_at": "CASE WHEN waiting = 0 THEN pg_temp.at(unlocked) + interval '1 min' END",
            "idempotency_key": "'unlock ' || c",
            "reason": "'unlock'",
            "created_at": "pg_temp.at(unlocked)",
        },
        f"({_CHATS}) AS chats",
    ),
    Rows(
        "coin_reservations",
        {
            "id": "pg_temp.id('ask', c)",
            "wallet_id": "owner",
            "coins": "5",
            "captured_coins": "5",
            "status": "'captured'",
            "expires_at": "pg_temp.at(unlocked) + interval '1 hour'",
            "resolved_at": "pg_temp.at(unlocked) + interval '10 min'",
            "idempotency_key": "'ask ' || c",
            "reason": "'question'",
            "created_at": "pg_temp.at(unlocked) + interval '9 min'",
        },
        f"({_CHATS}) AS chats WHERE c <= {{chats}} - {{open}}",
    ),
    Rows(
        "chat_questions",
        {
            "id": "pg_temp.id('question', c)",
            "chat_id": "id",
            "conversation": "pg_temp.id('conversation', c)",
            "status": "'answered'",
            "step": "'done'",
            "outcome": "'answered'",
            "price": "5",
            "reservation_id": "pg_temp.id('ask', c)",
            "sealed_question": "'\\x00'",
            "sealed_answer": "'\\x00'",
            "engine": "'gemini'",
            "milliseconds": "4000",
            "deadline_at": "pg_temp.at(unlocked) + interval '1 hour'",
            "finished_at": "pg_temp.at(unlocked) + interval '10 min'",
            "created_at": "pg_temp.at(unlocked) + interval '9 min'",
        },
        f"({_CHATS}) AS chats WHERE c <= {{chats}} - {{open}}",
    ),
    Rows(
        "insight_generation_jobs",
        {
            "job_id": "pg_temp.id('job', c)",
            "chat_id": "id",
            "user_id": "pg_temp.id('user', owner)",
            "category_id": "'romantic'",
            "reservation_id": "pg_temp.id('unlock', c)",
            "status": "CASE WHEN waiting > 0 THEN 'queued' WHEN failed = 0 THEN 'completed'"
            " WHEN failed = 4 THEN 'failed' ELSE 'partial_failure' END",
            "total_insights": "4",
            "completed_insights": "4 - waiting - failed",
            "failed_insights": "failed",
            "started_at": "CASE WHEN waiting = 0 THEN pg_temp.at(unlocked) END",
            "deadline_at": "CASE WHEN waiting > 0 THEN now() + interval '30 days' ELSE pg_temp.at(unlocked) END",
            "finished_at": "CASE WHEN waiting = 0 THEN pg_temp.at(unlocked) + interval '1 min' END",
            "created_at": "pg_temp.at(unlocked)",
        },
        f"({_CHATS}) AS chats",
    ),
    Rows(
        "insights",
        {
            "id": "pg_temp.id('insight', 4 * c + number)",
            "job_id": "pg_temp.id('job', c)",
            "chat_id": "chats.id",
            "insight_type_id": "types.id",
            "type_version_id": "types.version_id",
            "status": "CASE WHEN waiting > 0 THEN 'pending' WHEN number <= failed THEN 'failed' ELSE 'completed' END",
            "price": "10",
            "language": "'en'",
            "attempt": "1",
            "error_code": "CASE WHEN number <= failed THEN"
            " (ARRAY['engine_unavailable', 'quota_exhausted', 'invalid_answer', 'deadline_exceeded'])[1 + c % 4]"
            " ELSE '' END",
            "sealed_document": "CASE WHEN waiting = 0 AND number > failed THEN '\\x00'::bytea END",
            "next_attempt_at": "pg_temp.at(unlocked)",
            "started_at": "CASE WHEN waiting = 0 THEN pg_temp.at(unlocked) + interval '2 s' END",
            "finished_at": "CASE WHEN waiting = 0 THEN pg_temp.at(unlocked) + interval '15 s' * number END",
            "created_at": "pg_temp.at(unlocked)",
        },
        f"""({_CHATS}) AS chats, (
            SELECT row_number() OVER (ORDER BY types.id) AS number, types.id, max(versions.id) AS version_id
            FROM insight_types AS types JOIN insight_type_versions AS versions ON versions.insight_type_id = types.id
            WHERE category_id = 'romantic' GROUP BY types.id
        ) AS types WHERE number <= 4 ORDER BY c, number""",
    ),
    Rows(
        "insight_attempts",
        {
            "insight_id": "id",
            "number": "1",
            "engine": "'gemini'",
            "model": "'gemini-2.5-flash'",
            "outcome": "status",
            "error_code": "error_code",
            "tokens_in": "4000",
            "tokens_out": "800",
            "milliseconds": "13000",
            "created_at": "finished_at",
        },
        "insights WHERE finished_at IS NOT NULL ORDER BY finished_at",
    ),
    Rows(
        "payment_orders",
        {
            "id": "pg_temp.id('order', w)",
            "wallet_id": "w",
            "package_id": "'starter'",
            "provider": "CASE WHEN w % 2 = 0 THEN 'stripe' ELSE 'razorpay' END",
            "status": "'completed'",
            "coins": "400",
            "amount": "39900",
            "currency": "'INR'",
            "refunded_amount": "CASE WHEN w % 100 = 0 THEN 9975 ELSE 0 END",
            "provider_order_id": "'order_' || md5('order' || w)",
            "provider_payment_id": "'pay_' || md5('payment' || w)",
            "idempotency_key": "'order ' || w",
            "review_reason": "CASE WHEN w % 20000 = 0 THEN 'amount differs' ELSE '' END",
            "completed_at": "pg_temp.at(share + (1 - share) * 0.1)",
            "created_at": "pg_temp.at(share + (1 - share) * 0.1) - interval '1 min'",
        },
        "(SELECT w, (w - 0.5) / {n} AS share FROM generate_series(1, {n}) AS w) AS wallets ORDER BY w",
    ),
    Rows(
        "payment_orders",
        {
            "id": "pg_temp.id('abandoned', w)",
            "wallet_id": "w",
            "package_id": "'popular'",
            "provider": "'razorpay'",
            "status": "'failed'",
            "coins": "850",
            "amount": "79900",
            "currency": "'INR'",
            "provider_order_id": "'order_' || md5('abandoned' || w)",
            "idempotency_key": "'abandoned ' || w",
            "failure": "'expired'",
            "created_at": "pg_temp.at((w - 0.5) / {n})",
        },
        "generate_series(20, {n}, 20) AS w",
    ),
    Rows(
        "payment_refunds",
        {
            "id": "pg_temp.id('refund', w)",
            "order_id": "pg_temp.id('order', w)",
            "source": "'staff'",
            "status": "'completed'",
            "amount": "9975",
            "coins": "100",
            "taken_coins": "100",
            "provider_refund_id": "'rfnd_' || md5('refund' || w)",
            "actor": "'command'",
            "reason": "'asked for it'",
            "completed_at": "pg_temp.at((w - 0.5) / {n} * 0.1 + 0.9)",
            "moved_at": "pg_temp.at((w - 0.5) / {n} * 0.1 + 0.9)",
            "created_at": "pg_temp.at((w - 0.5) / {n} * 0.1 + 0.9)",
        },
        "generate_series(100, {n}, 100) AS w",
    ),
    Rows(
        "webhook_events",
        {
            "provider": "provider",
            "event_id": "'evt_' || md5(id::text)",
            "type": "'payment.captured'",
            "kind": "'paid'",
            "order_id": "id",
            "provider_order_id": "provider_order_id",
            "provider_payment_id": "provider_payment_id",
            "amount": "amount",
            "currency": "currency",
            "status": "'applied'",
            "outcome": "'coins granted'",
            "received_at": "completed_at",
            "applied_at": "completed_at",
        },
        "payment_orders WHERE status = 'completed' AND wallet_id % 3 = 0 ORDER BY completed_at",
    ),
    Rows(
        "coin_adjustments",
        {
            "wallet_id": "w",
            "kind": "'coins'",
            "amount": "5000",
            "reason": "'a claim'",
            "idempotency_key": "'claim ' || w",
            "proposed_by": "'command'",
            "status": "CASE WHEN w > {n} - 5 THEN 'pending' ELSE 'refused' END",
            "decided_by": "CASE WHEN w > {n} - 5 THEN '' ELSE 'user x' END",
            "decided_at": "CASE WHEN w <= {n} - 5 THEN now() END",
            "created_at": "pg_temp.at((w - 0.5) / {n})",
        },
        "(SELECT generate_series(1, {n}, 10) AS w UNION SELECT generate_series({n} - 4, {n})) AS wallets",
    ),
    # The balance follows from the lines before, so all lines of a wallet are needed first: see `lines` below.
    Rows(
        "credit_transactions",
        {
            "wallet_id": "wallet",
            "sequence": "row_number() OVER history",
            "type": "type",
            "amount": "amount",
            "balance_after": "sum(amount) OVER history",
            "reservation_id": "reservation",
            "payment_order_id": "payment_order",
            "idempotency_key": "key",
            "actor": "CASE WHEN type = 'admin_adjustment' THEN 'command' ELSE '' END",
            "reason": "CASE WHEN type = 'admin_adjustment' THEN 'a claim' ELSE '' END",
            "created_at": "at",
        },
        "lines WINDOW history AS (PARTITION BY wallet ORDER BY at, key) ORDER BY at",
    ),
    Rows(
        "wallets",
        {
            "id": "wallet",
            "user_id": "pg_temp.id('user', wallet)",
            "balance": "sum(amount)",
            "reserved": "COALESCE(held, 0)",
            "created_at": "min(at)",
        },
        """lines LEFT JOIN (
            SELECT wallet_id, sum(coins) AS held FROM coin_reservations WHERE status = 'active' GROUP BY wallet_id
        ) AS holds ON wallet_id = wallet GROUP BY wallet, held ORDER BY wallet""",
    ),
    Rows(
        "access_tokens",
        {
            "user_id": "pg_temp.id('user', n)",
            "digest": "md5('token' || n) || md5('token ' || n)",
            "revoked_at": "CASE WHEN n % 9 = 0 THEN now() END",
            "created_at": "pg_temp.at((n - 0.5) / {n})",
        },
        "generate_series(1, {n}, 3) AS n",
    ),
    Rows(
        "idempotency_keys",
        {
            "user_id": "pg_temp.id('user', n)",
            "digest": "md5('digest' || n)",
            "fingerprint": "md5('request' || n)",
            "token": "pg_temp.id('lease', n)",
            "status": "201",
            "sealed_answer": "'\\x00'",
            "lease_expires_at": "now()",
            "expires_at": "now() + interval '1 day' * n / {n}",
            "created_at": "now() - interval '1 day' * (1 - n / {n}::float)",
        },
        "generate_series(1, {n}, 10) AS n",
    ),
    Rows(
        "audit_entries",
        {
            "actor": "'user ' || pg_temp.id('user', 1 + n % 20)",
            "action": "'reindex chat'",
            "object_id": "pg_temp.id('chat', 1 + n % {chats})::text",
            "reason": "'asked for it'",
            "done": "n % 50 <> 0",
            "outcome": "'requested'",
            "created_at": "pg_temp.at((n - 0.5) / {n})",
        },
        "generate_series(1, {n}, 5) AS n",
    ),
    Rows(
        "django_admin_log",
        {
            "user_id": "pg_temp.id('user', 1 + n % 20)",
            "content_type_id": "(SELECT id FROM django_content_type WHERE model = 'chat')",
            "object_id": "pg_temp.id('chat', 1 + n % {chats})::text",
            "object_repr": "'chat'",
            "action_flag": "2",
            "change_message": "'Reindex. Reason: asked for it.'",
            "action_time": "pg_temp.at((n - 0.5) / {n})",
        },
        "generate_series(1, {n}, 5) AS n",
    ),
    Rows(
        "django_celery_results_taskresult",
        {
            "task_id": "pg_temp.id('task', n)::text",
            "task_name": "'insights.tasks.generate_insight'",
            "status": "CASE WHEN n % 500 < 3 THEN 'FAILURE' ELSE 'SUCCESS' END",
            "worker": "'worker@host'",
            "date_done": "pg_temp.at((n - 0.5) / {n})",
            "date_created": "pg_temp.at((n - 0.5) / {n})",
        },
        "generate_series(1, {n}, 3) AS n",
    ),
    Rows(
        "error_events",
        {
            "at": "pg_temp.at((n - 0.5) / {n})",
            "role": "CASE WHEN n % 3 = 0 THEN 'web' ELSE 'worker' END",
            "host": "'host'",
            "level": "CASE WHEN n % 4 = 0 THEN 'ERROR' ELSE 'WARNING' END",
            "logger": "'insights'",
            "event": "'insight not generated, cause ' || n % 40",
            "error": "'EngineError'",
            "code": "'engine_unavailable'",
            "location": "'insights.generation run 120'",
            "request_id": "CASE WHEN n % 3 = 0 THEN md5('request' || n) ELSE '' END",
            "user_id": "pg_temp.id('user', 1 + n % 1000)",
            "job_id": "pg_temp.id('job', 1 + n % {chats})",
            "insight_id": "pg_temp.id('insight', 5 + n % {chats})",
            "chat_id": "pg_temp.id('chat', 1 + n % {chats})",
            "fingerprint": "md5('fingerprint' || n % 40)::char(16)",
        },
        "generate_series(1, {n}, 4) AS n",
    ),
    Rows(
        "request_counts",
        {
            "at": "at",
            "route": "'api/route/' || route",
            "method": "'GET'",
            "status": "(ARRAY[200, 200, 404, 500])[1 + route % 4]",
            "requests": "190",
            "milliseconds": "5000",
            "buckets": "array_fill(10, ARRAY[19])",
        },
        """(
            SELECT generate_series(date_trunc('hour', now() - interval '30 days'), now() - interval '12 h', '1 hour')
            UNION SELECT generate_series(date_trunc('hour', now() - interval '12 hours'), now(), '1 min')
        ) AS times (at), generate_series(1, 80) AS route ORDER BY at""",
    ),
    Rows(
        "request_totals",
        {
            "route": "'api/route/' || route",
            "method": "'GET'",
            "status": "status",
            "requests": "1900000",
            "milliseconds": "50000000",
            "buckets": "array_fill(100000, ARRAY[19])",
        },
        "generate_series(1, 80) AS route, unnest(ARRAY[200, 400, 404, 429, 500]) AS status",
    ),
    Rows(
        "samples",
        {"at": "at", "name": "name", "value": "100 * random()"},
        """(
            SELECT generate_series(date_trunc('hour', now() - interval '30 days'), now() - interval '2 days', '1 hour')
            UNION SELECT generate_series(date_trunc('hour', now() - interval '2 days'), now(), '1 min')
        ) AS times (at), unnest(string_to_array('{samples}', ',')) AS name ORDER BY at""",
    ),
    Rows(
        "ledger_audits",
        {"complete": "n % 288 = 0", "milliseconds": "60000", "ended_at": "now() - interval '5 min' * (8640 - n)"},
        "generate_series(1, 8630) AS n",
    ),
    Rows(
        "check_states",
        {
            "name": "(ARRAY['workers', 'queue', 'payments', 'errors'])[1 + n % 4]",
            "level": "(ARRAY['fine', 'warning'])[1 + n / 4 % 2]",
            "text": "'as the check said'",
            "since": "now() - interval '1 min' * (20000 - n)",
        },
        "generate_series(1, 20000) AS n",
    ),
)

_LINES = """
CREATE TEMP TABLE lines AS
    SELECT w AS wallet, pg_temp.at(share + (1 - share) * (k - 1) / 10) AS at, 'line ' || k AS key,
        CASE WHEN k = 1 THEN 'signup_bonus' WHEN k = 2 THEN 'purchase' WHEN k = 10 AND w % 100 = 0 THEN 'refund'
            ELSE 'admin_adjustment' END AS type,
        CASE WHEN k = 1 THEN 50 WHEN k = 2 THEN 400 WHEN k = 10 AND w % 100 = 0 THEN -100 WHEN k % 2 = 0 THEN -10
            ELSE 10 END::bigint AS amount,
        NULL::uuid AS reservation,
        CASE WHEN k = 2 OR (k = 10 AND w % 100 = 0) THEN pg_temp.id('order', w) END AS payment_order
    FROM generate_series(1, 10) AS k, (SELECT w, (w - 0.5) / {n} AS share FROM generate_series(1, {n}) AS w) AS wallets
    WHERE w % 2 = 0 OR k NOT IN (3, 4)
    UNION ALL
    SELECT wallet_id, resolved_at, idempotency_key, 'insight_unlock', -captured_coins, id, NULL
    FROM coin_reservations WHERE status = 'captured'
    UNION ALL
    SELECT 1, pg_temp.at(0), 'a lot', 'admin_adjustment', 1000000, NULL, NULL;
"""


def create(*, people: int) -> float:
    """Fill the tables of an empty database, analyze them, and return the seconds."""
    from chats.embedding import get_engine
    from ops import samples

    names = {
        "n": people,
        "chats": people // 2,
        "open": min(200, people // 100),
        "engine": get_engine().name,
        "samples": ",".join(samples.MEANINGS),
    }
    started = time.perf_counter()
    with database_roles.as_owner(connection), connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'")
        cursor.execute("SET work_mem = '256MB'; SET max_parallel_maintenance_workers = 0; SET jit = off")
        # One time for all statements: a coin is not spent before it is bought.
        cursor.execute("SELECT set_config('benchmark.end', (now() - interval '12 min')::text, false)")
        cursor.execute(_FUNCTIONS)
        with without_indexes(cursor, sorted({rows.table for rows in _ROWS})):
            for rows in _ROWS:
                if rows.table == "credit_transactions":
                    cursor.execute(_LINES.format(**names))
                _fill(cursor, rows, names)
                print(f"{time.perf_counter() - started:6.0f} s  {rows.table}: {cursor.rowcount:,} rows", flush=True)
        cursor.execute("SELECT setval(pg_get_serial_sequence('wallets', 'id'), max(id)) FROM wallets")
        cursor.execute("VACUUM ANALYZE")
    return time.perf_counter() - started


def _fill(cursor: Any, rows: Rows, names: dict[str, Any]) -> None:
    """Insert rows. A column that is not named, has no default and may not be NULL gets a neutral value."""
    cursor.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name = %s AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'",
        [rows.table],
    )
    neutral = {"character varying": "''", "text": "''", "boolean": "false", "bytea": "'\\x'", "jsonb": "'[]'"}
    others = {name: neutral.get(kind, "0") for name, kind in cursor.fetchall() if name not in rows.columns}
    columns = {**others, **rows.columns}
    query = f"INSERT INTO {rows.table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {rows.source}"
    cursor.execute(query.format(**names))


@contextlib.contextmanager
def without_indexes(cursor: Any, tables: list[str]) -> Iterator[None]:
    """Drop triggers, foreign keys and indexes of the tables for the block: with them, filling takes an hour."""
    cursor.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('f', 'u') ORDER BY contype DESC, conname",
        [tables],
    )
    constraints = cursor.fetchall()
    cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)", [tables])
    kept = {name for _, name, _ in constraints}
    indexes = [(name, sql) for name, sql in cursor.fetchall() if name not in kept and not name.endswith("_pkey")]
    for table, name, _ in constraints:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    for table in tables:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    yield
    for table in tables:
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    for _, sql in indexes:
        cursor.execute(sql)
    for table, name, sql in constraints:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {sql}")

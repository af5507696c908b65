"""Promises of the embedded servers: they start, they are shared, they leave nothing behind."""

from __future__ import annotations

import os

import psycopg
import redis


def test_the_servers_of_a_test_run_answer_over_loopback_with_a_password() -> None:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        assert connection.execute("select current_setting('TimeZone')").fetchone() == ("UTC",)
    assert redis.from_url(os.environ["REDIS_URL"]).ping()

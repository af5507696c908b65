"""Check that a person's text is stored nowhere except in sealed columns.

`assert_nowhere("a unique word", …)` searches every row of every table, every key of the broker and every file of the
data directory. The files include logs and Postgres' write-ahead log, which contains every row since the start. The
string must therefore be one that no other test writes: use `unique`. It is searched as text, hex, JSON and base64.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator

import redis
from django.db import connection

from relivchats import embedded


def unique(word: str = "canary") -> str:
    """Return the word with a random suffix of letters, so that it can be a name."""
    return word + "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(12))


def assert_nowhere(*strings: str, logs: Iterable[str] = ()) -> None:
    """Fail with the places that contain one of the strings. `logs` are the lines that the test itself logged."""
    assert strings
    needles = {needle for string in strings for needle in _needles(string)}
    found = [place for place, content in _places(logs) if any(needle in content for needle in needles)]
    assert not found, f"found in {len(found)} places: {', '.join(found[:20])}"


def _needles(string: str) -> Iterator[bytes]:
    """Yield every encoding of the string that is searched."""
    assert len(string) >= 12, "a shorter string can occur by chance"
    for packed in (string.encode(), string.encode("utf-16-le"), json.dumps(string)[1:-1].encode()):
        yield packed
        yield packed.hex().encode()
        # Base64 encodes groups of three bytes, so the string can start at any of three offsets in a group.
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + packed)
            yield encoded[(0, 2, 3)[shift] : len(encoded) // 4 * 4 - 4]


def _places(logs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    yield from ((f"log line {number}", line.encode(errors="replace")) for number, line in enumerate(logs))
    yield from _tables()
    yield from _broker()
    for path in sorted(embedded.data_directory().rglob("*")):
        if path.is_file() and os.access(path, os.R_OK):
            yield str(path.relative_to(embedded.data_directory())), path.read_bytes()


def _tables() -> Iterator[tuple[str, bytes]]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT row_to_json(t)::text FROM "{table}" t')  # bytea is shown as hex
            for number, (row,) in enumerate(cursor.fetchall()):
                yield f"{table} row {number}", row.encode()
                yield f"{table} row {number} (unescaped)", json.dumps(json.loads(row), ensure_ascii=False).encode()


def _broker() -> Iterator[tuple[str, bytes]]:
    for database in range(16):
        with redis.Redis.from_url(os.environ["REDIS_URL"], db=database) as client:
            for key in client.scan_iter():
                value = repr(_value(client, key)).encode() + b" " + b" ".join(_flatten(_value(client, key)))
                yield f"broker {database} {key!r}", key + b" " + value


def _value(client: redis.Redis, key: bytes) -> object:
    kind = client.type(key)
    readers: dict[bytes, Callable[[], object]] = {
        b"string": lambda: client.get(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"hash": lambda: client.hgetall(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"stream": lambda: client.xrange(key),
    }
    return readers[kind]() if kind in readers else None


def _flatten(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
        yield from _bodies(value)
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _flatten(pair)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _flatten(item)


def _bodies(message: bytes) -> Iterator[bytes]:
    """Yield the decoded body of a Celery message."""
    try:
        yield base64.b64decode(json.loads(message)["body"])
    except (ValueError, KeyError, TypeError):
        return

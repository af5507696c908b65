"""Looking for what must not be found: a person's words anywhere but in sealed columns.

`assert_nowhere("a unique word", …)` looks at every row of every table, at every
key of the broker, at the log files and at all other files of the data
directory: Postgres' write-ahead log among them holds every row since the start.
So a string must be one that no other test wrote: `unique` makes some. Words are
looked for as they would stand in text, in bytea, in JSON and in base64.
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
    """The word with what makes it unlike any other; letters only, as a name may be."""
    return word + "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(12))


def assert_nowhere(*strings: str, logs: Iterable[str] = ()) -> None:
    """Fail with every place that holds one of the strings. Give what the test itself logged in `logs`."""
    assert strings
    needles = {needle for string in strings for needle in _needles(string)}
    found = [place for place, content in _places(logs) if any(needle in content for needle in needles)]
    assert not found, f"found in {len(found)} places: {', '.join(found[:20])}"


def _needles(string: str) -> Iterator[bytes]:
    """The ways in which a string may stand among other bytes."""
    assert len(string) >= 12, "a shorter string may turn up by chance"
    for packed in (string.encode(), string.encode("utf-16-le"), json.dumps(string)[1:-1].encode()):
        yield packed
        yield packed.hex().encode()
        # Base64 of a string within a longer one, at each of the three ways its bytes may be cut.
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
            cursor.execute(f'SELECT row_to_json(t)::text FROM "{table}" t')  # bytea shows as hex
            for number, (row,) in enumerate(cursor.fetchall()):
                yield f"{table} row {number}", row.encode()
                yield f"{table} row {number} (escapes read)", json.dumps(json.loads(row), ensure_ascii=False).encode()


def _broker() -> Iterator[tuple[str, bytes]]:
    for database in range(16):
        with redis.Redis.from_url(os.environ["REDIS_URL"], db=database) as client:
            for key in client.scan_iter():
                value = repr(_value(client, key)).encode() + b" " + b" ".join(_flat(_value(client, key)))
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


def _flat(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
        yield from _bodies(value)
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _flat(pair)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _flat(item)


def _bodies(message: bytes) -> Iterator[bytes]:
    """What a Celery message carries in base64."""
    try:
        yield base64.b64decode(json.loads(message)["body"])
    except (ValueError, KeyError, TypeError):
        return

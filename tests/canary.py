"""Check that a person's text is stored nowhere except in sealed columns.

`assert_nowhere("a unique word", …)` searches every row of every table, every key of the broker and every file of the
data directory. The files include logs and Postgres' write-ahead log, which contains every row since the start. The
string must therefore be one that no other test writes: use `unique`. It is searched as text, hex, JSON, base64 and
percent-encoded. Whatever else a test collects is passed in `also`: the bytes of a response, of a request to a provider
or of a command's output, or a file or directory. Archives and compressed content are opened.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import redis
from django.db import connection

from relivchats import embedded


def unique(word: str = "canary") -> str:
    """Return the word with a random suffix of letters, so that it can be a name."""
    return word + "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(12))


def assert_nowhere(
    *strings: str, logs: Iterable[str] = (), also: Mapping[str, bytes | str | Path] | None = None
) -> None:
    """Fail with the places that contain one of the strings.

    `logs` are the lines that the test itself logged. `also` has more content by its name: a text or bytes; or a path of
    a file, or of a directory with everything below it.
    """
    assert strings
    needles = {needle for string in strings for needle in _needles(string)}
    places = itertools.chain(_places(logs), *(_contents(name, content) for name, content in (also or {}).items()))
    found = [place for place, content in places if any(needle in content for needle in needles)]
    assert not found, f"found in {len(found)} places: {', '.join(found[:20])}"


def _needles(string: str) -> Iterator[bytes]:
    """Yield every encoding of the string that is searched."""
    assert len(string) >= 12, "a shorter string can occur by chance"
    for packed in (string.encode(), string.encode("utf-16-le"), json.dumps(string)[1:-1].encode()):
        yield packed
        yield quote(packed).encode()
        yield packed.hex().encode()
        # Base64 encodes groups of three bytes, so the string can start at any of three offsets in a group.
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + packed)
            yield encoded[(0, 2, 3)[shift] : len(encoded) // 4 * 4 - 4]


def _places(logs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    yield from ((f"log line {number}", line.encode(errors="replace")) for number, line in enumerate(logs))
    yield from _tables()
    yield from _broker()
    yield from _contents("", embedded.data_directory())


def _contents(name: str, content: bytes | str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield the content, or every file below the path, and what an archive or compressed content contains."""
    if isinstance(content, Path):
        for path in sorted(content.rglob("*")) if content.is_dir() else [content]:
            if path.is_file() and os.access(path, os.R_OK):
                inner = str(path.relative_to(content)) if content.is_dir() else path.name
                yield from _contents(f"{name} {inner}".strip(), path.read_bytes())
        return
    raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    yield name, raw
    if raw.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for member in archive.infolist():
                yield from _contents(f"{name} > {member.filename}", archive.read(member))
                yield f"{name} (a file's name)", member.filename.encode(errors="surrogatepass")
    elif raw.startswith(b"\x1f\x8b"):
        yield from _contents(f"{name} (gzip)", gzip.decompress(raw))


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

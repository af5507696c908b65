"""Measure the time to index a chat and to search it: `python -m tests.benchmarks.indexing [MESSAGES ...]`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil

from tests import exports
from tests.benchmarks import stage

if TYPE_CHECKING:
    from chats.models import Chat

QUERIES = [
    ["good morning", "what are you doing", "kya kar rahe ho"],
    ["I miss you", "love you so much", "pyaar"],
    ["sorry, my fault", "I was angry", "let us not fight"],
    ["we should travel", "plan for next year", "book the flight"],
    ["haha that is funny", "you are crazy"],
    ["thank you for everything", "proud of you"],
    ["money", "salary and rent", "how much did it cost"],
    ["are you okay", "did you eat", "take care"],
    ["marriage", "shaadi", "our parents"],
    ["home", "ghar kab aaoge"],
]
TERMS = ["love", "miss you", "pyaar", "❤️", "sorry", "can't", "प्यार", "thank you", "good night", "😂"]


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or [100_000]
    print(stage.machine())
    with stage.installation():
        for messages in sizes:
            measure(messages)


def measure(messages: int) -> None:
    from chats import embedding, indexing, search
    from chats.chunking import chunk_messages
    from chats.importing import import_chat
    from chats.models import Chat
    from chats.transcript import TranscriptReader
    from relivchats.accounts.models import User

    owner = User.objects.create_user(f"benchmark-{messages}@example.com")
    content = exports.zipped(exports.text(messages))
    chat, import_time = stage.timed(lambda: import_chat(owner=owner, upload=content))
    _, load_time = stage.timed(lambda: embedding.get_engine().embed(["hello"]))
    chunks, chunk_time = stage.timed(
        lambda: [chunk.texts for chunk in chunk_messages(TranscriptReader(chat).batches())]
    )
    texts = [text for chunk in chunks for text in chunk]
    _, embed_time = stage.timed(lambda: embedding.get_engine().embed(texts))
    print(f"{messages:,} messages: import {import_time}, model load {load_time}")
    print(f"  read and chunk {chunk_time}: {len(chunks):,} chunks, {len(texts):,} texts; embed {embed_time}")
    indexing.request(chat)
    indexed, index_time = stage.timed(lambda: indexing.index_chat(chat.pk))
    assert indexed
    print(f"  index_chat: {index_time}")
    chat = Chat.objects.get(pk=chat.pk)
    searcher, open_time = stage.timed(lambda: search.Searcher(chat))
    _, search_time = stage.timed(lambda: [searcher.search(queries, limit=20) for queries in QUERIES])
    _, count_time = stage.timed(lambda: [searcher.count_matches(TERMS) for _ in QUERIES])
    print(f"  load a Searcher {open_time}; {len(QUERIES)} searches {search_time}; {len(QUERIES)} counts {count_time}")
    measure_qdrant(chat)
    print(f"  this process: peak memory {stage.megabytes(stage.peak_bytes(psutil.Process()))}")


def measure_qdrant(chat: Chat) -> None:
    """Measure the same with the stub server of Qdrant in a process of its own. Its engine is Qdrant's."""
    from django.test import override_settings

    from chats import points, qdrant, search

    with stub_server() as address, override_settings(QDRANT_URL=address):
        _, import_time = stage.timed(lambda: qdrant.server_version(timeout_seconds=10))
        stored, store_time = stage.timed(lambda: points.store(chat.pk))
        assert stored
        searcher, open_time = stage.timed(lambda: search.Searcher(chat))
        assert searcher.is_in_qdrant
        _, search_time = stage.timed(lambda: [searcher.search(queries, limit=20) for queries in QUERIES])
        _, by_meaning = stage.timed(lambda: [searcher.search(queries, limit=20, by="vectors") for queries in QUERIES])
    print(f"  Qdrant: import and connect {import_time}; store all points {store_time}; load a Searcher {open_time}")
    print(f"  Qdrant: {len(QUERIES)} searches {search_time}, of which by meaning {by_meaning}")


@contextlib.contextmanager
def stub_server() -> Iterator[str]:
    """Run the stub server in a process of its own, and return its address."""
    code = (
        "import sys\n"
        "from tests.fakes.qdrant import FakeQdrant\n"
        "with FakeQdrant().serving() as server:\n"
        "    print(server.address, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stub:
        assert stub.stdin is not None
        assert stub.stdout is not None
        yield stub.stdout.readline().strip()
        stub.stdin.close()


if __name__ == "__main__":
    main()

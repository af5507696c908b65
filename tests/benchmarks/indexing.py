"""How long a chat takes to become searchable, and a search: `python -m tests.benchmarks.indexing [MESSAGES ...]`."""

from __future__ import annotations

import sys

import psutil

from tests import exports
from tests.benchmarks import stage

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
    chat, importing = stage.timed(lambda: import_chat(owner=owner, upload=content))
    _, loading = stage.timed(lambda: embedding.get_engine().embed(["hello"]))
    texts, chunking = stage.timed(lambda: [piece.texts for piece in chunk_messages(TranscriptReader(chat).batches())])
    flat = [text for part in texts for text in part]
    _, embedded = stage.timed(lambda: embedding.get_engine().embed(flat))
    print(f"{messages:,} messages: import {importing}, model load {loading}")
    print(f"  read and chunk {chunking}: {len(texts):,} chunks, {len(flat):,} texts; embed {embedded}")
    indexing.request(chat)
    done, whole = stage.timed(lambda: indexing.index_chat(chat.pk))
    assert done
    print(f"  index_chat: {whole}")
    chat = Chat.objects.get(pk=chat.pk)
    searcher, opening = stage.timed(lambda: search.Searcher(chat))
    _, searching = stage.timed(lambda: [searcher.search(queries, limit=20) for queries in QUERIES])
    _, counting = stage.timed(lambda: [searcher.count_matches(TERMS) for _ in QUERIES])
    print(f"  open a Searcher {opening}; {len(QUERIES)} searches {searching}; {len(QUERIES)} counts {counting}")
    print(f"  this process: {stage.megabytes(stage.peak_bytes(psutil.Process()))} at its peak")


if __name__ == "__main__":
    main()

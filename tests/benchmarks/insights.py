"""Measure an insight of each type with the local engine: `python -m tests.benchmarks.insights [MESSAGES ...]`.

Prints the medians of three rounds for the brief (retrieval and counts), the draft and the validated document. Opening
the chat for searching is measured once, because all insights of a job share it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from tests import exports
from tests.benchmarks import stage

if TYPE_CHECKING:
    from chats.models import Chat
    from insights.models import InsightType

ROUNDS = 3


class Round(NamedTuple):
    """The cost of the brief, the draft and the document, and the number of messages that the engine was shown."""

    steps: tuple[stage.Spent, stage.Spent, stage.Spent]
    messages_read: int


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or [100_000]
    print(stage.machine())
    with stage.installation():
        for messages in sizes:
            measure(messages)


def measure(messages: int) -> None:
    from chats import indexing, search
    from chats.importing import import_chat
    from insights.models import InsightType
    from relivchats.accounts.models import User

    owner = User.objects.create_user(f"benchmark-{messages}@example.com")
    chat = import_chat(owner=owner, upload=exports.zipped(exports.text(messages)))
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    _, opening = stage.timed(lambda: search.get_searcher(chat))
    print(f"{messages:,} messages, {chat.chunk_count:,} chunks: opened for searching in {opening}")
    for insight_type in InsightType.objects.all():
        rounds = [write_insight(chat, insight_type) for _ in range(ROUNDS)]
        brief, draft, document = (sorted(round_.steps[step] for round_ in rounds)[ROUNDS // 2] for step in range(3))
        read = rounds[0].messages_read
        print(f"  {insight_type.pk:22} brief {brief}, draft {draft}, document {document}; {read:,} messages read")


def write_insight(chat: Chat, insight_type: InsightType) -> Round:
    from insights import briefs, document, engines
    from insights.models import Insight
    from tests.insights.briefs import PROVENANCE

    version = insight_type.versions.latest("version")
    insight = Insight(chat=chat, insight_type=insight_type, type_version=version)
    engine = engines.get_engine()
    brief, brief_cost = stage.timed(lambda: briefs.build_brief(insight))
    draft, draft_cost = stage.timed(lambda: engine.write(brief))
    built, document_cost = stage.timed(lambda: document.build_document(brief=brief, draft=draft, provenance=PROVENANCE))
    return Round((brief_cost, draft_cost, document_cost), built["sufficiency"]["messages_read"])


if __name__ == "__main__":
    main()

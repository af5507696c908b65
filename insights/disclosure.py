"""What an unlock would send to a language model, before it is paid for: the exact texts, shown to the owner only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlsplit

from django.conf import settings

from chats.models import Chat
from chats.transcript import TranscriptReader
from insights import engines
from insights.engines.base import EngineError
from insights.engines.model_engine import ModelEngine
from insights.episodes import Window
from insights.models import ChatReading, ReadWindow
from insights.reading import planning, windows
from insights.reading.queue import Reader, current_reader
from insights.reading.windows import PlannedWindow
from insights.tokens import count_text_tokens

NOTHING = "Nothing leaves this server: the engine counts words and times here."
_WRITING = (
    "two calls for each insight send parts of the messages, masked in the same way, with what was found in them,"
    " counted numbers, and the sentences to be verified."
)
READ_FIRST = (
    "First the chat is read: each text below is sent once, with the instructions before it. A text that the model does"
    f" not answer well is sent again, or in two halves. Then {_WRITING}"
)
READ_BEFORE = f"The chat was read before, and nothing is read again: {_WRITING}"
NOT_INDEXED = (
    "The chat is larger than what is read of it, and the parts are selected by a search, so they are known once it is"
    " searchable: POST /api/chats/{id}/reindex."
)


@dataclass(frozen=True, slots=True)
class DisclosedText:
    """A text that would be sent: its place among all texts, from 1, its messages, and the call's estimated tokens."""

    number: int
    first_message: int
    last_message: int
    messages: int
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What an unlock would send, with one page of its texts. Of an engine that sends nothing, only `engine` and `note`.

    `texts` and `tokens` count the texts that are still to be read; the tokens are an estimate, without those of the
    insights. `texts` is None if it is not known yet.
    """

    engine: str
    sends: bool
    note: str
    host: str = ""
    reading_model: str = ""
    writing_model: str = ""
    pseudonyms: bool = False
    texts: int | None = 0
    tokens: int = 0
    instructions: str = ""
    page: Sequence[DisclosedText] = ()


def disclose(chat: Chat, *, after: int, limit: int) -> Disclosure:
    """Return what an unlock of the chat would send now, with up to `limit` texts after text number `after`."""
    if engines.get_engine().method != "read":
        return Disclosure(engines.get_engine().name, sends=False, note=NOTHING)
    engine = cast(ModelEngine, engines.get_engine())
    people, other_names = tuple(chat.participants), chat.person_of_name
    # The instructions are the same for every window.
    instructions = engine.render_window(Window(()), people=people, other_names=other_names).instructions
    sent = Disclosure(
        engine.name,
        sends=True,
        note=NOT_INDEXED,
        host=urlsplit(engine.client.address).hostname or "",
        reading_model=engine.reading_model,
        writing_model=engine.model,
        pseudonyms=settings.PSEUDONYMS,
        texts=None,
        instructions=instructions,
    )
    try:
        pending = _find_pending(chat, engine)
    except EngineError:
        # The chat is not searchable yet, or the engine that embeds the queries does not answer.
        return sent
    instruction_tokens = count_text_tokens(instructions)
    transcript = TranscriptReader(chat)
    page = []
    for number, planned in enumerate(pending[after : after + limit], start=after + 1):
        numbers = [message for first, last in planned.spans for message in range(first, last + 1)]
        messages = transcript.get(numbers)
        window = windows.build_window(
            (messages[message] for message in sorted(messages)), people=people, window_tokens=engine.window_tokens
        )
        text = engine.render_window(window, people=people, other_names=other_names).content
        page.append(
            DisclosedText(
                number,
                first_message=planned.spans[0][0],
                last_message=planned.spans[-1][1],
                messages=len(window.messages),
                tokens=planned.tokens + instruction_tokens,
                text=text,
            )
        )
    return replace(
        sent,
        note=READ_FIRST if pending else READ_BEFORE,
        texts=len(pending),
        tokens=sum(planned.tokens + instruction_tokens for planned in pending),
        page=page,
    )


def _find_pending(chat: Chat, engine: ModelEngine) -> list[PlannedWindow]:
    """Return the windows that an unlock would read, in the order of the chat. Raise EngineUnavailable."""
    reading = ChatReading.objects.filter(chat=chat.pk).first()
    if reading is None or Reader(reading.engine, reading.model, reading.version) != current_reader():
        kept, read_before = [], 0
    else:
        kept, read_before = list(reading.windows.order_by("first_number")), reading.up_to_message or 0
    # A failed window is read again by the next unlock if the reading failed.
    again = {ReadWindow.Status.PENDING}
    if reading is not None and reading.status == ChatReading.Status.FAILED:
        again.add(ReadWindow.Status.FAILED)
    pending = [
        PlannedWindow(spans=row.spans, messages=row.message_count, tokens=row.token_count)
        for row in kept
        if row.status in again
    ]
    if read_before < chat.line_count:
        plan = planning.plan_new_messages(chat, kept, read_before=read_before, window_tokens=engine.window_tokens)
        # A window that the new messages continue is divided: its end is read again with them.
        pending = [window for window in pending if window.spans[-1][1] < plan.first]
        pending += plan.windows
    return pending

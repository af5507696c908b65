"""Change the title, the time zone and the people of a chat. Statistics are counted again in the same request.

Stored messages are not changed, so every edit can be undone. Insights that are already written keep their names.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import orjson

from chats.counting import ChatCounter, in_large_batches
from chats.exports.parsed import writable
from chats.merging import ChatChanges
from chats.models import Chat
from chats.people import People, Person, default_title, validate_people
from chats.projection import Projection
from chats.transcript import TranscriptReader
from relivchats.errors import NotFound

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3

#: The default of parameters for which None is a value.
_UNSET: Any = object()


def edit_chat(
    chat: Chat,
    *,
    title: str | None = _UNSET,
    time_zone: str = _UNSET,
    people: Sequence[Person] = _UNSET,
) -> Chat:
    """Change what is given and return the changed chat. A title of None restores the default title.

    Raise InvalidPeople if `people` do not match the chat's names, NotFound if the chat is deleted meanwhile, and
    ChatChanges if other requests change it during every attempt.
    """
    # Counting a large chat takes seconds, so it runs without a lock. The update stores nothing if the chat has changed
    # since it was loaded; then everything is repeated with the chat as it is now.
    for _ in range(MAX_ATTEMPTS):
        chosen_people = chat.chosen_people
        if people is not _UNSET:
            # Validated in each attempt: people who joined the chat meanwhile have names as well.
            chosen_people = validate_people(
                [
                    Person(name=writable(person["name"]), aliases=list(map(writable, person["aliases"])))
                    for person in people
                ],
                export_names=chat.export_names,
            )
        if title is _UNSET:
            own_title = None if chat.title == default_title(chat.participants) else chat.title
        else:
            own_title = None if title is None else writable(title)
        columns = _changed_columns(
            chat,
            own_title=own_title,
            time_zone=chat.time_zone if time_zone is _UNSET else time_zone,
            chosen_people=chosen_people,
        )
        is_saved = not columns or Chat.objects.unchanged_since(chat).update(**columns)
        current = Chat.objects.filter(pk=chat.pk).first()
        if current is None:
            raise NotFound("This chat was just deleted.")
        if is_saved:
            logger.info("chat edited", extra={"chat": str(chat.pk), "columns": ",".join(sorted(columns))})
            return current
        chat = current
    raise ChatChanges("Other requests are changing this chat. Send the change again in a moment.")


def _changed_columns(
    chat: Chat, *, own_title: str | None, time_zone: str, chosen_people: list[Person]
) -> dict[str, Any]:
    """Return the new values of the columns that change. An `own_title` of None stands for the default title."""
    people, key = People.resolve(chat.export_names, chosen=chosen_people), chat.key
    title = default_title(people.names) if own_title is None else own_title
    columns: dict[str, Any] = {}
    if title != chat.title:
        columns["sealed_title"] = key.seal(title.encode(), context=chat.context("title"))
    if time_zone != chat.time_zone:
        columns["time_zone"] = time_zone
    if chosen_people != chat.chosen_people:
        columns["sealed_people"] = None
        if chosen_people:
            columns["sealed_people"] = key.seal(orjson.dumps(chosen_people), context=chat.context("people"))
        columns["participant_count"] = len(people.names)
    # A time zone moves only times that are stored as instants.
    if "sealed_people" in columns or ("time_zone" in columns and chat.clock == Chat.Clock.UTC):
        counter = ChatCounter(
            Projection.for_people(people, export_names=chat.export_names, clock=chat.clock, time_zone=time_zone)
        )
        for batch in in_large_batches(TranscriptReader(chat, as_stored=True).batches()):
            counter.add(batch)
        columns |= counter.columns(chat, people.names)
    return columns

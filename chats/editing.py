"""What an owner says about a chat: its title, who is who, and where its clock hung. Statistics follow at once.

The stored messages stay as they are, so saying otherwise undoes everything. Insights that are
written keep the names they were written with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import orjson

from chats.exports.parsed import writable
from chats.merging import ChatChanges
from chats.models import Chat
from chats.people import People, Person, default_title, validate
from chats.projection import Projection
from chats.sealed_export import Span
from chats.statistics import StatisticsCounter
from chats.transcript import TranscriptReader
from relivchats.errors import NotFound

logger = logging.getLogger(__name__)

_TRIES = 3
_UNSAID: Any = object()


def edit_chat(
    chat: Chat,
    *,
    title: str | None = _UNSAID,
    time_zone: str = _UNSAID,
    people: Sequence[Person] = _UNSAID,
) -> Chat:
    """The chat as it is then. What is not named stays; a title of None is the people's names again.

    Raises InvalidPeople when `people` make no sense for the names that it has by then, and NotFound when it was
    deleted meanwhile.
    """
    for _ in range(_TRIES):
        columns = _columns(
            chat,
            title=_title(chat) if title is _UNSAID else title,
            time_zone=chat.time_zone if time_zone is _UNSAID else time_zone,
            chosen=chat.chosen_people if people is _UNSAID else _checked(people, chat),
        )
        done = not columns or Chat.objects.unchanged_since(chat).update(**columns)
        after = Chat.objects.filter(pk=chat.pk).first()
        if after is None:
            raise NotFound("This chat was deleted just now.")
        if done:
            logger.info("chat amended", extra={"chat": str(chat.pk), "columns": ",".join(sorted(columns))})
            return after
        chat = after
    raise ChatChanges("Others are changing this chat just now. Send it again in a moment.")


def _title(chat: Chat) -> str | None:
    """Its own, or None while it is called by the people in it."""
    return None if chat.title == default_title(chat.participants) else chat.title


def _checked(people: Sequence[Person], chat: Chat) -> list[Person]:
    """Looked over anew whenever the chat changed: those who joined it have names, too."""
    return validate([_writable(person) for person in people], export_names=chat.export_names)


def _writable(person: Person) -> Person:
    return Person(name=writable(person["name"]), aliases=list(map(writable, person["aliases"])))


def _columns(chat: Chat, *, title: str | None, time_zone: str, chosen: list[Person]) -> dict[str, Any]:
    """The columns that change."""
    who, key = People.resolve(chat.export_names, chosen=chosen), chat.key
    name = writable(title) if title is not None else default_title(who.names)
    columns: dict[str, Any] = {}
    if name != chat.title:
        columns["sealed_title"] = key.seal(name.encode(), context=chat.context("title"))
    if time_zone != chat.time_zone:
        columns["time_zone"] = time_zone
    if chosen != chat.chosen_people:
        sealed = key.seal(orjson.dumps(chosen), context=chat.context("people")) if chosen else None
        columns |= {"sealed_people": sealed, "participant_count": len(who.names)}
    if "sealed_people" in columns or ("time_zone" in columns and chat.clock == Chat.Clock.UTC):
        columns |= _counted(chat, who, time_zone)
    return columns


def _counted(chat: Chat, who: People, time_zone: str) -> dict[str, Any]:
    projection = Projection.for_people(who, clock=chat.clock, time_zone=time_zone)
    statistics, span = StatisticsCounter(), Span()
    for batch in map(projection.apply, TranscriptReader(chat, as_stored=True).batches()):
        statistics.add(batch)
        span.add(batch)
    first, last = span.days
    counted = orjson.dumps(statistics.result(who.names))
    return {
        "first_message_on": first,
        "last_message_on": last,
        "sealed_statistics": chat.key.seal(counted, context=chat.context("statistics")),
    }

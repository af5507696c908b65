"""Requests that wait for a worker: how a view hands the wait to the server, and how the server learns what changed.

A thread of the web server must not wait for a worker. If the server can wait itself (`CAN_FOLLOW` in the request's
environment), a view answers 202 at once and calls `follow`. The server (asgi.py) then polls the rows of all who wait
with one query, and repeats the request as a GET of the response's Location, with `FOLLOWED` in its environment, when
the row is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse

#: Keys of the environment. A client cannot set them: its headers begin with HTTP_.
CAN_FOLLOW = "relivchats.can_follow"
FOLLOWED = "relivchats.followed"
#: A header that only the server sees.
HEADER = "X-Relivchats-Follow"


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a row: what those who wait are shown, and whether there is nothing more to wait for."""

    shown: Mapping[str, Any]
    is_finished: bool


#: Returns the progress of rows by id, without those that do not exist. Called from a thread of its own.
Source = Callable[[Collection[UUID]], Mapping[UUID, Progress]]
sources: dict[str, Source] = {}


def register(name: str, source: Source) -> None:
    """Make the rows of a source known by this name."""
    sources[name] = source


def can_follow(request: HttpRequest) -> bool:
    """Return whether the server waits for the view."""
    return bool(request.META.get(CAN_FOLLOW))


def follow(response: HttpResponse, *, source: str, row_id: UUID, seconds: int, purpose: str) -> None:
    """Let the server wait for a row, for so many seconds at most. The repeated request gets `purpose`."""
    response[HEADER] = f"{source} {row_id} {seconds} {purpose}"


def followed(request: HttpRequest) -> str:
    """Return the purpose of a request that the server repeats after it waited, or an empty string."""
    return str(request.META.get(FOLLOWED, ""))

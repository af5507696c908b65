"""What every app raises when it must refuse."""

from __future__ import annotations

from typing import Any


class DomainError(Exception):
    """A refusal that a person can act on.

    `code` is the API's stable error code (ERR_…), `title` names the kind of
    problem, `detail` is a sentence that says what to do, `extra` holds what a
    client needs to act. The first three never hold chat text or a name and may
    be logged. `extra` goes to the caller alone and is never logged: it may name
    what the caller just sent, such as the titles of the chats to choose from.
    """

    code = "ERR_1000"
    status = 500
    title = "Something went wrong"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra


class NotFound(DomainError):
    code, status, title = "ERR_1002", 404, "Not found"


class Conflict(DomainError):
    code, status, title = "ERR_2001", 409, "Conflict"

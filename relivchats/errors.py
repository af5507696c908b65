"""What every app raises when it must refuse."""

from __future__ import annotations

from typing import Any


class DomainError(Exception):
    """A refusal that a person can act on.

    `code` is the API's stable error code (ERR_…), `title` names the kind of
    problem, `detail` is a sentence that says what to do, `extra` holds the
    numbers a client needs. None of them ever holds chat text or a name.
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

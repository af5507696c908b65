"""The exceptions that every app raises to refuse a request."""

from __future__ import annotations

import copyreg
import re
from typing import Any


class DomainError(Exception):
    """A refusal that a person can act on.

    `code` is the API's stable error code (ERR_…), `title` names the kind of problem, `detail` is a sentence that says
    what to do, `extra` holds values that a client needs. The first three never contain chat text or a name and may be
    logged. `extra` is sent to the caller only and is never logged: it may contain what the caller just sent, such as
    the titles of the chats to choose from.
    """

    code = "ERR_1000"
    status = 500
    title = "Something went wrong"
    #: The last part of the API's `type`, which never changes. Set it when a class gets another name.
    slug = "unexpected"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "slug" not in vars(cls):
            cls.slug = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without a call of the constructor: subclasses have arguments of their own."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class NotFound(DomainError):
    """The object does not exist, or it belongs to another user (404)."""

    code, status, title = "ERR_1002", 404, "Not found"


class Conflict(DomainError):
    """The request conflicts with the current state (409)."""

    code, status, title = "ERR_2001", 409, "Conflict"


class AccountDeleted(DomainError):
    """The account was deleted while the request ran (401). Nothing was stored."""

    code, status, title = "ERR_1003", 401, "The account was deleted"


class StaffAccount(DomainError):
    """The account of a member of staff is not deleted by the API (403)."""

    code, status, title = "ERR_1004", 403, "This is an account of staff"


class RequestTimeout(DomainError):
    """The body arrives too slowly (408)."""

    code, status, title = "ERR_1001", 408, "The request arrives too slowly"


class ServiceBusy(DomainError):
    """Too many large requests arrive at once (503)."""

    code, status, title = "ERR_2002", 503, "The service is busy"


class ChatKeyGone(DomainError):
    """The key of the chat was destroyed or lost, so its text does not open any more (410)."""

    code, status, title = "ERR_2003", 410, "The text can no longer be opened"


class DataUnreadable(DomainError):
    """The keyring does not open what is stored (503)."""

    code, status, title = "ERR_2002", 503, "The data cannot be opened now"

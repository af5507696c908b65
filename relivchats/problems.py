"""Problem documents (RFC 9457): the responses of the API to requests that it refuses, and to errors."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework import exceptions
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.views import APIView

from relivchats.crypto import CannotOpen
from relivchats.errors import ChatKeyGone, DataUnreadable, DomainError
from relivchats.key_store import KeyFileGone
from relivchats.logs import request_id

logger = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"
DATABASE_RETRY_SECONDS = 5


class BadRequest(DomainError):
    """Headers, form or address are malformed (400)."""

    code, status, title = "ERR_1001", 400, "The request cannot be read"


class DatabaseUnavailable(DomainError):
    """The database did not answer in time (503)."""

    code, status, title = "ERR_2002", 503, "The service is busy"


class Unexpected(DomainError):
    """An error of ours (500)."""

    code, status, title = "ERR_1000", 500, "Something went wrong"


class ProblemKind(NamedTuple):
    """What all problems of one type have in common."""

    slug: str
    code: str
    title: str
    #: The detail, if the exception has only the framework's default text.
    advice: str


#: The problems of the framework's exceptions, by status.
KINDS: Mapping[int, ProblemKind] = {
    400: ProblemKind(
        "bad-request",
        "ERR_1001",
        "The request cannot be read",
        "Send well-formed JSON; a file goes as multipart/form-data.",
    ),
    401: ProblemKind(
        "unauthorised",
        "ERR_1003",
        "You are not signed in",
        "Send your token in the header: Authorization: Bearer rc_….",
    ),
    403: ProblemKind("forbidden", "ERR_1004", "This is not allowed", "Sign in as somebody who may do this."),
    404: ProblemKind(
        "not-found", "ERR_1002", "Not found", "There is nothing of yours here. Check the id and the path."
    ),
    405: ProblemKind(
        "method-not-allowed",
        "ERR_1001",
        "This address does not take that method",
        "Use one of the methods in the Allow header.",
    ),
    406: ProblemKind(
        "not-acceptable",
        "ERR_1001",
        "No answer in that format",
        "Leave out the Accept header, or accept application/json (text/csv for a statement).",
    ),
    415: ProblemKind(
        "unsupported-media-type",
        "ERR_1001",
        "The request's format is not read here",
        "Send JSON with Content-Type: application/json; upload files as multipart/form-data.",
    ),
    422: ProblemKind(
        "invalid",
        "ERR_1001",
        "A value is missing or not valid",
        "Correct the values that `errors` points to.",
    ),
    429: ProblemKind(
        "rate-limited",
        "ERR_1005",
        "Too many requests",
        "Wait for the seconds in the Retry-After header, then try again.",
    ),
}


def problem_response(exception: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Return the response to an exception in a view, as DRF's EXCEPTION_HANDLER.

    Return None for an unexpected exception: Django logs it and calls `server_error`.
    """
    if isinstance(exception, DomainError):
        return refusal_response(exception)
    if isinstance(exception, KeyFileGone):
        # Health reports it. One request after another for such a chat is no new error.
        logger.warning("key of a chat is gone")
        return refusal_response(
            ChatKeyGone(
                "The text of this chat can no longer be opened, because its key is gone. You can delete the chat, and"
                " upload its file again."
            )
        )
    if isinstance(exception, CannotOpen):
        logger.error("sealed data does not open", extra={"reason": str(exception)})
        return refusal_response(
            DataUnreadable("This cannot be opened because of a fault on our side. Nothing is lost. Try again later.")
        )
    if isinstance(exception, Http404):
        exception = exceptions.NotFound()
    elif isinstance(exception, PermissionDenied):
        exception = exceptions.PermissionDenied()
    if isinstance(exception, exceptions.ValidationError):
        errors = list(_list_errors(exception.get_full_details(), "#"))
        names = [error["pointer"].removeprefix("#").lstrip("/") for error in errors]
        sentences = [
            f"{n}: {error['message']}" if n else error["message"] for n, error in zip(names, errors, strict=True)
        ]
        # One value may have the same error several times; say it once.
        detail = " ".join(dict.fromkeys(sentences))
        return _problem(KINDS[422], status=422, detail=detail, extra={"errors": errors})
    if isinstance(exception, exceptions.APIException) and exception.status_code in KINDS:
        return _framework_problem(exception, context.get("view"))
    return None


def refusal_response(error: DomainError) -> HttpResponse:
    """Return the problem document of a refusal."""
    kind = ProblemKind(error.slug, error.code, error.title, error.detail)
    response = _problem(kind, status=error.status, detail=error.detail, extra=error.extra)
    _set_retry_after(response, error)
    return response


def _set_retry_after(response: HttpResponse, error: DomainError) -> None:
    if seconds := error.extra.get("retry_after_seconds"):
        response["Retry-After"] = str(int(seconds))


def _framework_problem(exception: exceptions.APIException, view: APIView | None = None) -> HttpResponse:
    kind = KINDS[exception.status_code]
    # The framework's default text is replaced by our advice; a sentence that our code passed to the exception is kept.
    framework_only = (
        exceptions.MethodNotAllowed,
        exceptions.UnsupportedMediaType,
        exceptions.Throttled,
        exceptions.ParseError,
    )
    has_own_sentence = not isinstance(exception, framework_only) and exception.detail != type(exception)().detail
    detail = str(exception.detail) if has_own_sentence else kind.advice
    response = _problem(kind, status=exception.status_code, detail=detail)
    if header := getattr(exception, "auth_header", None):
        response["WWW-Authenticate"] = header
    if wait := getattr(exception, "wait", None):
        response["Retry-After"] = str(int(wait))
    if isinstance(exception, exceptions.MethodNotAllowed) and view is not None:
        response["Allow"] = ", ".join(view.allowed_methods)
    return response


def _list_errors(details: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Yield each error with a JSON pointer (RFC 6901, as a fragment) to the value that has it."""
    if isinstance(details, dict) and isinstance(details.get("message"), str) and isinstance(details.get("code"), str):
        yield {"pointer": pointer, "code": details["code"], "message": details["message"]}
    elif isinstance(details, dict):
        for name, inner in details.items():
            yield from _list_errors(inner, pointer if name == "non_field_errors" else f"{pointer}/{name}")
    elif isinstance(details, list):
        for number, inner in enumerate(details):
            is_error = isinstance(inner, dict) and isinstance(inner.get("message"), str)
            yield from _list_errors(inner, pointer if is_error else f"{pointer}/{number}")


def _problem(kind: ProblemKind, *, status: int, detail: str, extra: Mapping[str, Any] | None = None) -> HttpResponse:
    document = {**members(kind, status=status, detail=detail), "request_id": request_id.get()}
    document |= {name: value for name, value in (extra or {}).items() if name not in document}
    body = JSONEncoder(ensure_ascii=False).encode(document).replace("<", r"\u003c") + "\n"
    return HttpResponse(body, status=status, content_type=PROBLEM_TYPE)


def members(kind: ProblemKind, *, status: int, detail: str) -> dict[str, Any]:
    """Return the members of every problem document, without the request id."""
    return {
        "type": f"urn:relivchats:problem:{kind.slug}",
        "title": kind.title,
        "status": status,
        "detail": detail,
        "error_code": kind.code,
        "support_email": settings.SUPPORT_EMAIL,
    }


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _refuse(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Return the page of a refusal or, for an API address, the problem document."""
    if _is_api(request):
        return refusal_response(error)
    # Without the request: what it adds to the context, such as the user, may need a database that is down.
    response = HttpResponse(render_to_string("refused.html", {"refusal": error}), status=error.status)
    _set_retry_after(response, error)
    return response


class RefusalMiddleware:
    """Answer a DomainError of a page outside the API, such as a login after too many failures, with a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response unchanged: only exceptions matter here."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the page or, for an API address, the problem document. Return None for any other exception."""
        if not isinstance(exception, DomainError):
            return None
        return _refuse(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Return the response to a malformed request."""
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    return refusal_response(
        BadRequest("Something in the request's headers, form or address is malformed. Check how it is sent.")
    )


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Return the response to a request that is not allowed."""
    if not _is_api(request):
        return defaults.permission_denied(request, exception)
    return _framework_problem(exceptions.PermissionDenied())


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Return the response to an unknown address."""
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    return _framework_problem(exceptions.NotFound("There is nothing at this address. /api/docs lists every address."))


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Return the response to an unexpected exception, without revealing it. Django has logged it once."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return _refuse(
            request,
            DatabaseUnavailable(
                "The database did not answer in time. Try again in a few seconds.",
                retry_after_seconds=DATABASE_RETRY_SECONDS,
            ),
        )
    if not _is_api(request):
        return defaults.server_error(request)
    return refusal_response(
        Unexpected("This is our fault. Try again. If it happens again, write to us and include the request_id.")
    )

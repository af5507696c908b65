"""Problem documents (RFC 9457): what the API answers when it must refuse, or when it fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views import defaults
from rest_framework import exceptions
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.views import APIView

from relivchats.errors import DomainError
from relivchats.logs import request_id

PROBLEM_TYPE = "application/problem+json"
DATABASE_RETRY_SECONDS = 5


class BadRequest(DomainError):
    code, status, title = "ERR_1001", 400, "The request cannot be read"


class DatabaseUnavailable(DomainError):
    code, status, title = "ERR_2002", 503, "The service is busy"


class Unexpected(DomainError):
    code, status, title = "ERR_1000", 500, "Something went wrong"


class Kind(NamedTuple):
    slug: str
    code: str
    title: str
    #: what to do, where the framework's exception has no better word
    advice: str


#: The framework's refusals by status.
KINDS: Mapping[int, Kind] = {
    400: Kind(
        "bad-request",
        "ERR_1001",
        "The request cannot be read",
        "Send well-formed JSON; a file goes as multipart/form-data.",
    ),
    401: Kind(
        "unauthorised",
        "ERR_1003",
        "You are not signed in",
        "Send your token in the header: Authorization: Bearer rc_….",
    ),
    403: Kind("forbidden", "ERR_1004", "This is not allowed", "Sign in as somebody who may do this."),
    404: Kind("not-found", "ERR_1002", "Not found", "There is nothing of yours here. Check the id and the path."),
    405: Kind(
        "method-not-allowed",
        "ERR_1001",
        "This address does not take that method",
        "Use one of the methods in the Allow header.",
    ),
    406: Kind(
        "not-acceptable",
        "ERR_1001",
        "No answer in that format",
        "Leave the Accept header out, or ask for what is there: application/json, or text/csv where a file is given.",
    ),
    415: Kind(
        "unsupported-media-type",
        "ERR_1001",
        "The request's format is not read here",
        "Send JSON with Content-Type: application/json; upload files as multipart/form-data.",
    ),
    422: Kind(
        "invalid",
        "ERR_1001",
        "A value is missing or not valid",
        "Mend the values that `errors` points to.",
    ),
    429: Kind(
        "rate-limited",
        "ERR_1005",
        "Too many requests",
        "Wait for the seconds in the Retry-After header, then try again.",
    ),
}


def problem_response(exception: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """The framework's EXCEPTION_HANDLER. None for the unexpected, which Django logs and hands to `server_error`."""
    if isinstance(exception, DomainError):
        return _refusal(exception)
    if isinstance(exception, Http404):
        exception = exceptions.NotFound()
    elif isinstance(exception, PermissionDenied):
        exception = exceptions.PermissionDenied()
    if isinstance(exception, exceptions.ValidationError):
        return _invalid(exception)
    if isinstance(exception, exceptions.APIException) and exception.status_code in KINDS:
        return _of_framework(exception, context.get("view"))
    return None


def _refusal(error: DomainError) -> HttpResponse:
    kind = Kind(error.slug, error.code, error.title, error.detail)
    response = _problem(kind, status=error.status, detail=error.detail, extra=error.extra)
    _set_retry_after(response, error)
    return response


def _set_retry_after(response: HttpResponse, error: DomainError) -> None:
    if seconds := error.extra.get("retry_after_seconds"):
        response["Retry-After"] = str(int(seconds))


def _of_framework(exception: exceptions.APIException, view: APIView | None = None) -> HttpResponse:
    kind = KINDS[exception.status_code]
    detail = str(exception.detail) if _has_own_words(exception) else kind.advice
    response = _problem(kind, status=exception.status_code, detail=detail)
    if header := getattr(exception, "auth_header", None):
        response["WWW-Authenticate"] = header
    if wait := getattr(exception, "wait", None):
        response["Retry-After"] = str(int(wait))
    if isinstance(exception, exceptions.MethodNotAllowed) and view is not None:
        response["Allow"] = ", ".join(view.allowed_methods)
    return response


def _has_own_words(exception: exceptions.APIException) -> bool:
    """Whether we raised it with a sentence of ours, rather than the framework with its default."""
    stock = (exceptions.MethodNotAllowed, exceptions.UnsupportedMediaType, exceptions.Throttled, exceptions.ParseError)
    return not isinstance(exception, stock) and exception.detail != type(exception)().detail


def _invalid(exception: exceptions.ValidationError) -> HttpResponse:
    errors = list(_faults(exception.get_full_details(), "#"))
    detail = " ".join(dict.fromkeys(map(_sentence, errors)))
    return _problem(KINDS[422], status=422, detail=detail, extra={"errors": errors})


def _faults(details: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Each fault with a JSON pointer (RFC 6901, as a fragment) to the value that has it."""
    if isinstance(details, dict) and isinstance(details.get("message"), str) and isinstance(details.get("code"), str):
        yield {"pointer": pointer, "code": details["code"], "message": details["message"]}
    elif isinstance(details, dict):
        for name, inner in details.items():
            yield from _faults(inner, pointer if name == "non_field_errors" else f"{pointer}/{name}")
    elif isinstance(details, list):
        for number, inner in enumerate(details):
            is_fault = isinstance(inner, dict) and isinstance(inner.get("message"), str)
            yield from _faults(inner, pointer if is_fault else f"{pointer}/{number}")


def _sentence(error: Mapping[str, str]) -> str:
    name = error["pointer"].removeprefix("#").lstrip("/")
    return f"{name}: {error['message']}" if name else error["message"]


def _problem(kind: Kind, *, status: int, detail: str, extra: Mapping[str, Any] | None = None) -> HttpResponse:
    document = {**members(kind, status=status, detail=detail), "request_id": request_id.get()}
    document |= {name: value for name, value in (extra or {}).items() if name not in document}
    body = JSONEncoder(ensure_ascii=False).encode(document) + "\n"
    return HttpResponse(body, status=status, content_type=PROBLEM_TYPE)


def members(kind: Kind, *, status: int, detail: str) -> dict[str, Any]:
    """What every problem document says."""
    return {
        "type": f"urn:relivchats:problem:{kind.slug}",
        "title": kind.title,
        "status": status,
        "detail": detail,
        "error_code": kind.code,
        "support_email": settings.SUPPORT_EMAIL,
    }


class RefusalMiddleware:
    """Answer a DomainError of a page outside the API, such as a login after too many failures, with a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the page or, for an API address, the problem document. Return None for any other exception."""
        if not isinstance(exception, DomainError):
            return None
        if _is_api(request):
            return _refusal(exception)
        response = render(request, "refused.html", {"refusal": exception}, status=exception.status)
        _set_retry_after(response, exception)
        return response


# Django's own error handlers, named in relivchats.urls


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    return _refusal(
        BadRequest("Something in the request's headers, form or address is malformed. Check how it is sent.")
    )


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.permission_denied(request, exception)
    return _of_framework(exceptions.PermissionDenied())


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    return _of_framework(exceptions.NotFound("There is nothing at this address. /api/docs lists every address."))


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Called while the exception is handled, which Django logs once. The answer reveals nothing of it."""
    if not _is_api(request):
        return defaults.server_error(request)
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return _refusal(
            DatabaseUnavailable(
                "The database did not answer in time. Try again in a few seconds.",
                retry_after_seconds=DATABASE_RETRY_SECONDS,
            )
        )
    return _refusal(Unexpected("This is our fault. Try again; if it stays, write to us and name the request_id."))

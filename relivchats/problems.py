"""Problem documents (RFC 9457): what the API answers when it must refuse, or when it fails."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.views import defaults
from rest_framework import exceptions
from rest_framework.utils.encoders import JSONEncoder

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


# status of the framework's exception: the slug of its type, error code, title, what to do (where it has no better word)
_KINDS: dict[int, tuple[str, str, str, str]] = {
    400: (
        "bad-request",
        "ERR_1001",
        "The request cannot be read",
        "Send well-formed JSON; a file goes as multipart/form-data.",
    ),
    401: (
        "unauthorised",
        "ERR_1003",
        "You are not signed in",
        "Send your token in the header: Authorization: Bearer rc_….",
    ),
    403: ("forbidden", "ERR_1004", "This is not allowed", "Sign in as somebody who may do this."),
    404: (
        "not-found",
        "ERR_1002",
        "Not found",
        "There is nothing of yours at this address. Check the id and the path.",
    ),
    405: (
        "method-not-allowed",
        "ERR_1001",
        "This address does not take that method",
        "Use one of the methods in the Allow header.",
    ),
    406: (
        "not-acceptable",
        "ERR_1001",
        "No answer in that format",
        "Ask for application/json, or leave the Accept header out.",
    ),
    415: (
        "unsupported-media-type",
        "ERR_1001",
        "The request's format is not read here",
        "Send JSON with Content-Type: application/json; upload files as multipart/form-data.",
    ),
    429: (
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
    if isinstance(exception, exceptions.APIException):
        return _of_framework(exception, context)
    return None


def _refusal(error: DomainError) -> HttpResponse:
    response = problem(
        status=error.status,
        slug=re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(error).__name__).lower(),
        code=error.code,
        title=error.title,
        detail=error.detail,
        extra=error.extra,
    )
    if seconds := error.extra.get("retry_after_seconds"):
        response["Retry-After"] = str(int(seconds))
    return response


def _of_framework(exception: exceptions.APIException, context: Mapping[str, Any]) -> HttpResponse:
    status = exception.status_code
    if status not in _KINDS:
        return _refusal(Unexpected())
    slug, code, title, advice = _KINDS[status]
    own_words = isinstance(exception, exceptions.AuthenticationFailed) or _differs(exception)
    response = problem(
        status=status, slug=slug, code=code, title=title, detail=str(exception.detail) if own_words else advice
    )
    if header := getattr(exception, "auth_header", None):
        response["WWW-Authenticate"] = header
    if wait := getattr(exception, "wait", None):
        response["Retry-After"] = str(int(wait))
    if status == 405 and (view := context.get("view")):
        response["Allow"] = ", ".join(view.allowed_methods)
    return response


def _differs(exception: exceptions.APIException) -> bool:
    """Whether whoever raised it said more than the framework's default words."""
    stock = (exceptions.MethodNotAllowed, exceptions.UnsupportedMediaType, exceptions.Throttled, exceptions.ParseError)
    return not isinstance(exception, stock) and exception.detail != type(exception)().detail


def _invalid(exception: exceptions.ValidationError) -> HttpResponse:
    errors = list(_faults(exception.get_full_details(), "#"))
    return problem(
        status=422,
        slug="invalid",
        code="ERR_1001",
        title="A value is missing or not valid",
        detail=" ".join(dict.fromkeys(_sentence(error) for error in errors)),
        extra={"errors": errors},
    )


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


def problem(
    *, status: int, slug: str, code: str, title: str, detail: str, extra: Mapping[str, Any] | None = None
) -> HttpResponse:
    document = {
        **(extra or {}),
        "type": f"urn:relivchats:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "error_code": code,
        "request_id": request_id.get(),
        "support_email": settings.SUPPORT_EMAIL,
    }
    body = JSONEncoder(ensure_ascii=False).encode(document)  # type: ignore[no-untyped-call]
    return HttpResponse(body, status=status, content_type=PROBLEM_TYPE)


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
    return _of_framework(exceptions.PermissionDenied(), {})


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    return _of_framework(exceptions.NotFound("There is nothing at this address. /api/docs lists every address."), {})


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

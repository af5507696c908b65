"""What the API's views share: bounded JSON, pages, conditional answers. `relivchats.problems` has the refusals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError as InvalidValue
from django.db import DataError
from django.http import HttpResponseBase, HttpResponseNotModified
from django.utils.http import parse_etags
from rest_framework import exceptions, serializers
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.mediatypes import media_type_matches

from relivchats.errors import DomainError

if TYPE_CHECKING:
    # The framework's views read these classes from the settings while they are being defined.
    from rest_framework.views import APIView

    from relivchats.accounts.models import User

JSON_LIMIT_BYTES = 64 * 1024
_UNKNOWN_SHOWN = 10


class RequestTooLarge(DomainError):
    code, status, title = "ERR_1001", 413, "The request is too large"


class LengthRequired(DomainError):
    code, status, title = "ERR_1001", 411, "The length of the request is not known"


def person(request: Request) -> User:
    """Who asks, in views that nobody enters without a token."""
    return cast("User", request.user)


def body(request: Request) -> Any:
    """What the request holds, parsed. JSON of this API is small: a larger body is refused before it is read."""
    check_length(request)
    is_json = media_type_matches(StrictJSONParser.media_type, request.content_type)
    if is_json and int(request.META.get("CONTENT_LENGTH") or 0) > JSON_LIMIT_BYTES:
        raise RequestTooLarge(f"Send at most {JSON_LIMIT_BYTES // 1024} KB of JSON.", limit_bytes=JSON_LIMIT_BYTES)
    return request.data


def check_length(request: Request) -> None:
    """Refuse a body of undeclared length: Django would read it as none."""
    if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
        raise LengthRequired("Send the header Content-Length, not a body in chunks.")


class StrictJSONParser(JSONParser):
    """An object, and JSON as its standard has it; a bottomless one is refused, too."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        try:
            value = json.loads(stream.read().decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise exceptions.ParseError from None
        if not isinstance(value, dict):
            raise exceptions.ValidationError("Send a JSON object: names and values in braces.")
        return value


class LineRenderer(JSONRenderer):
    """JSON that ends with a line break, so that the next prompt of a terminal starts on its own line."""

    def render(self, *args: Any, **kwargs: Any) -> bytes:
        """Return the body, or no bytes if there is none."""
        body: bytes = super().render(*args, **kwargs)
        return body + b"\n" if body else body


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class IdField(serializers.UUIDField):
    """A UUID as text. The framework's field takes a whole number for one, too."""

    default_error_messages = {"invalid": "This is not an id. Send one as it stands in an answer of the API."}

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class WordField(serializers.SlugField):
    """An id in letters, as text. The framework's field takes a number for one, too."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ClosedSerializer(serializers.Serializer[Any]):
    """Refuses what it does not know: a misspelt wish must not look as if it had come true."""

    #: Said by clients that mean nothing by it here.
    passed_over: frozenset[str] = frozenset()

    def to_internal_value(self, data: Any) -> Any:
        known_names = self.passed_over.union(self.fields)
        if isinstance(data, Mapping) and (unknown := [name for name in data if name not in known_names]):
            known = ", ".join(self.fields)
            raise exceptions.ValidationError(
                dict.fromkeys(unknown[:_UNKNOWN_SHOWN], f"There is no such field. Those there are: {known}."),
                code="unknown",
            )
        return super().to_internal_value(data)


class Pages(CursorPagination):
    """`{next, previous, results}`, newest first. `next` and `previous` are addresses, or null at the ends.

    A view of another order subclasses this and sets `ordering`, whose fields together are unique.
    """

    page_size = 20
    max_page_size = 100
    page_size_query_param = "limit"
    page_size_query_description = "How many to a page, from 1 to 100."
    cursor_query_description = "Where a page starts: leave it out, then follow `next`."
    ordering = ("-created_at", "-id")

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get("limit")
        if text is None:
            return self.page_size
        limit = serializers.IntegerField(min_value=1, max_value=self.max_page_size)
        try:
            return int(limit.run_validation(text))
        except exceptions.ValidationError as error:
            raise exceptions.ValidationError({"limit": error.detail}) from None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        address = {"type": ["string", "null"], "format": "uri"}
        later = {**address, "example": "https://relivchats.example/api/…?cursor=cD0yMDI2"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": later, "previous": {**address, "example": None}, "results": schema},
        }

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (exceptions.NotFound, InvalidValue, DataError, ValueError):
            raise exceptions.ValidationError(
                {"cursor": "This cursor is not one of ours. Start again without it."}, code="invalid_cursor"
            ) from None


def conditional(request: Request, *version: object, answer: Callable[[], Response]) -> HttpResponseBase:
    """304 when the caller holds this version already, without the work of `answer`; else the answer with its ETag.

    `version` is everything the answer depends on.
    """
    parts = repr((settings.SPECTACULAR_SETTINGS["VERSION"], *version))
    etag = f'"{hashlib.sha256(parts.encode()).hexdigest()[:32]}"'
    response = HttpResponseNotModified() if _holds(request, etag) else answer()
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    return response


def _holds(request: Request, etag: str) -> bool:
    held = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in held or etag in (one.removeprefix("W/") for one in held)

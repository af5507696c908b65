"""What all views of the API share: parsing, pagination, ETags. Errors are in `relivchats.problems`."""

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
from rest_framework.utils.mediatypes import media_type_matches

from relivchats.errors import DomainError

if TYPE_CHECKING:
    # The framework's views read these classes from the settings while they are being defined.
    from rest_framework.views import APIView

    from relivchats.accounts.models import User

JSON_LIMIT_BYTES = 64 * 1024
_UNKNOWN_SHOWN = 10


class RequestTooLarge(DomainError):
    """The body is larger than the limit (413)."""

    code, status, title = "ERR_1001", 413, "The request is too large"


class LengthRequired(DomainError):
    """The body has no Content-Length (411)."""

    code, status, title = "ERR_1001", 411, "The length of the request is not known"


def authenticated_user(request: Request) -> User:
    """Return the user of a request whose view requires authentication."""
    return cast("User", request.user)


def parse_body(request: Request) -> Any:
    """Return the parsed body. Raise RequestTooLarge for JSON above 64 KB before it is read, and LengthRequired."""
    check_length(request)
    # Other formats are bounded elsewhere: a form by the upload handler.
    is_json = media_type_matches(StrictJSONParser.media_type, request.content_type)
    if is_json and int(request.META.get("CONTENT_LENGTH") or 0) > JSON_LIMIT_BYTES:
        raise RequestTooLarge(f"Send at most {JSON_LIMIT_BYTES // 1024} KB of JSON.", limit_bytes=JSON_LIMIT_BYTES)
    return request.data


def check_length(request: Request) -> None:
    """Raise LengthRequired for a body of undeclared length, which Django would read as empty."""
    if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
        raise LengthRequired("Send the header Content-Length, not a body in chunks.")


class StrictJSONParser(JSONParser):
    """Parses a JSON object strictly: NaN, Infinity and excessive nesting are rejected."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return the object. Raise ParseError, or ValidationError if it is JSON but not an object."""
        try:
            value = json.loads(stream.read().decode(), parse_constant=_reject_constant)
            # "\\ud800" is valid JSON, but no text: no response could repeat it, and no column could store it.
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise exceptions.ValidationError("A text contains half of a character (a lone surrogate).") from None
        except (ValueError, RecursionError):
            raise exceptions.ParseError from None
        if not isinstance(value, dict):
            raise exceptions.ValidationError("Send a JSON object: names and values in braces.")
        return value


class LineRenderer(JSONRenderer):
    """JSON that ends with a line break, so that the next prompt of a terminal starts on its own line.

    `<` is escaped, so that no browser can take a message for markup, whatever it takes the document for.
    """

    def render(self, *args: Any, **kwargs: Any) -> bytes:
        """Return the body, or no bytes if there is none."""
        body: bytes = super().render(*args, **kwargs)
        return body.replace(b"<", rb"\u003c") + b"\n" if body else body


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class IdField(serializers.UUIDField):
    """A UUID as text. Unlike the base class, it rejects a whole number."""

    default_error_messages = {"invalid": "This is not an id. Send an id as the API returned it."}

    def to_internal_value(self, data: Any) -> UUID:
        """Return the UUID. Raise ValidationError."""
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class SlugTextField(serializers.SlugField):
    """A slug, as text: letters, digits, hyphens and underscores. Unlike the base class, it rejects a JSON number."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text. Raise ValidationError."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ClosedSerializer(serializers.Serializer[Any]):
    """A serializer that rejects unknown fields: a misspelt field must not look as if it had an effect."""

    #: Unknown fields that are ignored, because existing clients send them.
    ignored_fields: frozenset[str] = frozenset()

    def to_internal_value(self, data: Any) -> Any:
        """Return the valid values. Raise ValidationError for unknown fields."""
        known_names = self.ignored_fields.union(self.fields)
        if isinstance(data, Mapping) and (unknown := [name for name in data if name not in known_names]):
            known = ", ".join(self.fields)
            raise exceptions.ValidationError(
                dict.fromkeys(unknown[:_UNKNOWN_SHOWN], f"There is no such field. The fields are: {known}."),
                code="unknown",
            )
        return super().to_internal_value(data)


class Pages(CursorPagination):
    """Cursor pagination: `{next, previous, results}`, newest first. `next` and `previous` are URLs or null.

    A view with another order subclasses this and sets `ordering` to fields that are unique together.
    """

    page_size = 20
    max_page_size = 100
    page_size_query_param = "limit"
    page_size_query_description = "Results per page, from 1 to 100."
    cursor_query_description = "The start of the page. Omit it for the first page, then follow `next`."
    ordering = ("-created_at", "-id")

    def get_page_size(self, request: Request) -> int:
        """Return the parameter `limit`, or the default. Raise ValidationError if it is not from 1 to 100."""
        text = request.query_params.get("limit")
        if text is None:
            return self.page_size
        limit = serializers.IntegerField(min_value=1, max_value=self.max_page_size)
        try:
            return int(limit.run_validation(text))
        except exceptions.ValidationError as error:
            raise exceptions.ValidationError({"limit": error.detail}) from None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the OpenAPI schema of a page."""
        address = {"type": ["string", "null"], "format": "uri"}
        following = {**address, "example": "https://relivchats.example/api/…?cursor=cD0yMDI2"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": following, "previous": {**address, "example": None}, "results": schema},
        }

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:
        """Return the rows of the page. Raise ValidationError if the cursor is not one of ours."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (exceptions.NotFound, InvalidValue, DataError, ValueError):
            raise exceptions.ValidationError(
                {"cursor": "This cursor is not one of ours. Start again without it."}, code="invalid_cursor"
            ) from None


def represent(serializer_class: type[serializers.BaseSerializer[Any]], row: Any) -> Any:
    """Return what a serializer that needs no context shows of a row.

    Its fields are built once in a process: to build them takes longer than to read them.
    """
    if serializer_class not in _serializers:
        _serializers[serializer_class] = serializer_class()
    return _serializers[serializer_class].to_representation(row)


_serializers: dict[type[serializers.BaseSerializer[Any]], serializers.BaseSerializer[Any]] = {}


def conditional_response(
    request: Request, *version: object, answer: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    """Return 304 if the client has this version, without calling `answer`; otherwise the answer with its ETag.

    `version` is everything that the answer depends on.
    """
    parts = repr((settings.SPECTACULAR_SETTINGS["VERSION"], *version))
    etag = f'"{hashlib.sha256(parts.encode()).hexdigest()[:32]}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    # A proxy that compresses the response makes the ETag weak (W/).
    is_current = "*" in known or etag in (one.removeprefix("W/") for one in known)
    response = HttpResponseNotModified() if is_current else answer()
    response["ETag"] = etag
    return response

"""The OpenAPI schema: the view that serves it, and descriptions that several operations share, above all errors."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from relivchats import throttling
from relivchats.problems import KINDS, PROBLEM_TYPE, ProblemKind, members
from relivchats.rest import conditional_response

if TYPE_CHECKING:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import Direction


class ClosedSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Declare for every ClosedSerializer that it accepts no other fields."""

    target_class = "relivchats.rest.ClosedSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        """Return the schema with `additionalProperties: false`."""
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # type: ignore[no-untyped-call]
        return {**schema, "additionalProperties": False}


def describe_rate_limits(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the headers of rate limits to the operations that have one. A hook of drf-spectacular."""
    result["components"]["headers"] = {
        name: {"schema": {"type": "integer"}, "description": description}
        for name, description in throttling.HEADERS.items()
    }
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in throttling.HEADERS}
    for methods in result["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if "429" in operation["responses"] and status in ("200", "201", "202", "429"):
                    response["headers"] = {**response.get("headers", {}), **headers}
    return result


class FieldErrorSerializer(serializers.Serializer[Any]):
    """One value that is not valid."""

    pointer = serializers.CharField(help_text="Where the value is: a JSON pointer as a fragment, such as `#/chat_id`.")
    code = serializers.CharField(help_text="The error's short name, such as `required`.")
    message = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457. Some problems add members of their own, such as `required`, `available` and `deficit` to a 402."""

    type = serializers.CharField(help_text="Names the kind of problem; never changes.")
    title = serializers.CharField(help_text="The kind of problem in plain words.")
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What to do about it.")
    error_code = serializers.CharField(help_text="ERR_ and four digits; several kinds may share one.")
    request_id = serializers.CharField(help_text="Name it when you write to support.")
    support_email = serializers.EmailField()
    errors = FieldErrorSerializer(  # type: ignore[assignment]
        many=True,
        required=False,
        help_text="Each value that is not valid, with a 422 of type `invalid`, `unknown-language` or `nothing-asked`.",
    )


class _DocumentedProblem(NamedTuple):
    meaning: str
    kind: ProblemKind
    extra: Mapping[str, Any] = {}


_PROBLEMS: Mapping[int, _DocumentedProblem] = {
    400: _DocumentedProblem("The request cannot be read.", KINDS[400]),
    401: _DocumentedProblem("No token, or one that is unknown or revoked.", KINDS[401]),
    402: _DocumentedProblem(
        "Too few coins are free to spend.",
        ProblemKind("insufficient-coins", "ERR_3000", "Not enough coins", ""),
        {"required": 400, "available": 50, "deficit": 350},
    ),
    403: _DocumentedProblem("This is not allowed.", KINDS[403]),
    404: _DocumentedProblem("It does not exist, or it belongs to somebody else.", KINDS[404]),
    409: _DocumentedProblem(
        "The request conflicts with the current state.", ProblemKind("conflict", "ERR_2001", "Conflict", "")
    ),
    410: _DocumentedProblem(
        "The text of the chat can no longer be opened, because its key is gone: `is_key_gone` of the chat is true.",
        ProblemKind("chat-key-gone", "ERR_2003", "The text can no longer be opened", ""),
    ),
    411: _DocumentedProblem(
        "The request does not declare its length.",
        ProblemKind("length-required", "ERR_1001", "The length of the request is not known", ""),
    ),
    413: _DocumentedProblem(
        "The request is larger than the limit.",
        ProblemKind("request-too-large", "ERR_1001", "The request is too large", ""),
    ),
    415: _DocumentedProblem("A format that is not supported here.", KINDS[415]),
    422: _DocumentedProblem(
        "A value is missing or not valid.",
        KINDS[422],
        {"errors": [{"pointer": "#/chat_id", "code": "required", "message": "This field is required."}]},
    ),
    429: _DocumentedProblem("Too many requests: Retry-After says when to send it again.", KINDS[429]),
    502: _DocumentedProblem(
        "Another service refused.",
        ProblemKind("provider-refused", "ERR_3007", "The payment provider refused", ""),
    ),
    503: _DocumentedProblem(
        "The database did not answer in time: Retry-After says when to try again.",
        ProblemKind("database-unavailable", "ERR_2002", "The service is busy", ""),
    ),
}


#: The response 304 of operations that support If-None-Match.
UNCHANGED = {304: OpenApiResponse(description="You have this version already: If-None-Match named its ETag.")}


def example(name: str, value: Any, *, status: int = 200) -> OpenApiExample:
    """Return an example response, for `extend_schema(examples=…)`."""
    return OpenApiExample(name, value=value, response_only=True, status_codes=[str(status)])


def problems(*statuses: int, **descriptions: str) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the errors of an operation, for `extend_schema(responses=…)`.

    `_422="…"` describes the status here. Every operation has 429 and 503, unless the description is empty.
    """
    named = {int(name[1:]): description for name, description in descriptions.items()}
    return {
        (status, PROBLEM_TYPE): _documented(status, named.get(status))
        for status in sorted({*statuses, *named, 429, 503})
        if named.get(status) != ""
    }


def _documented(status: int, description: str | None) -> OpenApiResponse:
    documented = _PROBLEMS[status]
    document = {
        **documented.extra,
        **members(documented.kind, status=status, detail=documented.kind.advice or documented.meaning),
        "request_id": "4f0c2f5ad37c4b6c8f5a0e3f0d1b2c3d",
        "support_email": "support@relivchats.com",
    }
    return OpenApiResponse(
        ProblemSerializer,
        description=description or documented.meaning,
        examples=[example(documented.kind.title, document, status=status)],
    )


@functools.cache
def _read_schema() -> bytes:
    return (settings.BASE_DIR / "openapi.json").read_bytes()


class SchemaView(APIView):
    """GET /api/schema: the committed openapi.json. Generating it takes a second of processor time, on every request."""

    authentication_classes = ()
    permission_classes = ()

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Ignore the Accept header: there is one format."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponseBase:
        """Return the schema, or 304."""
        schema = _read_schema()

        def answer() -> HttpResponse:
            return HttpResponse(
                schema,
                content_type="application/vnd.oai.openapi+json",
                headers={"Cache-Control": "public, max-age=300"},
            )

        return conditional_response(request, schema, answer=answer)

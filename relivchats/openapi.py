"""How operations are described: the errors they share, written once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from relivchats.problems import KINDS, PROBLEM_TYPE, Kind, members

if TYPE_CHECKING:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import Direction


class ClosedSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Says of every closed serializer that it takes no other fields."""

    target_class = "relivchats.rest.ClosedSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # type: ignore[no-untyped-call]
        return {**schema, "additionalProperties": False}


class FaultSerializer(serializers.Serializer[Any]):
    pointer = serializers.CharField(help_text="Where the value is: a JSON pointer as a fragment, such as `#/chat_id`.")
    code = serializers.CharField(help_text="The fault's short name, such as `required`.")
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
    errors = FaultSerializer(  # type: ignore[assignment]
        many=True, required=False, help_text="With 422: each value at fault."
    )


class _Shown(NamedTuple):
    meaning: str
    kind: Kind
    extra: Mapping[str, Any] = {}


_SHOWN: Mapping[int, _Shown] = {
    400: _Shown("The request cannot be read.", KINDS[400]),
    401: _Shown("No token, or one that is not known.", KINDS[401]),
    402: _Shown(
        "Too few coins are free to spend.",
        Kind("insufficient-coins", "ERR_3000", "Not enough coins", ""),
        {"required": 400, "available": 50, "deficit": 350},
    ),
    404: _Shown("There is none, or it is somebody else's.", KINDS[404]),
    409: _Shown("Something is in the way.", Kind("conflict", "ERR_2001", "Conflict", "")),
    411: _Shown(
        "The request does not declare its length.",
        Kind("length-required", "ERR_1001", "The length of the request is not known", ""),
    ),
    413: _Shown(
        "More bytes than are read here.", Kind("request-too-large", "ERR_1001", "The request is too large", "")
    ),
    415: _Shown("A format that is not read here.", KINDS[415]),
    422: _Shown(
        "A value is missing or not valid.",
        KINDS[422],
        {"errors": [{"pointer": "#/chat_id", "code": "required", "message": "This field is required."}]},
    ),
    429: _Shown("More requests than are taken: Retry-After says when to send it again.", KINDS[429]),
    502: _Shown(
        "Another service refused.",
        Kind("provider-refused", "ERR_3007", "The payment provider refused", ""),
    ),
    503: _Shown(
        "The database did not answer in time: Retry-After says when to try again.",
        Kind("database-unavailable", "ERR_2002", "The service is busy", ""),
    ),
}


#: For operations that support ETag and If-None-Match.
UNCHANGED = {304: OpenApiResponse(description="You hold this version already: If-None-Match named its ETag.")}


def example(name: str, value: Any, *, status: int = 200) -> OpenApiExample:
    """What an operation answers, for `extend_schema(examples=…)`."""
    return OpenApiExample(name, value=value, response_only=True, status_codes=[str(status)])


def problems(*statuses: int, **descriptions: str) -> dict[tuple[int, str], OpenApiResponse]:
    """The errors of an operation, for `extend_schema(responses=…)`. `_422="…"` says what the status means here."""
    return {
        (status, PROBLEM_TYPE): _documented(status, descriptions.get(f"_{status}"))
        for status in sorted({*statuses, *(int(name[1:]) for name in descriptions), 503})
    }


def _documented(status: int, description: str | None) -> OpenApiResponse:
    shown = _SHOWN[status]
    document = {
        **shown.extra,
        **members(shown.kind, status=status, detail=shown.kind.advice or shown.meaning),
        "request_id": "4f0c2f5ad37c4b6c8f5a0e3f0d1b2c3d",
        "support_email": "support@relivchats.com",
    }
    return OpenApiResponse(
        ProblemSerializer,
        description=description or shown.meaning,
        examples=[example(shown.kind.title, document, status=status)],
    )

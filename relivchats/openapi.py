"""How operations are described: the errors they share, written once."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from relivchats.problems import PROBLEM_TYPE


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
    errors = FaultSerializer(many=True, required=False, help_text="With 422: each value at fault.")


_MEANINGS: dict[int, tuple[str, str, str, str, dict[str, Any]]] = {
    400: ("The request cannot be read.", "bad-request", "ERR_1001", "The request cannot be read", {}),
    401: ("No token, or one that is not known.", "unauthorised", "ERR_1003", "You are not signed in", {}),
    402: (
        "Too few coins are free to spend.",
        "insufficient-coins",
        "ERR_3000",
        "Not enough coins",
        {"required": 400, "available": 50, "deficit": 350},
    ),
    404: ("There is none, or it is somebody else's.", "not-found", "ERR_1002", "Not found", {}),
    409: ("Something is in the way.", "conflict", "ERR_2001", "Conflict", {}),
    413: ("More bytes than this takes.", "request-too-large", "ERR_1001", "The request is too large", {}),
    415: (
        "A format that is not read here.",
        "unsupported-media-type",
        "ERR_1001",
        "The request's format is not read",
        {},
    ),
    422: (
        "A value is missing or not valid.",
        "invalid",
        "ERR_1001",
        "A value is missing or not valid",
        {"errors": [{"pointer": "#/chat_id", "code": "required", "message": "This field is required."}]},
    ),
    503: ("The database did not answer in time.", "database-unavailable", "ERR_2002", "The service is busy", {}),
}


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
    meaning, slug, code, title, extra = _MEANINGS[status]
    document = {
        **extra,
        "type": f"urn:relivchats:problem:{slug}",
        "title": title,
        "status": status,
        "detail": description or meaning,
        "error_code": code,
        "request_id": "4f0c2f5ad37c4b6c8f5a0e3f0d1b2c3d",
        "support_email": "support@relivchats.com",
    }
    return OpenApiResponse(
        ProblemSerializer,
        description=description or meaning,
        examples=[example(title, document, status=status)],
    )

"""The languages that requests ask for: in a body, in the query, else in the client's header."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation.trans_real import parse_accept_lang_header
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from insights.translation import LANGUAGES, Language, get_language

_HELP = "The language of titles and sentences. By default, the first one of `Accept-Language` that exists, or English."
PARAMETER = OpenApiParameter("language", enum=list(LANGUAGES), description=_HELP)


_MUST_BE = f"The languages are {', '.join(LANGUAGES)}."


def find_language(tag: str) -> str | None:
    """Return the code of the language that serves a tag such as `pt-PT` or `DE`, or None.

    A text in another country's spelling is better than an English one.
    """
    code = tag.partition("-")[0].lower()
    return code if code in LANGUAGES else None


class WrittenLanguageField(serializers.CharField):
    """The language of what is written, in a body. The engine decides later whether it writes another one."""

    def __init__(self, *, help_text: str) -> None:
        super().__init__(default="en", allow_blank=True, help_text=help_text, error_messages={"invalid": _MUST_BE})

    def to_internal_value(self, data: Any) -> str:
        """Return the code of the language, or a text that is none as it is. Raise ValidationError for other types."""
        text = super().to_internal_value(data)
        return find_language(text) or text


class LanguageField(serializers.ChoiceField):
    """The language of a response, as a query parameter."""

    def __init__(self) -> None:
        super().__init__(
            choices=list(LANGUAGES),
            required=False,
            help_text=_HELP,
            error_messages={"invalid_choice": _MUST_BE},
        )

    def to_internal_value(self, data: Any) -> Any:
        """Return the code of the language. Raise ValidationError."""
        return super().to_internal_value(find_language(str(data)) or data)


def get_requested_language(request: Request) -> Language:
    """Return the language that a request asks for. Raise ValidationError if its `language` is not one of ours."""
    if "language" in request.query_params:
        try:
            return get_language(LanguageField().run_validation(request.query_params["language"]))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"language": error.detail}) from None
    for tag, _ in parse_accept_lang_header(request.headers.get("Accept-Language", "")):
        if code := find_language(tag):
            return get_language(code)
    return get_language("en")


def vary_by_language(response: HttpResponseBase) -> None:
    """Tell caches that the response depends on the client's languages."""
    patch_vary_headers(response, ["Accept-Language"])

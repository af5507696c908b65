"""The language in which a response shows the catalogue's texts: that of the query, else of the client's header."""

from __future__ import annotations

from django.http import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation.trans_real import parse_accept_lang_header
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from insights.translation import LANGUAGES, Language, get_language

_HELP = "The language of titles and sentences. By default, the first one of `Accept-Language` that exists, or English."
PARAMETER = OpenApiParameter("language", enum=list(LANGUAGES), description=_HELP)


class LanguageField(serializers.ChoiceField):
    """The language of a response, as a query parameter."""

    def __init__(self) -> None:
        super().__init__(
            choices=list(LANGUAGES),
            required=False,
            help_text=_HELP,
            error_messages={"invalid_choice": f"The languages are {', '.join(LANGUAGES)}."},
        )


def get_requested_language(request: Request) -> Language:
    """Return the language that a request asks for. Raise ValidationError if its `language` is not one of ours."""
    if "language" in request.query_params:
        try:
            return get_language(LanguageField().run_validation(request.query_params["language"]))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"language": error.detail}) from None
    for tag, _ in parse_accept_lang_header(request.headers.get("Accept-Language", "")):
        # "pt-PT" is served by our Portuguese: a text in another country's spelling is better than an English one.
        if (code := tag.partition("-")[0]) in LANGUAGES:
            return get_language(code)
    return get_language("en")


def vary_by_language(response: HttpResponseBase) -> None:
    """Tell caches that the response depends on the client's languages."""
    patch_vary_headers(response, ["Accept-Language"])

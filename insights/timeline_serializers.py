"""Serializers of the timeline of a chat."""

from __future__ import annotations

from datetime import date
from typing import Any

from rest_framework import serializers

from insights.requested_language import LanguageField
from insights.timeline import Entry, EntryKind
from relivchats.rest import ClosedSerializer

MONTHS_LIMIT = 60


class TimelineQuery(ClosedSerializer):
    """The query parameters of a timeline: filters, and a page of months."""

    kind = serializers.MultipleChoiceField(
        choices=[kind.value for kind in EntryKind],
        required=False,
        help_text="Only entries of this kind. Repeat it for several kinds.",
    )
    after = serializers.RegexField(
        r"^\d{4}-(0[1-9]|1[0-2])$",
        required=False,
        error_messages={"invalid": "Write a month, such as 2026-01."},
        help_text="The page starts after this month, such as `2024-03`.",
    )
    limit = serializers.IntegerField(
        default=12, min_value=1, max_value=MONTHS_LIMIT, help_text="The number of months per page."
    )

    language = LanguageField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields. `from` is a keyword of Python, so it cannot be an attribute."""
        return {
            "from": serializers.DateField(required=False, help_text="Only entries that begin on this day or later."),
            "to": serializers.DateField(required=False, help_text="Only entries that begin on this day or earlier."),
            **super().get_fields(),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError if the last day is before the first one."""
        if "from" in attrs and "to" in attrs and attrs["to"] < attrs["from"]:
            raise serializers.ValidationError({"to": "This day is before `from`."})
        return attrs

    def selects(self, entry: Entry) -> bool:
        """Return whether the filters select the entry."""
        given = self.validated_data
        day = entry.starts_at.date()
        return (not given.get("kind") or entry.kind in given["kind"]) and given.get(
            "from", date.min
        ) <= day <= given.get("to", date.max)


class TimelineFigureSerializer(serializers.Serializer[Any]):
    """A figure of an entry."""

    label = serializers.CharField()  # type: ignore[assignment]
    value = serializers.FloatField()
    unit = serializers.ChoiceField(["messages", "days", "seconds"])


class TimelineEntrySerializer(serializers.Serializer[Entry]):
    """An entry of a timeline."""

    kind = serializers.ChoiceField([kind.value for kind in EntryKind])
    source = serializers.ChoiceField(  # type: ignore[assignment]
        ["counted", "read"],
        help_text="`counted` from times and senders, or found by a language model that `read` the chat.",
    )
    starts_at = serializers.SerializerMethodField(
        help_text="Local time without an offset, as of the messages of the chat."
    )
    ends_at = serializers.SerializerMethodField()
    title = serializers.CharField()
    sentence = serializers.CharField()
    subject = serializers.CharField(
        help_text="What a language model says it is about, in English; empty in other languages, if counted, or if the"
        " messages do not support it."
    )
    people = serializers.ListField(child=serializers.CharField(), help_text="At most 8 of them.")
    figures = TimelineFigureSerializer(many=True)
    numbers = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="Messages of the chat: those with which it begins and ends, or that show it.",
    )

    def get_starts_at(self, entry: Entry) -> str:
        """Return the local time in ISO 8601."""
        return entry.starts_at.isoformat()

    def get_ends_at(self, entry: Entry) -> str:
        """Return the local time in ISO 8601."""
        return entry.ends_at.isoformat()


class TimelineMonthSerializer(serializers.Serializer[Any]):
    """The entries that begin in a month, in the order of time."""

    month = serializers.CharField(help_text="Such as `2024-03`. Months without entries are omitted.")
    entries = TimelineEntrySerializer(many=True)


class TimelineReadSerializer(serializers.Serializer[Any]):
    """Whether the entries that a language model found are shown."""

    is_shown = serializers.BooleanField(help_text="Whether they are listed: the chat was read and an insight unlocked.")
    entries = serializers.IntegerField(
        allow_null=True, help_text="How many of them the filters select, shown or not. Null if the chat was not read."
    )
    note = serializers.CharField(help_text="How to see them, or how much of the chat was read; may be empty.")


class TimelineSerializer(serializers.Serializer[Any]):
    """A page of the timeline of a chat."""

    chat_id = serializers.UUIDField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    read = TimelineReadSerializer()
    notice = serializers.CharField(
        help_text="Where to find help, if somebody of the chat may be in danger; usually empty. Show it first."
    )
    results = TimelineMonthSerializer(many=True)

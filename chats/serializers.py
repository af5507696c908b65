"""Serializers of chats, uploads and messages. They contain names and texts, so nothing of them may be logged."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chats.access_models import ContentAccess, ContentRead
from chats.counting import Period
from chats.exports.parsed import Detail, MediaKind, Message, Reaction
from chats.models import Chat, ChatUpload
from chats.people import Person
from chats.projection import time_zones
from chats.statistics_schema import StatisticsSerializer
from chats.upload_log import ImportResult
from relivchats.rest import ClosedSerializer, IdField

DATE_ORDERS = ("dmy", "mdy", "ymd")
MESSAGES_LIMIT = 500
MESSAGE_NUMBER_LIMIT = 2_000_000_000


TIME_ZONE_HELP = (
    "An IANA name such as `Asia/Kolkata`, or empty. WhatsApp and Telegram export the wall clock: the time zone says"
    " only where the chat took place. Instagram and Messenger export instants: they are shown and counted in this time"
    " zone, or in UTC if it is empty."
)

SEARCHABLE_HELP = (
    "Whether its conversations can be found by meaning. Messages that were added later can be found when"
    " `vector_status` is `completed`."
)

# A displayed name or title can be sent back. It can be longer than the longest name of an export, and the default
# title joins two names.
SHOWN_NAME_LIMIT = 300
TITLE_LIMIT = 2 * SHOWN_NAME_LIMIT + len(" & ")


class TimeZoneField(serializers.CharField):
    """The name of an IANA time zone, or an empty string."""

    default_error_messages = {
        "unknown": "There is no such time zone. Send an IANA name, such as Europe/Berlin.",
        "null": "Send an IANA name, such as Europe/Berlin, or an empty text for none.",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_blank=True, max_length=64, **options)

    def to_internal_value(self, data: Any) -> str:
        """Return the name. Raise ValidationError if this machine's time zone database does not have it."""
        name = super().to_internal_value(data)
        if name and name not in time_zones():
            self.fail("unknown")
        return name


class DateOrderField(serializers.ChoiceField):
    """`dmy`, `mdy` or `ymd`, in lower or upper case."""

    default_error_messages = {
        "invalid_choice": "Send dmy (day, month, year), mdy or ymd, or leave it out: the dates of most exports are not"
        " ambiguous."
    }

    def to_internal_value(self, data: Any) -> Any:
        """Return the order in lower case."""
        return super().to_internal_value(data.lower() if isinstance(data, str) else data)


class ParticipantSerializer(ClosedSerializer):
    """A person in the chat."""

    name = serializers.CharField(max_length=SHOWN_NAME_LIMIT, help_text="The name to show.")
    aliases = serializers.ListField(
        child=serializers.CharField(max_length=1000, trim_whitespace=False),
        min_length=1,
        help_text="The export's names for this person.",
    )


class ChatSerializer(serializers.ModelSerializer[Chat]):
    """A chat without its statistics."""

    title = serializers.CharField(
        read_only=True,
        help_text="The title that you set with PATCH. Until then: the name of the group, if the export contains it"
        " (WhatsApp for Android does not export it), or the size of the group, or the two names.",
    )
    participants = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="The names, in order of first appearance."
    )
    people = serializers.SerializerMethodField(
        help_text="The participants, each with the names that the export has for them. Send the list with PATCH to"
        " rename people or to merge two names into one person."
    )
    recorded_details = serializers.ListField(
        child=serializers.ChoiceField(list(Detail)),
        read_only=True,
        help_text="What the exports contain besides texts. The statistics about anything else are null. Empty if the"
        " chat was imported before details were stored: upload it again with `separate=true` to have them.",
    )
    last_message_number = serializers.IntegerField(
        source="line_count", read_only=True, help_text="Messages and system lines are numbered from 1 to this number."
    )
    is_openable = serializers.BooleanField(
        read_only=True,
        help_text="False while the chat cannot be opened because of a fault on our side. Then it has no title and no"
        " participants, and what needs its messages is a 503. It can still be deleted.",
    )
    is_key_gone = serializers.BooleanField(
        read_only=True,
        help_text="True if the chat can no longer be opened, because its key was destroyed or lost. What needs its"
        " messages is a 410 then. Delete it, and upload its file again.",
    )
    is_group = serializers.BooleanField(read_only=True, help_text="Whether it has more than two people.")
    is_searchable = serializers.BooleanField(read_only=True, help_text=SEARCHABLE_HELP)

    class Meta:
        model = Chat
        fields: tuple[str, ...] = (
            "id",
            "title",
            "participants",
            "people",
            "is_openable",
            "is_key_gone",
            "is_group",
            "platform",
            "dialect",
            "date_order",
            "ambiguous_dates",
            "clock",
            "time_zone",
            "message_count",
            "last_message_number",
            "participant_count",
            "first_message_on",
            "last_message_on",
            "recorded_details",
            "unreadable_count",
            "future_count",
            "status",
            "vector_status",
            "chunk_count",
            "indexed_at",
            "is_searchable",
            "created_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "dialect": {"help_text": "How the export formats dates and names."},
            "date_order": {"help_text": "`dmy`, `mdy` or `ymd`: how the dates were read."},
            "unreadable_count": {
                "help_text": "Values that the messenger wrote wrongly and that were left out. 0 for nearly all exports."
            },
            "future_count": {
                "help_text": "Messages that were dated later than their upload: the clock of a phone was wrong, or the"
                " dates were read the wrong way."
            },
            "clock": {
                "help_text": "`local`: times are the wall clock's, as printed. `utc`: the export contains instants."
            },
            "time_zone": {"help_text": TIME_ZONE_HELP},
            "ambiguous_dates": {
                "help_text": "Whether the dates can be read both day first and month first. If they were read the"
                " wrong way, upload the file again with `date_order`."
            },
        }

    def to_representation(self, instance: Chat) -> dict[str, Any]:
        """Return the chat; if it does not open, with what is stored in the clear."""
        if instance.is_openable:
            return super().to_representation(instance)
        vars(instance).update(title="", export_names=[], chosen_people=[])
        return {**super().to_representation(instance), "is_openable": False}

    @extend_schema_field(ParticipantSerializer(many=True))
    def get_people(self, chat: Chat) -> list[Person]:
        """Return all people with their export names."""
        return chat.people.to_list(chat.export_names)


class ChatChangesSerializer(ClosedSerializer):
    """The fields of a chat that its owner can change."""

    title = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=TITLE_LIMIT,
        help_text="Null restores the default title: the two names, or the size of the group.",
        error_messages={"blank": "Send a title, or null to restore the default title."},
    )
    time_zone = TimeZoneField(required=False, help_text=TIME_ZONE_HELP)
    people = ParticipantSerializer(
        many=True,
        required=False,
        help_text="People to show under another name, and names of the export that are one person. The list replaces"
        " the previous one. A name that is left out is shown as exported, so `[]` undoes all changes.",
        error_messages=dict.fromkeys(
            ("not_a_list", "invalid"),
            "Send a list of people, each with `name` and `aliases`, as the chat shows it.",
        ),
    )


class UploadedChatSerializer(ChatSerializer):
    """A chat after an upload, with its statistics."""

    # The view passes the ImportResult as `result` in the context.

    outcome = serializers.SerializerMethodField(
        help_text="`accepted`: this is a new chat. `identical`: you have this content already, in this chat."
        " `extended`: the new messages were added to the chat. `unchanged`: there were no new messages."
    )
    added_messages = serializers.SerializerMethodField(help_text="The number of messages that this upload added.")
    older_messages_left_out = serializers.SerializerMethodField(
        help_text="The number of messages that the chat lacks but that are older than its last message. They were not"
        " added, because messages keep their numbers."
    )
    statistics = StatisticsSerializer(read_only=True)

    class Meta(ChatSerializer.Meta):
        fields = (
            *ChatSerializer.Meta.fields,
            "outcome",
            "added_messages",
            "older_messages_left_out",
            "statistics",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField([outcome.value for outcome in ChatUpload.SUCCESSFUL]))
    def get_outcome(self, chat: Chat) -> str:
        """Return how the upload ended."""
        return self._result.outcome.value

    def get_added_messages(self, chat: Chat) -> int:
        """Return the number of messages that were added."""
        return self._result.added

    def get_older_messages_left_out(self, chat: Chat) -> int:
        """Return the number of messages that could not be added."""
        return self._result.older_left_out

    @property
    def _result(self) -> ImportResult:
        result: ImportResult = self.context["result"]
        return result


@extend_schema_field(OpenApiTypes.BINARY)
class UploadedFileField(serializers.FileField):
    """An uploaded file. By default, drf-spectacular describes a file as the URL that a response would contain."""


class UploadSerializer(ClosedSerializer):
    """An exported chat, and how to import it."""

    #: Clients of the original API send `category_id`, HTML forms send `csrfmiddlewaretoken`.
    ignored_fields = frozenset({"category_id", "csrfmiddlewaretoken"})

    file = UploadedFileField(
        allow_empty_file=True,
        help_text="The file that the messenger exported, unchanged. Its name does not matter.",
        error_messages=dict.fromkeys(
            ("required", "invalid", "no_name"),
            "Send the export itself as the form field `file`: curl -F file=@chat.zip, say.",
        ),
    )
    date_order = DateOrderField(
        DATE_ORDERS,
        required=False,
        help_text="`dmy`, `mdy` or `ymd`. Needed only if the dates were read the wrong way.",
    )
    chat = serializers.CharField(
        required=False, max_length=300, help_text="The id of the chat to import, if the file contains several."
    )
    time_zone = TimeZoneField(required=False, help_text=TIME_ZONE_HELP)
    extend = IdField(
        required=False,
        help_text="The id of one of your chats. The new messages of this newer export are added to it.",
        error_messages={"invalid": "This is not the id of a chat. GET /api/chats lists yours with their ids."},
    )
    separate = serializers.BooleanField(
        default=False,
        help_text="Import the file as another chat, even if you have most of its messages already.",
        error_messages={"invalid": "Send true or false."},
    )

    def to_internal_value(self, data: Any) -> Any:
        """Return the values. Raise ValidationError for a field that was sent more than once."""
        if repeated := [name for name in data if name in self.fields and len(data.getlist(name)) > 1]:
            raise serializers.ValidationError(
                dict.fromkeys(
                    repeated, "Send this once: an upload is one file. Send others each in a request of its own."
                )
            )
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError for options that contradict each other."""
        if attrs["separate"] and "extend" in attrs:
            raise serializers.ValidationError({"separate": "Ask for one of them: `extend` or `separate`."})
        if attrs.get("time_zone") and "extend" in attrs:
            raise serializers.ValidationError(
                {"time_zone": "The chat keeps its own. Leave this out, and PATCH the chat to give it another."}
            )
        return attrs


class StatisticsQuery(ClosedSerializer):
    """The query parameters of statistics: a period, and a period to compare it with."""

    compare = serializers.ChoiceField(
        ["previous"],
        required=False,
        help_text="`previous` compares the period with the one of the same length before it.",
    )
    compare_from = serializers.DateField(required=False, help_text="The first day of another period to compare with.")
    compare_to = serializers.DateField(required=False, help_text="The last day of the other period.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields. `from` is a keyword of Python, so it cannot be an attribute."""
        return {
            "from": serializers.DateField(required=False, help_text="The first day. Default: the chat's first day."),
            "to": serializers.DateField(required=False, help_text="The last day. Default: the chat's last day."),
            **super().get_fields(),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError if a period is incomplete, or if two periods are given to compare with."""
        if ("compare_from" in attrs) != ("compare_to" in attrs):
            missing = "compare_to" if "compare_from" in attrs else "compare_from"
            raise serializers.ValidationError({missing: "Send both days of the other period."})
        if "compare" in attrs and "compare_from" in attrs:
            raise serializers.ValidationError({"compare": "Send either `compare` or the days of another period."})
        if "compare" in attrs and "from" not in attrs:
            raise serializers.ValidationError({"from": "Send the first day of the period to compare."})
        for first, last in (("from", "to"), ("compare_from", "compare_to")):
            if first in attrs and last in attrs and attrs[last] < attrs[first]:
                raise serializers.ValidationError({last: f"This day is before `{first}`."})
        return attrs

    def periods(self, chat: Chat) -> tuple[Period | None, Period | None]:
        """Return the period, None for the whole chat, and the one to compare it with, or None."""
        given = self.validated_data
        period = other = None
        if given:
            # A period before or after the whole chat is empty, and still a period.
            first = given.get("from", min(chat.first_message_on, given.get("to", chat.first_message_on)))
            period = Period(first, given.get("to", max(first, chat.last_message_on)))
        if "compare" in given:
            assert period is not None
            other = period.previous()
        elif "compare_from" in given:
            other = Period(given["compare_from"], given["compare_to"])
        return period, other


class MessagesQuery(ClosedSerializer):
    """The query parameters of a page of messages."""

    after = serializers.IntegerField(
        default=0,
        min_value=0,
        max_value=MESSAGE_NUMBER_LIMIT,
        help_text="The page starts after the message with this number. 0 starts at the first message.",
    )
    around = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MESSAGE_NUMBER_LIMIT,
        help_text="The page has the message with this number in its middle. Cannot be combined with `after`.",
    )
    limit = serializers.IntegerField(
        default=100, min_value=1, max_value=MESSAGES_LIMIT, help_text="The number of messages per page."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError if both `after` and `around` are given."""
        if attrs["after"] and "around" in attrs:
            raise serializers.ValidationError({"around": "Ask for one of them: `after` or `around`."})
        return attrs


class ReactionSerializer(serializers.Serializer[Reaction]):
    """An emoji that people reacted with to a message."""

    emoji = serializers.CharField()
    count = serializers.IntegerField(source="total")
    people = serializers.ListField(
        child=serializers.CharField(), help_text="Who reacted, as far as the export names them."
    )


class MessageSerializer(serializers.Serializer[Message]):
    """One message or system line."""

    number = serializers.IntegerField(help_text="Identifies the message within its chat. Never changes.")
    sent_at = serializers.SerializerMethodField(
        help_text="Local time without an offset: as exported or, if the `clock` of the chat is `utc`, in the"
        " `time_zone` of the chat."
    )
    sender = serializers.CharField(allow_null=True, help_text="Null for a system line.")
    kind = serializers.CharField(
        source="kind.label", help_text="text, media, deleted, call, poll, location, contact or system."
    )
    text = serializers.CharField()
    edited = serializers.BooleanField()
    media_kind = serializers.ChoiceField(
        list(MediaKind), source="details.media", allow_null=True, help_text="Null if the export does not say."
    )
    duration_seconds = serializers.IntegerField(
        source="details.duration_seconds", allow_null=True, help_text="Of a call, a video or a voice message."
    )
    forwarded = serializers.BooleanField(source="details.is_forwarded")
    reply_to = serializers.IntegerField(
        source="details.reply_to",
        allow_null=True,
        help_text="The number of the message that this one answers; 0 if the chat does not contain that message.",
    )
    reactions = ReactionSerializer(source="details.reactions", many=True)

    def get_sent_at(self, message: Message) -> str:
        """Return the local time in ISO 8601."""
        return message.sent_at.isoformat()


class MessagePageSerializer(serializers.Serializer[Any]):
    """A page of messages. `next` and `previous` are the URLs of the neighbouring pages."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = MessageSerializer(many=True)


class VectorStatusSerializer(serializers.ModelSerializer[Chat]):
    """Whether a chat is searchable."""

    chat_id = serializers.UUIDField(source="id", read_only=True)
    is_searchable = serializers.BooleanField(read_only=True, help_text=SEARCHABLE_HELP)

    class Meta:
        model = Chat
        fields = ("chat_id", "vector_status", "chunk_count", "indexed_at", "is_searchable")
        read_only_fields = fields


class ContentReadSerializer(serializers.ModelSerializer[ContentRead]):
    """A page of messages that a member of staff opened, by message numbers."""

    class Meta:
        model = ContentRead
        fields = ("first_number", "last_number", "created_at")
        read_only_fields = fields


class ContentAccessSerializer(serializers.ModelSerializer[ContentAccess]):
    """One time that a member of staff opened a chat."""

    chat_id = serializers.UUIDField(read_only=True, help_text="It may be deleted by now.")
    reads = ContentReadSerializer(many=True, read_only=True, help_text="The pages that were opened, in order.")

    class Meta:
        model = ContentAccess
        fields = ("id", "chat_id", "reason", "created_at", "expires_at", "reads")
        read_only_fields = fields

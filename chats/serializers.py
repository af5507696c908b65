"""Chats as the API shows them to their owner. Nothing here is logged."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chats.exports.parsed import Message
from chats.models import Chat, ChatUpload
from chats.people import InvalidPeople, Person
from chats.projection import time_zones
from chats.statistics_schema import StatisticsSerializer
from chats.upload_log import ImportResult
from relivchats.rest import ClosedSerializer, IdField

DATE_ORDERS = ("dmy", "mdy", "ymd")
MESSAGES_LIMIT = 500
MESSAGE_NUMBER_LIMIT = 2_000_000_000


TIME_ZONE_HELP = (
    "An IANA name such as `Asia/Kolkata`; empty for none. Where messages carry the wall clock (WhatsApp, Telegram) it"
    " only says where that was. Where they carry instants (Instagram) they are shown and counted in this zone, without"
    " one in UTC."
)


SEARCHABLE_HELP = "Its conversations can be found by meaning; those added since once `vector_status` is `completed`."


class TimeZoneField(serializers.CharField):
    """The name of a time zone, or nothing."""

    default_error_messages = {
        "unknown": "There is no such time zone. Send an IANA name, such as Europe/Berlin.",
        "null": "Send an IANA name, such as Europe/Berlin, or an empty text for none.",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_blank=True, max_length=64, **options)

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if name and name not in time_zones():
            self.fail("unknown")
        return name


class DateOrderField(serializers.ChoiceField):
    """In small letters or capitals."""

    default_error_messages = {
        "invalid_choice": "Send dmy (day, month, year), mdy or ymd, or leave it out: most exports say it themselves."
    }

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data.lower() if isinstance(data, str) else data)


# Longer than the longest name of an export, and a title may be made of two: what is shown can be sent back.
SHOWN_NAME_LIMIT = 300
TITLE_LIMIT = 2 * SHOWN_NAME_LIMIT + len(" & ")


class ParticipantSerializer(ClosedSerializer):
    """Somebody in the chat."""

    name = serializers.CharField(max_length=SHOWN_NAME_LIMIT, help_text="As shown.")
    aliases = serializers.ListField(
        child=serializers.CharField(max_length=1000, trim_whitespace=False),
        min_length=1,
        help_text="The export's names for this person.",
    )


class ChatSerializer(serializers.ModelSerializer[Chat]):
    title = serializers.CharField(
        read_only=True,
        help_text="What you called it with a PATCH; until then a group's name, where the export says it (not an"
        " Android's of WhatsApp), or the group's size, or the two names.",
    )
    participants = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Names in order of first appearance."
    )
    people = serializers.SerializerMethodField(
        help_text="The participants, each with the export's names for them. PATCH it to name them or put two together."
    )
    last_message_number = serializers.IntegerField(
        source="line_count", read_only=True, help_text="Messages and system lines have the numbers from 1 to this."
    )
    is_group = serializers.BooleanField(read_only=True, help_text="More than two people.")
    is_searchable = serializers.BooleanField(read_only=True, help_text=SEARCHABLE_HELP)

    class Meta:
        model = Chat
        fields: tuple[str, ...] = (
            "id",
            "title",
            "participants",
            "people",
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
            "status",
            "vector_status",
            "chunk_count",
            "indexed_at",
            "is_searchable",
            "created_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "dialect": {"help_text": "How the export writes its dates and names."},
            "date_order": {"help_text": "`dmy`, `mdy` or `ymd`: how its dates were read."},
            "clock": {
                "help_text": "`local`: times are the wall clock's, as printed. `utc`: the export knows instants."
            },
            "time_zone": {"help_text": TIME_ZONE_HELP},
            "ambiguous_dates": {
                "help_text": "The dates fit day first and month first alike. If they were read the wrong way,"
                " upload the file again with `date_order`."
            },
        }

    @extend_schema_field(ParticipantSerializer(many=True))
    def get_people(self, chat: Chat) -> list[Person]:
        return chat.people.to_list(chat.export_names)


class ChatChangesSerializer(ClosedSerializer):
    """What a PATCH may say."""

    title = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=TITLE_LIMIT,
        help_text="Null: the people's names, or the group's size, again.",
        error_messages={"blank": "Send a title, or null to have the first one again."},
    )
    time_zone = TimeZoneField(required=False, help_text=TIME_ZONE_HELP)
    people = ParticipantSerializer(
        many=True,
        required=False,
        help_text="Whom to show by another name, and which of the export's names are one person. It takes the place of"
        " what was said before; a name that is left out stays as the export has it, so `[]` undoes all.",
        error_messages=dict.fromkeys(
            ("not_a_list", "invalid"),
            "Send a list of people, each with `name` and `aliases`, as the chat shows it.",
        ),
    )


def not_people(fault: InvalidPeople) -> serializers.ValidationError:
    """The fault where it is: nested as the value is, so that its pointer leads there."""
    detail: Any = [fault.reason]
    for step in reversed(("people", *fault.path)):
        detail = {str(step): detail}
    return serializers.ValidationError(detail)


class UploadedChatSerializer(ChatSerializer):
    outcome = serializers.SerializerMethodField(
        help_text="`accepted`: a new chat. `identical`: you have this content already, and this is the chat."
        " `extended`: what was new was added. `unchanged`: there was nothing new to add."
    )
    added_messages = serializers.SerializerMethodField(help_text="How many messages this upload brought.")
    older_messages_left_out = serializers.SerializerMethodField(
        help_text="Messages of the file that are older than the chat's last and that the chat lacks, from before its"
        " beginning or from a gap in it: there is no number for them."
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
        return self._imported.outcome.value

    def get_added_messages(self, chat: Chat) -> int:
        return self._imported.added

    def get_older_messages_left_out(self, chat: Chat) -> int:
        return self._imported.older_left_out

    @property
    def _imported(self) -> ImportResult:
        imported: ImportResult = self.context["imported"]
        return imported


@extend_schema_field(OpenApiTypes.BINARY)
class UploadedFileField(serializers.FileField):
    """The framework describes a file by the address that an answer would give."""


class UploadSerializer(ClosedSerializer):
    """An export, and what you wish beside it."""

    #: The original's clients send the first, forms of browsers the second.
    passed_over = frozenset({"category_id", "csrfmiddlewaretoken"})

    file = UploadedFileField(
        allow_empty_file=True,
        help_text="What the messenger's export made, unchanged. Its name does not matter.",
        error_messages=dict.fromkeys(
            ("required", "invalid", "no_name"),
            "Send the export itself as the form field `file`: curl -F file=@chat.zip, say.",
        ),
    )
    date_order = DateOrderField(
        DATE_ORDERS, required=False, help_text="Only if dates were read the wrong way: `dmy`, `mdy` or `ymd`."
    )
    chat = serializers.CharField(
        required=False, max_length=300, help_text="Of an upload that holds several chats, the id of the one to read."
    )
    time_zone = TimeZoneField(required=False, help_text=TIME_ZONE_HELP)
    extend = IdField(
        required=False,
        help_text="A chat of yours, of which this is a newer export: what is new is added to it.",
        error_messages={"invalid": "This is not the id of a chat. GET /api/chats lists yours with their ids."},
    )
    separate = serializers.BooleanField(
        default=False,
        help_text="Make a chat of its own of it, though you have most of it already.",
        error_messages={"invalid": "Send true or false."},
    )

    def to_internal_value(self, data: Any) -> Any:
        if twice := [name for name in data if name in self.fields and len(data.getlist(name)) > 1]:
            raise serializers.ValidationError(
                dict.fromkeys(twice, "Send this once: an upload is one file. Send others each in a request of its own.")
            )
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["separate"] and "extend" in attrs:
            raise serializers.ValidationError({"separate": "Ask for one of them: `extend` or `separate`."})
        if attrs.get("time_zone") and "extend" in attrs:
            raise serializers.ValidationError(
                {"time_zone": "The chat keeps its own. Leave this out, and PATCH the chat to give it another."}
            )
        return attrs


class MessagesQuery(ClosedSerializer):
    after = serializers.IntegerField(
        default=0,
        min_value=0,
        max_value=MESSAGE_NUMBER_LIMIT,
        help_text="Messages with a higher number than this; 0 starts at the beginning.",
    )
    around = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MESSAGE_NUMBER_LIMIT,
        help_text="The page with this message in its middle, instead of `after`.",
    )
    limit = serializers.IntegerField(
        default=100, min_value=1, max_value=MESSAGES_LIMIT, help_text="How many to a page."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["after"] and "around" in attrs:
            raise serializers.ValidationError({"around": "Ask for one of them: `after` or `around`."})
        return attrs


class MessageSerializer(serializers.Serializer[Message]):
    number = serializers.IntegerField(help_text="The message's name within its chat; never changes.")
    sent_at = serializers.SerializerMethodField(
        help_text="The wall clock, without a zone: as the export prints it or, where the chat's `clock` is `utc`, in"
        " the chat's `time_zone`."
    )
    sender = serializers.CharField(allow_null=True, help_text="Null for a system line.")
    kind = serializers.CharField(
        source="kind.label", help_text="text, media, deleted, call, poll, location, contact or system."
    )
    text = serializers.CharField()
    edited = serializers.BooleanField()

    def get_sent_at(self, message: Message) -> str:
        return message.sent_at.isoformat()


class MessagePageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = MessageSerializer(many=True)


class VectorStatusSerializer(serializers.ModelSerializer[Chat]):
    chat_id = serializers.UUIDField(source="id", read_only=True)
    is_searchable = serializers.BooleanField(read_only=True, help_text=SEARCHABLE_HELP)

    class Meta:
        model = Chat
        fields = ("chat_id", "vector_status", "chunk_count", "indexed_at", "is_searchable")
        read_only_fields = fields

"""Chats as the API shows them to their owner. Nothing here is logged."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chats.exports.parsed import Message
from chats.models import Chat
from chats.statistics_schema import StatisticsSerializer

DATE_ORDERS = ("dmy", "mdy", "ymd")
MESSAGES_LIMIT = 500
MESSAGE_NUMBER_LIMIT = 2_000_000_000


class ChatSerializer(serializers.ModelSerializer[Chat]):
    title = serializers.CharField(read_only=True, help_text="The two names, or the group's size.")
    participants = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Names in order of first appearance."
    )
    is_group = serializers.BooleanField(read_only=True, help_text="More than two people.")
    is_searchable = serializers.BooleanField(read_only=True, help_text="Its conversations can be found by meaning.")

    class Meta:
        model = Chat
        fields: tuple[str, ...] = (
            "id",
            "title",
            "participants",
            "is_group",
            "platform",
            "dialect",
            "date_order",
            "ambiguous_dates",
            "message_count",
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
            "ambiguous_dates": {
                "help_text": "The dates fit day first and month first alike. If they were read the wrong way,"
                " upload the file again with `date_order`."
            },
        }


class UploadedChatSerializer(ChatSerializer):
    statistics = StatisticsSerializer(read_only=True)

    class Meta(ChatSerializer.Meta):
        fields = (*ChatSerializer.Meta.fields, "statistics")
        read_only_fields = fields


class UploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(
        allow_empty_file=True, help_text="The .txt or .zip that WhatsApp made, unchanged. Its name does not matter."
    )
    date_order = serializers.ChoiceField(
        DATE_ORDERS, required=False, help_text="Only if dates were read the wrong way: `dmy`, `mdy` or `ymd`."
    )


class MessagesQuery(serializers.Serializer[Any]):
    after = serializers.IntegerField(
        default=0,
        min_value=0,
        max_value=MESSAGE_NUMBER_LIMIT,
        help_text="Messages with a higher number than this; 0 starts at the beginning.",
    )
    limit = serializers.IntegerField(
        default=100, min_value=1, max_value=MESSAGES_LIMIT, help_text="How many to a page."
    )


class MessageSerializer(serializers.Serializer[Message]):
    number = serializers.IntegerField(help_text="The message's name within its chat; never changes.")
    sent_at = serializers.SerializerMethodField(help_text="The wall clock as the export prints it, without a zone.")
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
    is_searchable = serializers.BooleanField(read_only=True)

    class Meta:
        model = Chat
        fields = ("chat_id", "vector_status", "chunk_count", "indexed_at", "is_searchable")
        read_only_fields = fields

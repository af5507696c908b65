"""Chats for staff: how they arrived and how their indexing stands. Nothing that is sealed, no names, no text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString

from chats import operations
from chats.models import Chat, ChatUpload, Chunk, TranscriptBlock, VectorMatrix
from chats.upload_log import refusal_title
from relivchats import durations
from relivchats.accounts.models import User
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import StaffAdmin, label, link


class IndexingFilter(admin.SimpleListFilter):
    title = "indexing"
    parameter_name = "indexing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failed", "failed"), ("stuck", "stuck"), ("waiting", "waiting")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Chat]) -> QuerySet[Chat]:
        if self.value() == "failed":
            return queryset.filter(vector_status=Chat.VectorStatus.FAILED)
        if self.value() == "stuck":
            return queryset.filter(
                vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__lt=Now() - timedelta(seconds=60)
            )
        if self.value() == "waiting":
            return queryset.filter(vector_status=Chat.VectorStatus.PENDING, index_requested_at__isnull=False)
        return queryset


def indexing_standing(chat: Any) -> str:
    """What a chat's indexing waits for; `chat` is annotated with the database's time, `looked_at`."""
    if chat.vector_status == Chat.VectorStatus.COMPLETED:
        return ""
    if chat.vector_status == Chat.VectorStatus.FAILED:
        return f"failed: {chat.index_error_code or 'unknown cause'}"
    if chat.index_lease_expires_at is not None:
        late = chat.looked_at - chat.index_lease_expires_at
        if late > timedelta():
            return f"its worker stopped: the lease ran out {durations.format_short(late)} ago"
        return f"leased by a worker until {chat.index_lease_expires_at:%H:%M:%S}"
    if chat.index_requested_at is None:
        return "not asked for yet"
    return f"waiting for a worker for {durations.format_short(chat.looked_at - chat.index_requested_at)}"


class FailureFilter(admin.SimpleListFilter):
    """The failures by reason and shape of the first line, the most frequent first: which unknown format comes often."""

    title = "failure"
    parameter_name = "failure"
    MOST = 20

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        groups = ChatUpload.objects.unsuccessful().values("reason", "header_shape").annotate(uploads=Count("pk"))
        return [
            (f"{group['reason']}|{group['header_shape']}", self._label(group))
            for group in groups.order_by("-uploads", "reason", "header_shape")[: self.MOST]
        ]

    @staticmethod
    def _label(group: Mapping[str, Any]) -> str:
        shape = f" · {group['header_shape']}" if group["header_shape"] else ""
        return f"{group['uploads']} × {refusal_title(group['reason'])}{shape}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[ChatUpload]) -> QuerySet[ChatUpload]:
        reason, bar, shape = (self.value() or "").partition("|")
        return queryset.filter(reason=reason, header_shape=shape) if bar else queryset


class OwnedAdmin(StaffAdmin):
    @admin.display(description="owner")
    def owner_link(self, row: Any) -> SafeString | str:
        return link(User, row.owner_id)


class PartOfChatAdmin(StaffAdmin):
    search_ids: tuple[str, ...] = ("chat_id",)

    @admin.display(description="chat")
    def chat_link(self, row: Any) -> SafeString | str:
        return link(Chat, row.chat_id)


@admin.register(Chat)
class ChatAdmin(OwnedAdmin):
    bulk_actions = (
        BulkAction(
            name="reindex",
            title="Reindex",
            consequence="Workers read these chats again. Until then, new insights of them wait.",
            run=operations.reindex,
        ),
    )
    list_display = (
        "id",
        "indexing",
        "standing",
        "index_attempt",
        "message_count",
        "participant_count",
        "platform",
        "age",
    )
    list_filter = (IndexingFilter, "vector_status", "platform")
    ordering = ("-created_at",)
    search_ids = ("pk", "owner_id")
    fields = (
        ("id", "owner_link"),
        ("created_at", "status"),
        ("platform", "dialect"),
        ("date_order", "ambiguous_dates"),
        ("clock", "time_zone"),
        ("message_count", "line_count", "participant_count"),
        ("first_message_on", "last_message_on"),
        ("indexing", "standing"),
        ("chunk_count", "indexed_at"),
        ("index_requested_at", "index_dispatched_at", "index_lease_expires_at"),
        ("index_attempt", "index_error_code"),
    )
    readonly_fields = (
        "id",
        "owner_link",
        "created_at",
        "indexing",
        "standing",
        "indexed_at",
        "index_requested_at",
        "index_dispatched_at",
        "index_lease_expires_at",
        "index_attempt",
        "index_error_code",
    )

    @label("indexing")
    def indexing(self, chat: Chat) -> str:
        return chat.vector_status

    @admin.display(description="what holds it up")
    def standing(self, chat: Chat) -> str:
        return indexing_standing(chat)


@admin.register(ChatUpload)
class ChatUploadAdmin(OwnedAdmin):
    list_display = (
        "id",
        "outcome",
        "why",
        "header_shape",
        "platform",
        "dialect",
        "size_bytes",
        "message_count",
        "milliseconds",
        "age",
    )
    list_filter = ("outcome", FailureFilter, "platform")
    ordering = ("-created_at",)
    search_ids = ("pk", "owner_id", "chat_id", "request_id")
    fields = (
        ("id", "owner_link", "chat_link"),
        ("outcome", "why", "error_code"),
        ("platform", "dialect", "header_shape"),
        ("size_bytes", "message_count", "older_left_out"),
        ("milliseconds", "by_stage"),
        ("request_id", "created_at"),
    )
    readonly_fields = ("id", "owner_link", "chat_link", "why", "by_stage", "created_at")

    @admin.display(description="reason", ordering="reason")
    def why(self, upload: ChatUpload) -> str:
        return refusal_title(upload.reason)

    @admin.display(description="by stage")
    def by_stage(self, upload: ChatUpload) -> str:
        return ", ".join(f"{stage} {spent} ms" for stage, spent in upload.stages.items())

    @admin.display(description="chat")
    def chat_link(self, upload: ChatUpload) -> SafeString | str:
        return link(Chat, upload.chat_id)


@admin.register(TranscriptBlock)
class TranscriptBlockAdmin(PartOfChatAdmin):
    list_display = ("id", "chat_link", "first_number", "last_number")
    ordering = ("-id",)
    fields = ("id", "chat_link", "first_number", "last_number")
    readonly_fields = ("id", "chat_link")


@admin.register(Chunk)
class ChunkAdmin(PartOfChatAdmin):
    list_display = (
        "id",
        "chat_link",
        "number",
        "conversation",
        "first_number",
        "last_number",
        "token_count",
        "vector_count",
    )
    ordering = ("-id",)
    fields = ("id", "chat_link", "number", "conversation", "first_number", "last_number", "token_count", "vector_count")
    readonly_fields = ("id", "chat_link")


@admin.register(VectorMatrix)
class VectorMatrixAdmin(PartOfChatAdmin):
    list_display = ("id", "chat_link", "engine", "dimensions", "age")
    ordering = ("-id",)
    fields = ("id", "chat_link", "engine", "dimensions", "created_at")
    readonly_fields = ("id", "chat_link", "created_at")

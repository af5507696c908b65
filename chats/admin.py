"""The admin pages of chats: imports and indexing. They show no sealed column, no names and no text."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString

from chats import operations
from chats.access_admin import OpenedByStaff
from chats.exports.parsed import Platform
from chats.key_models import KeyDestruction, KeyStoreIdentity
from chats.models import Chat, ChatUpload, Chunk, TranscriptBlock, VectorMatrix
from chats.upload_log import refusal_title
from relivchats import durations
from relivchats.accounts.models import User
from relivchats.leases import STUCK_AFTER
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import StaffAdmin, label, link
from relivchats.staff.filters import MAX_READ_FOR_VALUES, CountedFilter, SelectionFilter, StateFilter, label_chosen


class IndexingFilter(SelectionFilter):
    """Chats whose indexing failed, is stuck, or waits for a worker."""

    title = "indexing"
    parameter_name = "indexing"
    selections = {
        "failed": ("failed", lambda chats: chats.filter(vector_status=Chat.VectorStatus.FAILED)),
        "stuck": (
            "stuck",
            lambda chats: chats.filter(
                vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__lt=Now() - STUCK_AFTER
            ),
        ),
        "waiting": (
            "waiting",
            lambda chats: chats.filter(vector_status=Chat.VectorStatus.PENDING, index_requested_at__isnull=False),
        ),
    }


class PlatformFilter(StateFilter):
    """Rows of one platform."""

    values = tuple(Platform)


class FailureFilter(CountedFilter, admin.SimpleListFilter):
    """Failed uploads by reason and shape of the first line, most frequent first. Shows which unknown formats arrive."""

    title = "failure"
    parameter_name = "failure"
    MAX_CHOICES = 20

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the failures that are the most frequent of the latest ones, such as `This is not a chat · 99/99 a`."""
        latest = ChatUpload.objects.unsuccessful().order_by("-created_at").values_list("reason", "header_shape")
        frequent = Counter(latest[:MAX_READ_FOR_VALUES]).most_common(self.MAX_CHOICES)
        choices = {f"{reason}|{shape}": _label_failure(reason, shape) for (reason, shape), _ in frequent}
        # The chosen one may be rare by now.
        chosen = self.value() or ""
        reason, separator, shape = chosen.partition("|")
        if separator and chosen not in choices:
            choices[chosen] = label_chosen(self.select(ChatUpload.objects.all(), chosen), _label_failure(reason, shape))
        return list(choices.items())

    def value(self) -> str | None:
        """Return the chosen failure, or None if there is none."""
        return admin.SimpleListFilter.value(self)

    def select(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the uploads of a failure."""
        reason, _, shape = value.partition("|")
        # A condition of the index of failures.
        return rows.filter(
            outcome__in=[ChatUpload.Outcome.REFUSED, ChatUpload.Outcome.FAILED], reason=reason, header_shape=shape
        )


def _label_failure(reason: str, shape: str) -> str:
    return f"{refusal_title(reason)} · {shape}" if shape else refusal_title(reason)


class OwnedAdmin(StaffAdmin):
    """A page of rows that belong to a user."""

    @admin.display(description="owner")
    def owner_link(self, row: Any) -> SafeString | str:
        """Return a link to the owner."""
        return link(User, row.owner_id)


class ChatPartAdmin(StaffAdmin):
    """A page of rows that belong to a chat."""

    search_ids: tuple[str, ...] = ("chat_id",)

    @admin.display(description="chat")
    def chat_link(self, row: Any) -> SafeString | str:
        """Return a link to the chat."""
        return link(Chat, row.chat_id)


@admin.register(Chat)
class ChatAdmin(OpenedByStaff, OwnedAdmin):
    """Chats, and what their indexing waits for."""

    bulk_actions = (
        BulkAction(
            name="reindex",
            title="Reindex",
            consequence="Workers index these chats again. New insights about them wait until that is done.",
            run=operations.reindex,
            applies=lambda chat: chat.vector_status != Chat.VectorStatus.INDEXING,
        ),
    )
    actions_detail = ("open_this",)
    export_columns = (
        *("id", "owner_id", "status", "platform", "dialect", "message_count", "participant_count", "stored_bytes"),
        *("vector_status", "chunk_count", "index_attempt", "index_error_code", "index_engine"),
        *("created_at", "indexed_at"),
    )
    list_display = (
        "id",
        "indexing",
        "waiting_for",
        "index_attempt",
        "message_count",
        "participant_count",
        "platform",
        "age",
    )
    list_filter = (IndexingFilter, ("vector_status", StateFilter), ("platform", PlatformFilter))
    ordering = ("-created_at",)
    search_ids = ("pk", "owner_id")
    fields = (
        ("id", "owner_link"),
        ("created_at", "status"),
        ("platform", "dialect"),
        ("date_order", "ambiguous_dates"),
        ("clock", "time_zone"),
        ("message_count", "line_count", "participant_count", "stored_bytes"),
        ("first_message_on", "last_message_on"),
        ("indexing", "waiting_for"),
        ("chunk_count", "indexed_at"),
        ("index_requested_at", "index_dispatched_at", "index_lease_expires_at"),
        ("index_attempt", "index_error_code", "index_not_before"),
        "index_engine",
    )
    readonly_fields = (
        "id",
        "owner_link",
        "created_at",
        "stored_bytes",
        "indexing",
        "waiting_for",
        "indexed_at",
        "index_requested_at",
        "index_dispatched_at",
        "index_lease_expires_at",
        "index_attempt",
        "index_error_code",
        "index_not_before",
        "index_engine",
    )

    @label("indexing")
    def indexing(self, chat: Chat) -> str:
        """Return the vector status."""
        return chat.vector_status

    @admin.display(description="waiting for")
    def waiting_for(self, chat: Any) -> str:
        """Return what the indexing of the chat waits for, or why it failed; empty if it is complete."""
        if chat.vector_status == Chat.VectorStatus.COMPLETED:
            return ""
        if chat.vector_status == Chat.VectorStatus.FAILED:
            return f"failed: {chat.index_error_code or 'unknown cause'}"
        if chat.index_lease_expires_at is not None:
            late = chat.looked_at - chat.index_lease_expires_at
            if late > timedelta():
                return f"its worker stopped: the lease expired {durations.format_short(late)} ago"
            return f"leased by a worker until {chat.index_lease_expires_at:%Y-%m-%d %H:%M:%S} UTC"
        if chat.index_requested_at is None:
            return "not requested yet"
        if chat.index_not_before is not None and chat.index_not_before > chat.looked_at:
            return f"{chat.index_error_code}: next attempt at {chat.index_not_before:%Y-%m-%d %H:%M:%S} UTC"
        return f"waiting for a worker for {durations.format_short(chat.looked_at - chat.index_requested_at)}"


@admin.register(ChatUpload)
class ChatUploadAdmin(OwnedAdmin, ChatPartAdmin):
    """The log of uploads."""

    export_columns = (
        *("id", "owner_id", "chat_id", "outcome", "error_code", "reason", "platform", "dialect"),
        *("size_bytes", "message_count", "older_left_out", "milliseconds", "created_at"),
    )
    list_display = (
        "id",
        "result",
        "reason_title",
        "header_shape",
        "platform",
        "dialect",
        "size_bytes",
        "message_count",
        "milliseconds",
        "age",
    )
    list_filter = (("outcome", StateFilter), FailureFilter, ("platform", PlatformFilter))
    ordering = ("-created_at",)
    search_ids = ("pk", "owner_id", "chat_id", "request_id")
    fields = (
        ("id", "owner_link", "chat_link"),
        ("result", "reason_title", "error_code"),
        ("platform", "dialect", "header_shape"),
        ("size_bytes", "message_count", "older_left_out"),
        ("milliseconds", "stage_times"),
        ("request_id", "created_at"),
    )
    readonly_fields = ("id", "owner_link", "chat_link", "result", "reason_title", "stage_times", "created_at")

    @label("outcome", colours={"accepted": "success", "identical": "info", "refused": "warning", "failed": "danger"})
    def result(self, upload: ChatUpload) -> str:
        """Return the outcome."""
        return upload.outcome

    @admin.display(description="reason", ordering="reason")
    def reason_title(self, upload: ChatUpload) -> str:
        """Return why the upload was refused or failed."""
        return refusal_title(upload.reason)

    @admin.display(description="by stage")
    def stage_times(self, upload: ChatUpload) -> str:
        """Return the time of each stage of the import."""
        return ", ".join(f"{stage} {milliseconds} ms" for stage, milliseconds in upload.stages.items())


@admin.register(TranscriptBlock)
class TranscriptBlockAdmin(ChatPartAdmin):
    """Blocks of messages, by number only."""

    list_display = ("id", "chat_link", "first_number", "last_number")
    ordering = ("-id",)
    fields = ("id", "chat_link", "first_number", "last_number")
    readonly_fields = ("id", "chat_link")


@admin.register(Chunk)
class ChunkAdmin(ChatPartAdmin):
    """Chunks, by number only."""

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
class VectorMatrixAdmin(ChatPartAdmin):
    """The vector matrix of each indexed chat, without its content."""

    list_display = ("id", "chat_link", "engine", "dimensions", "age")
    ordering = ("-id",)
    fields = ("id", "chat_link", "engine", "dimensions", "created_at")
    readonly_fields = ("id", "chat_link", "created_at")


@admin.register(KeyStoreIdentity)
class KeyStoreIdentityAdmin(StaffAdmin):
    """The key store that belongs to this database."""

    list_display = ("identity", "age")
    ordering = ("id",)
    fields = ("identity", "created_at")
    readonly_fields = ("created_at",)


@admin.register(KeyDestruction)
class KeyDestructionAdmin(StaffAdmin):
    """Keys of deleted chats and of failed imports, until they are destroyed."""

    list_display = ("chat_id", "due_at")
    time_field = "due_at"
    ordering = ("due_at",)
    fields = ("chat_id", "due_at")
    readonly_fields = ("chat_id",)

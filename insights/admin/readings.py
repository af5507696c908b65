"""Admin pages of what models read of chats: readings, their windows, and questions. They never show a text."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Aggregate, Count, F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing.models import CoinReservation
from chats.models import Chat
from insights import engines, operations
from insights.admin.prompts import link_prompts
from insights.models import (
    ChatReading,
    ReadWindow,
)
from insights.question_models import ChatQuestion
from insights.reading.queue import current_reader
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import StaffAdmin, label, link
from relivchats.staff.filters import StateFilter


class EngineFilter(StateFilter):
    """Rows of one engine."""

    values = tuple(engines.ENGINES)


class OutcomeFilter(StateFilter):
    """Questions by their outcome."""

    values = ("answered", "not_in_chat", "searched")


@admin.register(ChatReading)
class ChatReadingAdmin(StaffAdmin):
    """The readings of chats: their state and cost, with an action that reads a chat again. They show no text."""

    bulk_actions = (
        BulkAction(
            name="read_again",
            title="Read again",
            heading="Read the chats of {rows} again",
            consequence="What was read is deleted. The chat is read again from the start, at the provider's price, as"
            " soon as an insight waits for it.",
            run=operations.read_again,
            # What is pending has nothing to delete, and the engine without a model reads no chats.
            applies=lambda reading: reading.status != ChatReading.Status.PENDING and current_reader() is not None,
            is_final=True,
        ),
    )
    export_columns = (
        *("id", "chat_id", "status", "engine", "model", "version", "attempt", "error_code"),
        *("created_at", "started_at", "finished_at"),
    )
    list_display = ("id", "chat_link", "state", "progress", "failed_windows", "tokens", "attempt", "error_code", "age")
    list_filter = (("status", StateFilter), ("engine", EngineFilter))
    ordering = ("-created_at",)
    search_ids = ("pk", "chat_id")
    fields = (
        ("id", "chat_link", "state"),
        ("engine", "model", "version"),
        ("progress", "failed_windows", "tokens"),
        ("up_to_message", "attempt", "error_code"),
        ("created_at", "started_at", "finished_at"),
        ("next_attempt_at", "dispatched_at", "lease_expires_at"),
    )
    readonly_fields = (
        "id",
        "chat_link",
        "state",
        "progress",
        "failed_windows",
        "tokens",
        "up_to_message",
        "created_at",
        "started_at",
        "finished_at",
        "dispatched_at",
        "lease_expires_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatReading]:
        """Return the readings with the counts of their windows."""

        def windows(expression: Aggregate, **conditions: Any) -> Coalesce:
            rows = ReadWindow.objects.filter(reading=OuterRef("pk"), **conditions).order_by().values("reading")
            return Coalesce(Subquery(rows.annotate(value=expression).values("value")), 0)

        readings: QuerySet[ChatReading] = super().get_queryset(request)
        return readings.annotate(
            n_windows=windows(Count("pk")),
            n_read=windows(Count("pk"), status=ReadWindow.Status.READ),
            n_failed=windows(Count("pk"), status=ReadWindow.Status.FAILED),
            n_tokens=windows(Sum(F("tokens_in") + F("tokens_out"))),
        ).defer("sealed_totals", "sealed_summary")

    @label("status")
    def state(self, reading: ChatReading) -> str:
        """Return the status, shown as a coloured label."""
        return reading.status

    @admin.display(description="windows read")
    def progress(self, reading: ChatReading) -> str:
        """Return the windows that were read, such as `12 of 40`."""
        return f"{vars(reading)['n_read']} of {vars(reading)['n_windows']}"

    @admin.display(description="failed")
    def failed_windows(self, reading: ChatReading) -> int:
        """Return the number of windows that could not be read."""
        number: int = vars(reading)["n_failed"]
        return number

    @admin.display(description="tokens")
    def tokens(self, reading: ChatReading) -> str:
        """Return the tokens that the provider counted, in and out."""
        return f"{vars(reading)['n_tokens']:,}"

    @admin.display(description="chat")
    def chat_link(self, reading: ChatReading) -> SafeString | str:
        """Return a link to the chat."""
        return link(Chat, reading.chat_id)


@admin.register(ReadWindow)
class ReadWindowAdmin(StaffAdmin):
    """The windows of readings: numbers only."""

    export_columns = (
        *("id", "reading_id", "first_number", "last_number", "status", "message_count", "dropped_count"),
        *("model", "tokens_in", "tokens_out", "milliseconds", "error_code"),
    )
    list_display = (
        "id",
        "reading_link",
        "first_number",
        "last_number",
        "state",
        "message_count",
        "dropped_count",
        "tokens_in",
        "tokens_out",
        "milliseconds",
        "error_code",
    )
    list_filter = (("status", StateFilter),)
    ordering = ("-pk",)
    search_ids = ("pk", "reading_id")
    fields = (
        ("id", "reading_link", "state"),
        ("first_number", "last_number", "spans"),
        ("message_count", "token_count", "dropped_count"),
        ("model", "tokens_in", "tokens_out", "milliseconds"),
        "error_code",
    )
    readonly_fields = ("id", "reading_link", "state", "spans")

    @label("status")
    def state(self, window: ReadWindow) -> str:
        """Return the status, shown as a coloured label."""
        return window.status

    @admin.display(description="reading")
    def reading_link(self, window: ReadWindow) -> SafeString | str:
        """Return a link to the reading that the window is part of."""
        return link(ChatReading, window.reading_id)


@admin.register(ChatQuestion)
class ChatQuestionAdmin(StaffAdmin):
    """The questions about chats: status, cost and outcome, without their texts."""

    export_columns = (
        *("id", "chat_id", "reservation_id", "status", "step", "outcome", "error_code", "language", "price"),
        *("engine", "model", "rounds", "messages_read", "claims", "tokens_in", "tokens_out", "milliseconds"),
        *("created_at", "deadline_at", "finished_at"),
    )
    list_display = ("id", "state", "outcome", "error_code", "engine", "messages_read", "milliseconds", "age")
    list_filter = (("status", StateFilter), ("outcome", OutcomeFilter), ("engine", EngineFilter))
    ordering = ("-created_at",)
    search_ids = ("pk", "chat_id", "reservation_id")
    fields = (
        ("id", "state", "step"),
        ("chat_link", "reservation_link", "price"),
        ("outcome", "error_code", "language"),
        ("engine", "model", "prompts_link"),
        ("rounds", "messages_read", "claims"),
        ("tokens_in", "tokens_out", "milliseconds"),
        ("created_at", "finished_at", "deadline_at"),
        ("dispatched_at", "lease_expires_at"),
    )
    readonly_fields = (
        *("id", "state", "chat_link", "reservation_link", "prompts_link"),
        *("created_at", "finished_at", "dispatched_at", "lease_expires_at"),
    )

    @label("status")
    def state(self, question: ChatQuestion) -> str:
        """Return the status, shown as a coloured label."""
        return question.status

    @admin.display(description="chat")
    def chat_link(self, question: ChatQuestion) -> SafeString | str:
        """Return a link to the chat."""
        return link(Chat, question.chat_id)

    @admin.display(description="reservation")
    def reservation_link(self, question: ChatQuestion) -> SafeString | str:
        """Return a link to the reservation that pays for the answer, or a dash if it is free."""
        return link(CoinReservation, question.reservation_id)

    @admin.display(description="prompts")
    def prompts_link(self, question: ChatQuestion) -> SafeString | str:
        """Return a link to the prompts of the answer, or a dash if no model was called."""
        return link_prompts(question.prompt_version)

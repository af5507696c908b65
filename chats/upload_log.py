"""The log of uploads: one ChatUpload row per upload, whether it was accepted, refused or failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import DatabaseError, transaction

from chats.models import Chat, ChatUpload
from chats.parsing import ParseReport
from chats.parsing_processes import ParsingFailed
from relivchats import error_events
from relivchats.accounts.models import User
from relivchats.errors import DomainError, NotFound

logger = logging.getLogger(__name__)

Outcome = ChatUpload.Outcome


class ImportResult(NamedTuple):
    """The chat of a successful upload, and the number of messages that the upload added or left out.

    `older_left_out` counts messages that the chat lacks but that are older than its last one.
    """

    chat: Chat
    outcome: Outcome
    added: int
    older_left_out: int = 0


def last_import(chat: Chat) -> ImportResult:
    """Return the result of the chat's last successful upload, from its ChatUpload row."""
    row = chat.uploads.filter(outcome__in=ChatUpload.SUCCESSFUL).latest("pk")
    return ImportResult(chat, Outcome(row.outcome), row.message_count, row.older_left_out)


@dataclass
class UploadLog:
    """What is known about one upload while it is imported. One of the `record_…` methods saves it as a ChatUpload row.

    `stages` are the seconds by stage. `end_stage` assigns the time since the previous call to a stage, so the stages
    can alternate while batches pass through them.
    """

    owner: User
    request_id: str
    size_bytes: int
    parsed: ParseReport = field(default_factory=ParseReport)
    stages: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    stage_started: float = field(default_factory=time.perf_counter)

    def end_stage(self, stage: str) -> None:
        """Add the time since the previous stage ended to this stage."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self.stage_started
        self.stage_started = now

    def add_stages(self, stages: Mapping[str, float]) -> None:
        """Add the seconds of stages that another record has, and count the time since the previous stage to none."""
        for stage, seconds in stages.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        self.skip_stage()

    def skip_stage(self) -> None:
        """Count the time since the previous stage to none: another record has it."""
        self.stage_started = time.perf_counter()

    @property
    def milliseconds(self) -> int:
        """The milliseconds since the upload arrived."""
        return round((time.perf_counter() - self.started) * 1000)

    def record_success(self, outcome: Outcome, *, chat: Chat, added: int, **columns: Any) -> None:
        """Save the row. Call it in the transaction that stores the messages: neither must exist without the other."""
        self.end_stage("store")
        self._row(outcome, chat=chat, message_count=added, **columns).save()

    @transaction.atomic
    def record_unchanged(self, outcome: Outcome, *, chat: Chat, **columns: Any) -> None:
        """Save the row of an upload that added nothing to `chat`. Raise NotFound if the chat was deleted."""
        # The lock keeps the chat from being deleted until the row that refers to it is committed.
        if Chat.objects.select_for_update(no_key=True).only("pk").filter(pk=chat.pk).first() is None:
            raise NotFound(
                "The chat that contained these messages was just deleted. Send the file again without `extend`."
            )
        self.record_success(outcome, chat=chat, added=0, **columns)

    def record_failure(self, outcome: Outcome, error: Exception) -> None:
        """Save the row of an upload that was refused or failed, and log it: what a person can correct is no warning."""
        reason = error.reason if isinstance(error, ParsingFailed) else type(error).__name__
        row = self._row(outcome, error_code=getattr(error, "code", DomainError.code), reason=reason[:64])
        is_refusal = outcome is Outcome.REFUSED
        logger.log(
            logging.INFO if is_refusal else logging.WARNING,
            f"upload {outcome}",
            extra={
                "reason": reason,
                "bytes": self.size_bytes,
                "milliseconds": row.milliseconds,
                error_events.REFUSAL: is_refusal,
            },
        )
        # If the database is unavailable, the caller still gets the original error.
        with suppress(DatabaseError):
            row.save()

    def _row(self, outcome: Outcome, **columns: Any) -> ChatUpload:
        return ChatUpload(
            owner=self.owner,
            outcome=outcome,
            platform=self.parsed.platform,
            dialect=self.parsed.dialect,
            header_shape=self.parsed.header_shape[:80],
            size_bytes=self.size_bytes,
            milliseconds=self.milliseconds,
            stages={name: round(seconds * 1000) for name, seconds in (self.parsed.stages | self.stages).items()},
            request_id=self.request_id[:64],
            **columns,
        )


def refusal_title(reason: str) -> str:
    """Return the title of the DomainError class with this name; other exceptions keep their class name."""
    classes: list[type[DomainError]] = [DomainError]
    for error_class in classes:
        if error_class.__name__ == reason:
            return error_class.title
        classes += error_class.__subclasses__()
    return reason

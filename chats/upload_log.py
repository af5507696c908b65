"""What the record of an upload will say: its ChatUpload row, whatever comes of it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError

from chats.exports.intake import header_shape
from chats.exports.refusals import ExportRefused
from chats.models import Chat, ChatUpload
from relivchats.accounts.models import User
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)


@dataclass
class UploadLog:
    owner: User
    request_id: str
    size_bytes: int
    platform: str = ""
    dialect: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    lapped: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """The time since the last lap was this stage's."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self.lapped
        self.lapped = now

    @property
    def milliseconds(self) -> int:
        return round((time.perf_counter() - self.started) * 1000)

    def accept(self, outcome: ChatUpload.Outcome, *, chat: Chat, messages: int, **columns: Any) -> None:
        """Within the transaction that stores what came of it, so that there is never one without the other."""
        self.lap("store")
        self._row(outcome, chat=chat, message_count=messages, **columns).save()

    def refuse(self, outcome: ChatUpload.Outcome, *, error: Exception, content: bytes) -> None:
        reason = type(error).__name__
        shape = "" if isinstance(error, DomainError) and not isinstance(error, ExportRefused) else _shape(content)
        row = self._row(
            outcome,
            error_code=getattr(error, "code", DomainError.code),
            reason=reason[:64],
            header_shape=shape,
        )
        logger.warning(
            f"upload {outcome}",
            extra={"reason": reason, "bytes": self.size_bytes, "milliseconds": row.milliseconds},
        )
        # Without a database the caller still learns what happened first.
        with suppress(DatabaseError):
            row.save()

    def _row(self, outcome: ChatUpload.Outcome, **columns: Any) -> ChatUpload:
        return ChatUpload(
            owner=self.owner,
            outcome=outcome,
            platform=self.platform,
            dialect=self.dialect,
            size_bytes=self.size_bytes,
            milliseconds=self.milliseconds,
            stages={name: round(seconds * 1000) for name, seconds in self.stages.items()},
            request_id=self.request_id[:64],
            **columns,
        )


def refusal_title(reason: str) -> str:
    """What a refusal is called; a failure of ours keeps its own name."""
    return _titles(DomainError).get(reason, reason)


def _titles(refusal: type[DomainError]) -> dict[str, str]:
    of_kinds = (_titles(kind) for kind in refusal.__subclasses__())
    return {refusal.__name__: refusal.title} | {name: title for titles in of_kinds for name, title in titles.items()}


def _shape(content: bytes) -> str:
    try:
        return header_shape(content)[:80]
    except DomainError:
        return ""

"""What operations remembers between looks."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models.functions import Now


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def of(self, kind: str) -> Self:
        return self.filter(kind=kind)


class Heartbeat(models.Model):
    """A process that is alive writes its row every 10 s; the canary's row is written by a task that came through."""

    class Kind(models.TextChoices):
        WORKER = "worker"
        BEAT = "beat"
        CANARY = "canary"

    name = models.CharField(max_length=150, primary_key=True)
    kind = models.CharField(max_length=16, choices=Kind)
    pid = models.PositiveIntegerField(default=0)
    marked_as_worker = models.BooleanField(default=False, help_text="Runs with CELERY_WORKER=true.")
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())

    objects = HeartbeatQuerySet.as_manager()

    class Meta:
        db_table = "heartbeats"
        indexes = [models.Index(fields=["kind", "-beat_at"], name="heartbeats_by_kind")]

    def __str__(self) -> str:
        return self.name


class LedgerAuditQuerySet(models.QuerySet["LedgerAudit"]):
    def complete(self) -> Self:
        return self.filter(complete=True)

    def settled(self) -> Self:
        """Clean ones that the next audit may start from."""
        return self.filter(settled_at__isnull=False)


class LedgerAudit(models.Model):
    """An audit of the ledger and what it found, and from where the next one may go on."""

    complete = models.BooleanField(default=True, help_text="Every row was read, not only what changed.")
    ended_at = models.DateTimeField(db_default=Now(), editable=False)
    milliseconds = models.PositiveIntegerField()
    broken = models.JSONField(default=list, help_text="Numbers of the broken invariants.")
    marked_at = models.DateTimeField(null=True, help_text="The moment just before it.")
    next_xid = models.BigIntegerField(null=True, help_text="The database's next transaction at that moment.")
    settled_at = models.DateTimeField(null=True, help_text="Everything before was found clean and cannot grow.")
    settled_coins = models.BigIntegerField(null=True, help_text="What all transactions before that moved.")

    objects = LedgerAuditQuerySet.as_manager()

    class Meta:
        db_table = "ledger_audits"
        indexes = [models.Index(fields=["-ended_at"], name="ledger_audits_newest")]

    def __str__(self) -> str:
        return f"ledger audit {self.pk}"

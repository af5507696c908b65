"""What operations remembers between looks."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


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

    class Meta:
        db_table = "heartbeats"
        indexes = [models.Index(fields=["kind", "-beat_at"], name="heartbeats_by_kind")]

    def __str__(self) -> str:
        return self.name

"""Heartbeats of the processes, states of the health checks, and results of the ledger audits."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models.functions import Now

from ops.monitoring_models import ErrorEvent  # noqa: F401 (Django finds the models of an app here)


class Heartbeat(models.Model):
    """The row of one process, which updates it every 10 s while it is alive. Two tasks have rows too.

    That of the canary says when a task ran last, that of retention when old rows were pruned last.
    """

    class Kind(models.TextChoices):
        """What kind of process the row belongs to."""

        WEB = "web"
        WORKER = "worker"
        BEAT = "beat"
        CANARY = "canary"
        RETENTION = "retention"

    name = models.CharField(max_length=150, primary_key=True)
    kind = models.CharField(max_length=16, choices=Kind)
    pid = models.PositiveIntegerField(default=0)
    port = models.PositiveIntegerField(null=True, help_text="The port of the web server.")
    marked_as_worker = models.BooleanField(default=False, help_text="Runs with CELERY_WORKER=true.")
    # db_default: processes of the release before write rows too, while this one is installed.
    version = models.CharField(max_length=40, blank=True, db_default="", help_text="The release that the process runs.")
    memory_bytes = models.PositiveBigIntegerField(default=0, db_default=0)
    threads = models.PositiveIntegerField(default=0, db_default=0, help_text="Of a worker: tasks that it runs at once.")
    leases = models.PositiveIntegerField(default=0, db_default=0, help_text="Rows that the process has leased.")
    activity = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        help_text="What each busy thread does: a task, its id, and since when.",
    )
    key_ids = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        help_text="The keys of its ENCRYPTION_KEYS: of each the name and a hash, the current one first.",
    )
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "heartbeats"
        # For the latest heartbeat of a kind; health reads it every ten seconds.
        indexes = [models.Index(fields=["kind", "-beat_at"], name="heartbeats_by_kind")]

    def __str__(self) -> str:
        return self.name


class ScheduleEntry(models.Model):
    """A task that beat sends, and when. Beat writes the rows every 10 s."""

    name = models.CharField(max_length=100, primary_key=True)
    task = models.CharField(max_length=150)
    schedule = models.CharField(max_length=100)
    runs = models.PositiveBigIntegerField(default=0, help_text="Since beat keeps its schedule.")
    last_run_at = models.DateTimeField(null=True)
    next_run_at = models.DateTimeField(null=True)
    written_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "schedule_entries"
        verbose_name_plural = "schedule entries"

    def __str__(self) -> str:
        return self.name


class CheckState(models.Model):
    """A level that a health check reached, and when. The newest row of a check is its current level."""

    name = models.CharField(max_length=40)
    level = models.CharField(max_length=16)
    text = models.CharField(max_length=300, help_text="What the check said when it reached the level.")
    since = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "check_states"
        indexes = [models.Index(fields=["name", "-since"], name="check_states_newest")]

    def __str__(self) -> str:
        return f"{self.name} {self.level}"


class LedgerAuditQuerySet(models.QuerySet["LedgerAudit"]):
    """Audits by what they read and found."""

    def complete(self) -> Self:
        """Return the audits that read every row."""
        return self.filter(complete=True)

    def settled(self) -> Self:
        """Return the clean audits with a horizon, from which the next audit can start."""
        return self.filter(settled_at__isnull=False)


class LedgerAudit(models.Model):
    """The result of one audit of the ledger, and the horizon from which the next one can start."""

    complete = models.BooleanField(default=True, help_text="True: every row was read. False: only rows that changed.")
    ended_at = models.DateTimeField(db_default=Now(), editable=False)
    milliseconds = models.PositiveIntegerField()
    broken = models.JSONField(default=list, help_text="Numbers of the broken invariants.")
    marked_at = models.DateTimeField(null=True, help_text="The time just before the audit.")
    next_xid = models.BigIntegerField(null=True, help_text="The next transaction id of the database at that time.")
    settled_at = models.DateTimeField(
        null=True, help_text="Rows before this time are clean, and no open transaction can add to them."
    )
    settled_coins = models.BigIntegerField(null=True, help_text="Sum of the amounts of all transactions before it.")

    objects = LedgerAuditQuerySet.as_manager()

    class Meta:
        db_table = "ledger_audits"
        indexes = [models.Index(fields=["-ended_at"], name="ledger_audits_newest")]

    def __str__(self) -> str:
        return f"ledger audit {self.pk}"

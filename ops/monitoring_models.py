"""What the processes record about themselves."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now


class CountedRequests(models.Model):
    """Requests of one route, method and status, with their durations in the buckets of `relivchats.request_counts`."""

    route = models.CharField(max_length=200, help_text="The URL pattern, which contains no id.")
    method = models.CharField(max_length=8)
    status = models.PositiveSmallIntegerField()
    requests = models.PositiveBigIntegerField()
    milliseconds = models.PositiveBigIntegerField(help_text="The sum of their durations.")
    buckets = ArrayField(models.PositiveBigIntegerField(), help_text="Requests by duration.")

    class Meta:
        abstract = True


class RequestCount(CountedRequests):
    """The requests of one minute, over all processes. After twelve hours minutes are merged into hours."""

    at = models.DateTimeField(help_text="The start of the minute, or of the hour.")

    class Meta:
        db_table = "request_counts"
        constraints = [
            models.UniqueConstraint(fields=["at", "route", "method", "status"], name="one_request_count_per_minute")
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.route} {self.status} at {self.at:%Y-%m-%d %H:%M}"


class RequestTotal(CountedRequests):
    """All requests since the installation. It never falls, so that Prometheus can compute rates from it."""

    class Meta:
        db_table = "request_totals"
        constraints = [models.UniqueConstraint(fields=["route", "method", "status"], name="one_request_total")]

    def __str__(self) -> str:
        return f"{self.method} {self.route} {self.status}"


class ErrorEvent(models.Model):
    """A warning or an error of a process: its place and ids, without values."""

    class Role(models.TextChoices):
        """What the process does."""

        WEB = "web"
        WORKER = "worker"
        BEAT = "beat"
        COMMAND = "command"

    at = models.DateTimeField()
    role = models.CharField(max_length=8, choices=Role)
    host = models.CharField(max_length=120)
    pid = models.PositiveIntegerField()
    level = models.CharField(max_length=8)
    logger = models.CharField(max_length=100)
    event = models.CharField(max_length=200, help_text="The constant text of the message.")
    error = models.CharField(max_length=100, blank=True, help_text="The type of the exception.")
    code = models.CharField(max_length=64, blank=True, help_text="The error code, task or check.")
    location = models.CharField(max_length=200, blank=True, help_text="Module, function and line.")
    route = models.CharField(max_length=200, blank=True, help_text="The URL pattern, which contains no id.")
    status = models.PositiveSmallIntegerField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    # No foreign keys: an event is written when the row may be gone, and remains when it is.
    user_id = models.UUIDField(null=True)
    job_id = models.UUIDField(null=True)
    insight_id = models.UUIDField(null=True)
    chat_id = models.UUIDField(null=True)
    fingerprint = models.CharField(max_length=16, help_text="Events of the same cause have the same.")
    times = models.PositiveIntegerField(default=1, help_text="How often it happened.")

    class Meta:
        db_table = "error_events"
        indexes = [
            models.Index(fields=["-at"], name="error_events_newest"),
            models.Index(fields=["fingerprint", "-at"], name="error_events_of_cause"),
            models.Index(fields=["request_id"], name="error_events_of_request", condition=~models.Q(request_id="")),
            models.Index(fields=["user_id", "-at"], name="error_events_of_user", condition=~models.Q(user_id=None)),
            models.Index(fields=["job_id", "-at"], name="error_events_of_job", condition=~models.Q(job_id=None)),
            models.Index(
                fields=["insight_id", "-at"], name="error_events_of_insight", condition=~models.Q(insight_id=None)
            ),
            models.Index(fields=["chat_id", "-at"], name="error_events_of_chat", condition=~models.Q(chat_id=None)),
        ]

    def __str__(self) -> str:
        return f"{self.level.lower()} {self.pk}"


class Snapshot(models.Model):
    """What beat computed last for the pages of all web processes, such as the report of `health` (ops/snapshots.py)."""

    name = models.CharField(max_length=40, primary_key=True)
    data = models.JSONField(encoder=DjangoJSONEncoder)
    version = models.CharField(max_length=40, db_default="", help_text="The release of the beat that computed it.")
    taken_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "snapshots"

    def __str__(self) -> str:
        return self.name


class Sample(models.Model):
    """A value at one minute, such as the length of the queue. After two days minutes are merged into hours."""

    at = models.DateTimeField(help_text="The start of the minute, or of the hour.")
    name = models.CharField(max_length=64)
    value = models.FloatField()

    class Meta:
        db_table = "samples"
        constraints = [models.UniqueConstraint(fields=["name", "at"], name="one_sample_per_minute")]
        # For deleting old ones.
        indexes = [models.Index(fields=["at"], name="samples_oldest")]

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M}"

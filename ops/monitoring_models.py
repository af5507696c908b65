"""What the processes record about themselves."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


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
    """The requests of one minute, over all processes. After two days minutes are merged into hours."""

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

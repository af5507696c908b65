"""The deadline of a job: at first to start, then to finish.

A job is created with the time by which its first insight must be claimed (INSIGHT_START_TIMEOUT). The claim moves the
deadline to INSIGHT_GENERATION_TIMEOUT later, but not beyond the latest deadline. If the chat is still being indexed or
read when the first deadline passes, recovery moves it as well, to the latest: that is work for the job, and a claim
after it gives the job no more time.

The reservation expires RESERVATION_MARGIN_SECONDS after the latest deadline. It never changes, so a claim locks neither
reservation nor wallet, and a reservation cannot expire while its job can still deliver.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import ExpressionWrapper, F, OuterRef, Q, Subquery
from django.db.models.expressions import Combinable
from django.db.models.fields import DateTimeField
from django.db.models.functions import Greatest, Least, Now
from django.db.models.lookups import GreaterThan

from billing.models import CoinReservation
from insights.models import GenerationJob
from relivchats import clock


class Times(NamedTuple):
    """When a job that is created now must have started, and when its reservation expires."""

    deadline_at: datetime
    expires_at: datetime


def times_of_new_job() -> Times:
    """Return the times of a job that is created now."""
    deadline_at = clock.now() + timedelta(seconds=settings.INSIGHT_START_TIMEOUT)
    latest = deadline_at + timedelta(seconds=settings.INSIGHT_GENERATION_TIMEOUT)
    return Times(deadline_at, latest + _margin())


def deadline_from_now() -> Combinable:
    """Return the deadline of a job whose work starts now, for an UPDATE of the job."""
    own = CoinReservation.objects.filter(job=OuterRef("pk"))
    latest = own.values(latest=ExpressionWrapper(F("expires_at") - _margin(), output_field=DateTimeField()))
    # What was reserved with other settings limits the deadline too. With a greater margin, the latest deadline could be
    # before the one that the job has, and be over.
    latest_at = Greatest(Subquery(latest), F("deadline_at"))
    return Least(Now() + timedelta(seconds=settings.INSIGHT_GENERATION_TIMEOUT), latest_at)


def has_time_left() -> Q:
    """Return the condition that a job would be before its deadline if its next insight were claimed now."""
    is_queued = Q(status=GenerationJob.Status.QUEUED)
    return Q(deadline_at__gt=Now()) | (is_queued & Q(GreaterThan(deadline_from_now(), Now())))


def _margin() -> timedelta:
    # Longer than recovery needs to close an overdue job.
    return timedelta(seconds=settings.RESERVATION_MARGIN_SECONDS)

"""The deadline of a job: at first to start, then to finish.

A job is created with the time by which its first insight must be claimed (INSIGHT_START_TIMEOUT). The claim moves the
deadline to INSIGHT_GENERATION_TIMEOUT later. If the chat is still being indexed or read when the first deadline passes,
recovery moves it as well: that is work for the job.

The reservation expires after the latest time to which the deadline can move. It never changes, so a claim locks
neither reservation nor wallet, and a reservation cannot expire while its job can still deliver.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import ExpressionWrapper, F, OuterRef, Subquery
from django.db.models.expressions import Combinable
from django.db.models.fields import DateTimeField
from django.db.models.functions import Least, Now

from billing.models import CoinReservation
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
    # What was reserved with other settings limits the deadline too.
    return Least(Now() + timedelta(seconds=settings.INSIGHT_GENERATION_TIMEOUT), Subquery(latest))


def _margin() -> timedelta:
    # Longer than recovery needs to close an overdue job.
    return timedelta(seconds=settings.RESERVATION_MARGIN_SECONDS)

"""The history of Celery tasks, kept for a while for the operators."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now
from django_celery_results.models import TaskResult


def prune(*, batch: int = 1000, batches: int = 50) -> int:
    """Remove results older than CELERY_RESULT_EXPIRES, a batch a statement. Returns how many."""
    old = TaskResult.objects.filter(date_done__lt=Now() - timedelta(seconds=settings.CELERY_RESULT_EXPIRES))
    removed = 0
    for _ in range(batches):
        count, _by_model = TaskResult.objects.filter(pk__in=old.order_by("date_done").values("pk")[:batch]).delete()
        removed += count
        if count < batch:
            break
    return removed

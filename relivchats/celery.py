"""The Celery application. Workers mark themselves with CELERY_WORKER=true."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals
from django.dispatch import receiver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")

app = Celery("relivchats")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@receiver(signals.setup_logging)
def _keep_our_logging(**_: Any) -> None:
    """A connected receiver stops Celery from setting up logging of its own."""
    from logging.config import dictConfig

    from django.conf import settings

    dictConfig(settings.LOGGING)

"""The Celery application. Workers have CELERY_WORKER=true in their environment."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals
from django.dispatch import receiver
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")

TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "relivchats.broker:Transport"))

app = Celery("relivchats")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@receiver(signals.setup_logging)
def configure_logging(**_: Any) -> None:
    """Configure logging as in Django. Celery does not set up its own if this signal has a receiver."""
    from logging.config import dictConfig

    from django.conf import settings

    dictConfig(settings.LOGGING)


@receiver(signals.worker_ready)
def limit_memory(**_: Any) -> None:
    """Watch the memory of the worker."""
    from relivchats import memory_limit

    memory_limit.watch()

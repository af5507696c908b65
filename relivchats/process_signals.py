"""Signals of our processes that Celery does not have. Apps connect to them in `AppConfig.ready`."""

from __future__ import annotations

from django.dispatch import Signal

#: A web process is about to serve requests.
web_started = Signal()

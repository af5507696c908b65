"""The app configuration of operations."""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    """Monitoring and the operators' commands."""

    name = "ops"
    verbose_name = "Operations"

    def ready(self) -> None:
        """Connect the heartbeats to Celery's signals."""
        from ops import heartbeats

        heartbeats.connect_signals()

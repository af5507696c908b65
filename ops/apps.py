"""The app configuration of operations."""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    """Monitoring and the operators' commands."""

    name = "ops"
    verbose_name = "Operations"

    def ready(self) -> None:
        """Connect the heartbeats and the recorder to the signals of the processes."""
        from ops import heartbeats, recorder, slow_queries

        heartbeats.connect_signals()
        recorder.connect_signals()
        slow_queries.connect_signals()

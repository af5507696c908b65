from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "ops"
    verbose_name = "Operations"

    def ready(self) -> None:
        from ops import heartbeats

        heartbeats.connect()

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.db.models.signals import post_migrate


class InsightsConfig(AppConfig):
    name = "insights"
    verbose_name = "Insights"

    def ready(self) -> None:
        from billing.reservations import register_overdue_handler
        from insights import audit, recovery, signals  # noqa: F401

        register_overdue_handler(recovery.recover_reservation)
        post_migrate.connect(_load_catalogue, sender=self, dispatch_uid="insights.load_catalogue")


def _load_catalogue(*, apps: Apps = installed_apps, **_: Any) -> None:
    """After a migrate, unless it stopped before the tables are as the models say."""
    from insights import catalogue

    try:
        columns = {field.name for field in apps.get_model("insights", "InsightType")._meta.get_fields()}
    except LookupError:
        return
    if "loaded_digest" in columns:
        catalogue.load()

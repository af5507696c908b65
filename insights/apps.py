"""The app of paid insights."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.db.models.signals import post_migrate


class InsightsConfig(AppConfig):
    """Registers the app's invariants and signal receivers."""

    name = "insights"
    verbose_name = "Insights"

    def ready(self) -> None:
        """Register invariants, the handler of overdue reservations, what is followed, and what every migrate writes."""
        from billing.reservations import register_overdue_handler
        from insights import audit, questions, recovery, signals  # noqa: F401
        from relivchats import following

        register_overdue_handler(recovery.recover_reservation)
        following.register(questions.SOURCE, questions.list_progress)
        post_migrate.connect(load_catalogue, sender=self, dispatch_uid="insights.load_catalogue")
        post_migrate.connect(record_prompts, sender=self, dispatch_uid="insights.record_prompts")


def load_catalogue(*, apps: Apps = installed_apps, **_: Any) -> None:
    """Load the catalogue, unless the database was migrated to before the tables that it needs."""
    from insights import catalogue

    try:
        columns = {field.name for field in apps.get_model("insights", "InsightTypeVersion")._meta.get_fields()}
    except LookupError:
        return
    # The last column that loading writes, and that a migration added.
    if "saved_by" in columns:
        catalogue.load()


def record_prompts(*, apps: Apps = installed_apps, **_: Any) -> None:
    """Record the prompts of this release, unless the database was migrated to before their tables."""
    from insights import prompt_history

    try:
        apps.get_model("insights", "PromptSet")
    except LookupError:
        return
    prompt_history.record()

"""The app configuration of the staff infrastructure."""

from django.apps import AppConfig


class StaffConfig(AppConfig):
    """The base of the admin pages and the operators' commands: actions, reports, audit entries."""

    name = "relivchats.staff"
    label = "staff"
    verbose_name = "Staff"

    def ready(self) -> None:
        """Let the application add audit entries, and neither change nor delete them."""
        from relivchats import database_roles

        database_roles.restrict("audit_entries", to="SELECT, INSERT")

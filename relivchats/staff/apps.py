from django.apps import AppConfig


class StaffConfig(AppConfig):
    """Everything that the admin pages and the operators' commands of the other apps share."""

    name = "relivchats.staff"
    label = "staff"
    verbose_name = "Staff"

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class CoinsConfig(AppConfig):
    name = "billing"
    verbose_name = "Coins"

    def ready(self) -> None:
        from billing import signals
        from billing.payments import audit  # noqa: F401 - registers what must hold of orders
        from relivchats.accounts.models import User

        post_save.connect(signals.open_wallet_with_user, sender=User, dispatch_uid="open_wallet_with_user")
        post_migrate.connect(signals.make_bonus_row, sender=self, dispatch_uid="make_bonus_row")
        post_migrate.connect(signals.make_packages, sender=self, dispatch_uid="make_packages")

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class CoinsConfig(AppConfig):
    """Wallets, the ledger and payments."""

    name = "billing"
    verbose_name = "Coins"

    def ready(self) -> None:
        """Check the providers' settings, register the payment invariants and connect the signal receivers."""
        from billing import signals
        from billing.payments import audit, providers  # noqa: F401 - audit registers its invariants
        from relivchats.accounts.models import User

        providers.check_settings()
        post_save.connect(signals.open_wallet_with_user, sender=User, dispatch_uid="open_wallet_with_user")
        post_migrate.connect(signals.create_bonus_row, sender=self, dispatch_uid="create_bonus_row")
        post_migrate.connect(signals.create_packages, sender=self, dispatch_uid="create_packages")

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class CoinsConfig(AppConfig):
    """Wallets, the ledger and payments."""

    name = "billing"
    verbose_name = "Coins"

    def ready(self) -> None:
        """Check the providers' settings, register the payment invariants and the privileges, connect the receivers."""
        from billing import signals
        from billing.payments import audit, providers  # noqa: F401 - audit registers its invariants
        from relivchats import database_roles
        from relivchats.accounts.models import User

        providers.check_settings()
        # The application can only add to the history, and delete nothing of money and coins.
        database_roles.restrict("credit_transactions", to="SELECT, INSERT")
        database_roles.restrict(
            *("wallets", "coin_reservations", "coin_debts", "coin_adjustments"),
            *("payment_orders", "payment_refunds", "webhook_events"),
            to="SELECT, INSERT, UPDATE",
        )
        post_save.connect(signals.open_wallet_with_user, sender=User, dispatch_uid="open_wallet_with_user")
        post_migrate.connect(signals.create_bonus_row, sender=self, dispatch_uid="create_bonus_row")
        post_migrate.connect(signals.create_packages, sender=self, dispatch_uid="create_packages")

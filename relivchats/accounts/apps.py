"""The app of users and tokens."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users and tokens, with the label `accounts`."""

    name = "relivchats.accounts"
    label = "accounts"
    verbose_name = "Users"

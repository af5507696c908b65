from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "relivchats.accounts"
    label = "accounts"
    verbose_name = "People"

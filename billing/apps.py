from django.apps import AppConfig


class CoinsConfig(AppConfig):
    name = "billing"
    verbose_name = "Coins"

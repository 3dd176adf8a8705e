"""Makes the accounts known to Django."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "service.accounts"
    verbose_name = "Accounts"

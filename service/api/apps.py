"""Makes the API known to Django, for its one table: the answers to repeat (models.py)."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "service.api"
    label = "api"
    verbose_name = "API"
    default_auto_field = "django.db.models.BigAutoField"

"""Makes `python manage.py up` known to Django."""

from django.apps import AppConfig


class LocalStackConfig(AppConfig):
    name = "service.local_stack"
    verbose_name = "Local stack"

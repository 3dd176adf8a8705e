"""The Django app of the job engine."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "service.jobs"
    label = "jobs"
    verbose_name = "Jobs"

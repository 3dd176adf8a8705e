"""The Django app of experiments."""

from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    name = "service.experiments"
    label = "experiments"
    verbose_name = "Experiments"

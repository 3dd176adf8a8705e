"""The panel as a Django app; its admin modules are found by Django's autodiscovery of `admin`."""

from django.apps import AppConfig


class PanelConfig(AppConfig):
    name = "service.panel"
    label = "panel"
    verbose_name = "Altprop"

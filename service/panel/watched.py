"""The kind of list that most of the panel is: rows that people look at, and only the service makes."""

from typing import Any

from django.http import HttpRequest
from unfold.admin import ModelAdmin


class WatchedAdmin(ModelAdmin):
    """A list to look at; rows are made and changed by the service alone."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

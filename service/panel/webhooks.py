"""The panel's lists of webhooks and of their messages: watched, tried, switched off and on; no secret is shown."""

import json
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action, display

from service.panel.pages import moment
from service.panel.watched import WatchedAdmin
from service.webhooks import endpoints, outbox
from service.webhooks.errors import EndpointDisabled
from service.webhooks.events import EVENT_TYPES, TEST
from service.webhooks.models import STATES, WebhookDelivery, WebhookEndpoint
from service.webhooks.request import WebhookChange

ENDPOINT_COLOURS = {"enabled": "success", "failing": "warning", "disabled": "danger"}
DELIVERY_COLOURS = {"waiting": "info", "delivered": "success", "gave up": "danger"}


class OperatedAdmin(WatchedAdmin):
    """A list whose rows are made by the service, and operated by its actions."""

    list_per_page = 50
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).visible_to(request.user)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Ours; deletion is for owners."""
        return {name: found for name, found in super().get_actions(request).items() if name in self.actions}


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(OperatedAdmin):
    """All webhooks, newest first."""

    list_display = ("name", "shown_state", "wanted", "its_messages", "last_delivered", "owner", "created")
    list_filter = ("enabled",)
    list_select_related = ("owner",)
    search_fields = ("url", "description", "id", "owner__username")
    ordering = ("-created_at",)
    actions = ("try_out", "enable", "disable")
    fields = (
        "id",
        "owner",
        "url",
        "description",
        "wanted",
        "enabled",
        "disabled_reason",
        "failing_since",
        "last_delivered_at",
        "its_messages",
        "created_at",
    )
    readonly_fields = fields

    @display(description="Webhook", header=True)
    def name(self, endpoint: WebhookEndpoint) -> tuple[str, str]:
        return str(endpoint), _without_query(endpoint.url)

    @display(description="State", label=ENDPOINT_COLOURS)
    def shown_state(self, endpoint: WebhookEndpoint) -> str:
        if not endpoint.enabled:
            return "disabled"
        return "failing" if endpoint.failing_since is not None else "enabled"

    @display(description="Messages about")
    def wanted(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events) if endpoint.events is not None else "every move"

    @display(description="Messages")
    def its_messages(self, endpoint: WebhookEndpoint) -> str:
        there = reverse("admin:webhooks_webhookdelivery_changelist")
        return format_html('<a href="{}?endpoint__id__exact={}">Messages</a>', there, endpoint.pk)

    @display(description="Last delivered", ordering="last_delivered_at")
    def last_delivered(self, endpoint: WebhookEndpoint) -> str:
        return moment(endpoint.last_delivered_at) or "–"

    @display(description="Created", ordering="created_at")
    def created(self, endpoint: WebhookEndpoint) -> str:
        return f"{moment(endpoint.created_at)}"

    @action(description="Send a message for trial")
    def try_out(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in chosen:
            _tell(request, lambda endpoint=endpoint: outbox.send_test(endpoint), f"{endpoint}: queued.")

    @action(description="Enable")
    def enable(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, chosen, enabled=True)

    @action(description="Disable")
    def disable(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, chosen, enabled=False)

    def _switch(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint], *, enabled: bool) -> None:
        for endpoint in chosen:
            endpoints.change_endpoint(endpoint, WebhookChange(enabled=enabled))
            messages.success(request, f"{endpoint}: {'enabled' if enabled else 'disabled'}.")


class StateFilter(admin.SimpleListFilter):
    """Waiting, delivered or given up."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.replace("_", " ")) for state in STATES]

    def queryset(self, request: HttpRequest, found: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return found.filter(STATES[value]) if value in STATES else found


class TypeFilter(admin.SimpleListFilter):
    """By type; Django's own would look through the whole table for those there are."""

    title, parameter_name = "type", "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(type, type) for type in (*EVENT_TYPES, TEST)]

    def queryset(self, request: HttpRequest, found: QuerySet[Any]) -> QuerySet[Any]:
        return found.filter(type=self.value()) if self.value() else found


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OperatedAdmin):
    """Messages, newest first, with what came of each."""

    list_display = ("type", "shown_state", "sentence", "attempts", "its_job", "endpoint", "queued", "next_attempt")
    list_filter = (StateFilter, TypeFilter)
    list_select_related = ("endpoint",)
    search_fields = ("id", "job", "sentence")
    ordering = ("-queued_at",)
    actions = ("send_again",)
    fields = (
        "id",
        "type",
        "endpoint",
        "its_job",
        "shown_state",
        "sentence",
        "response_status",
        "attempts",
        "queued_at",
        "attempted_at",
        "next_attempt",
        "delivered_at",
        "gave_up_at",
        "shown_payload",
    )
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "endpoint__id__exact" or super().lookup_allowed(lookup, value, request)

    @display(description="State", label=DELIVERY_COLOURS)
    def shown_state(self, delivery: WebhookDelivery) -> str:
        return delivery.state.replace("_", " ")

    @display(description="Job")
    def its_job(self, delivery: WebhookDelivery) -> str:
        if delivery.job is None:
            return "–"
        there = reverse("admin:jobs_job_change", args=[delivery.job])
        return format_html(
            '<a href="{}">{}</a>', there, delivery.payload["data"].get("name") or f"…{str(delivery.job)[-12:]}"
        )

    @display(description="Queued", ordering="queued_at")
    def queued(self, delivery: WebhookDelivery) -> str:
        return f"{moment(delivery.queued_at)}"

    @display(description="Next attempt", ordering="next_attempt_at")
    def next_attempt(self, delivery: WebhookDelivery) -> str:
        return (moment(delivery.next_attempt_at) if delivery.state == "waiting" else None) or "–"

    @display(description="Payload")
    def shown_payload(self, delivery: WebhookDelivery) -> str:
        return format_html("<pre>{}</pre>", json.dumps(delivery.payload, indent=2, ensure_ascii=False))

    @action(description="Send again")
    def send_again(self, request: HttpRequest, chosen: QuerySet[WebhookDelivery]) -> None:
        for delivery in chosen:
            _tell(request, lambda delivery=delivery: outbox.send_again(delivery), f"{delivery.type}: queued again.")


def _tell(request: HttpRequest, queue: Any, done: str) -> None:
    try:
        queue()
    except EndpointDisabled as refusal:
        messages.error(request, refusal.sentence)
    else:
        messages.success(request, done)


def _without_query(url: str) -> str:
    """Where it goes, but not what follows: keys stand there."""
    return url.partition("?")[0]

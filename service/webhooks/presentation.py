"""Webhooks and their messages as plain dicts, for API and panel. The secret is in neither."""

from typing import Any

from service.jobs.presentation import time_text
from service.webhooks.models import WebhookDelivery, WebhookEndpoint


def present_endpoint(endpoint: WebhookEndpoint, deliveries_url: str) -> dict[str, Any]:
    return {
        "id": str(endpoint.pk),
        "url": endpoint.url,
        "description": endpoint.description,
        "events": endpoint.events,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason or None,
        "failing_since": time_text(endpoint.failing_since),
        "last_delivered_at": time_text(endpoint.last_delivered_at),
        "deliveries_url": deliveries_url,
        "owner": endpoint.owner.get_username(),
        "created_at": time_text(endpoint.created_at),
    }


def present_delivery(delivery: WebhookDelivery) -> dict[str, Any]:
    waits = delivery.state == "waiting"
    return {
        "id": str(delivery.pk),
        "webhook": str(delivery.endpoint_id),
        "type": delivery.type,
        "job": None if delivery.job is None else str(delivery.job),
        "state": delivery.state,
        "sentence": delivery.sentence or "Waiting to be sent.",
        "attempts": delivery.attempts,
        "response_status": delivery.response_status,
        "queued_at": time_text(delivery.queued_at),
        "attempted_at": time_text(delivery.attempted_at),
        "next_attempt_at": time_text(delivery.next_attempt_at) if waits else None,
        "delivered_at": time_text(delivery.delivered_at),
        "gave_up_at": time_text(delivery.gave_up_at),
        "payload": delivery.payload,
    }

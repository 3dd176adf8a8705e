"""The doorbell of deliveries, and messages that no move of a job makes: those for trial, and those sent again.

Messages of moves are queued by the database (schema.py). Here is only looked whether there are any, and the maintenance
worker is told after the commit; should that word be lost, its clock comes round every few seconds.
"""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.dispatch import receiver
from django.utils import timezone

from service import celery
from service.jobs.history import job_moved
from service.jobs.models import Transition
from service.jobs.presentation import time_text
from service.webhooks.errors import EndpointDisabled
from service.webhooks.events import TEST
from service.webhooks.models import WebhookDelivery, WebhookEndpoint


@receiver(job_moved)
def ring_where_queued(transition: Transition, **_: Any) -> None:
    """Within the transaction of the move: one query, none where the bell is to be rung already."""
    if not celery.rings_on_commit(ring) and WebhookDelivery.objects.filter(transition=transition).exists():
        transaction.on_commit(ring)


def ring() -> None:
    """Tell the maintenance worker that there are messages; a lost word costs seconds, never a message."""
    celery.ring(
        "service.webhooks.tasks.deliver",
        queue="maintenance",
        expires=settings.ALTPROP_WEBHOOK_SECONDS,
        of="messages to deliver",
    )


@transaction.atomic
def send_test(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Queue a `webhook.test`. Raises EndpointDisabled."""
    if not endpoint.enabled:
        raise EndpointDisabled("This webhook is disabled, so nothing is sent to it: enable it first.")
    delivery = WebhookDelivery(endpoint=endpoint, type=TEST)
    delivery.payload = {
        "type": TEST,
        "timestamp": time_text(timezone.now()),
        "data": {"webhook": str(endpoint.pk), "sentence": "This is how a message arrives."},
    }
    delivery.save(force_insert=True)
    delivery.refresh_from_db()
    transaction.on_commit(ring)
    return delivery


@transaction.atomic
def send_again(delivery: WebhookDelivery) -> WebhookDelivery:
    """Queue the same message, of the same `webhook-id`, once more. Raises EndpointDisabled."""
    if not delivery.endpoint.enabled:
        raise EndpointDisabled("Its webhook is disabled, so nothing is sent to it: enable it first.")
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        due_since=Now(),
        next_attempt_at=Now(),
        attempts=0,
        attempted_at=None,
        response_status=None,
        sentence="",
        delivered_at=None,
        gave_up_at=None,
    )
    delivery.refresh_from_db()
    transaction.on_commit(ring)
    return delivery

"""How long messages stay: a delivered one two weeks, so that it can be looked at and sent again."""

from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Now

from service.webhooks.delivery import TRY_FOR
from service.webhooks.models import STATES, WebhookDelivery

KEPT = timedelta(days=14)
MOST_AT_ONCE = 10_000  # so that a pass stays short


def retain() -> int:
    """Give up what waits for a disabled webhook for too long, remove what is old; returns how many were removed."""
    overdue = WebhookDelivery.objects.filter(STATES["waiting"], due_since__lt=Now() - TRY_FOR)
    overdue.exclude(endpoint__enabled=True, endpoint__owner__is_active=True).update(
        gave_up_at=Now(), sentence="Its webhook was disabled until it was too late."
    )
    ended = WebhookDelivery.objects.exclude(STATES["waiting"]).filter(
        queued_at__lt=Now() - KEPT, due_since__lt=Now() - KEPT
    )
    old = ended.order_by(F("queued_at")).values("pk")[:MOST_AT_ONCE]
    removed, _ = WebhookDelivery.objects.filter(pk__in=old).delete()
    return removed

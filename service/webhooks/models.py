"""Where messages go, and the outbox of messages: rows of it are written in the transaction that moves a job."""

from typing import Any

import uuid_utils.compat as uuid
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from service.accounts.visibility import OwnedQuerySet


class DeliveryQuerySet(OwnedQuerySet[Any]):
    owner = "endpoint__owner"


class WebhookEndpoint(models.Model):
    """An address that a user wants messages at."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="webhooks", db_index=False)
    url = models.TextField()
    description = models.CharField(max_length=200, blank=True, default="")
    events = ArrayField(models.CharField(max_length=30), null=True, blank=True)  # null: all
    secret = models.CharField(max_length=100)  # as it is, since signing needs it
    former_secret = models.CharField(max_length=100, blank=True, default="")  # signs as well until the time below
    former_secret_until = models.DateTimeField(null=True, blank=True)
    service_url = models.TextField()  # how its owner calls this service; addresses in messages begin with it

    enabled = models.BooleanField(default=True)
    disabled_reason = models.TextField(blank=True, default="")
    failing_since = models.DateTimeField(null=True, blank=True)  # nothing was taken since
    last_delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "webhook"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(F("owner"), F("created_at").desc(), F("id").desc(), name="webhooks_endpoint_owner"),
        ]
        constraints = [
            models.CheckConstraint(
                name="webhooks_endpoint_reason",
                condition=Q(enabled=True, disabled_reason="") | (Q(enabled=False) & ~Q(disabled_reason="")),
            ),
        ]

    def __str__(self) -> str:
        return self.description or self.url


class WebhookDelivery(models.Model):
    """One message to one endpoint. Its id is the `webhook-id` that the receiver tells repetitions by."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid7, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, models.CASCADE, related_name="deliveries", db_index=False)
    transition = models.ForeignKey("jobs.Transition", models.SET_NULL, null=True, related_name="+", db_index=False)
    job = models.UUIDField(null=True)  # stays when the job is deleted
    type = models.CharField(max_length=30)
    payload = models.JSONField()  # as WebhookMessage; fixed when it is queued

    queued_at = models.DateTimeField(db_default=Now())
    due_since = models.DateTimeField(
        db_default=Now()
    )  # queued, or asked for again: from here on counts how long we try
    next_attempt_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0)  # since then; grows with each claim, which it fences
    attempted_at = models.DateTimeField(null=True, blank=True)
    response_status = models.PositiveSmallIntegerField(null=True, blank=True)
    sentence = models.TextField(default="")  # what came of the last attempt
    delivered_at = models.DateTimeField(null=True, blank=True)
    gave_up_at = models.DateTimeField(null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ["-queued_at", "-id"]
        indexes = [
            # The next message of each endpoint is read straight off this index.
            models.Index(
                F("endpoint"),
                F("next_attempt_at"),
                name="webhooks_delivery_due",
                condition=Q(delivered_at__isnull=True, gave_up_at__isnull=True),
            ),
            models.Index(F("endpoint"), F("queued_at").desc(), F("id").desc(), name="webhooks_delivery_list"),
            models.Index(F("queued_at"), name="webhooks_delivery_age"),
        ]
        constraints = [
            models.UniqueConstraint(F("transition"), F("endpoint"), name="webhooks_delivery_once"),
            models.CheckConstraint(
                name="webhooks_delivery_one_end",
                condition=Q(delivered_at__isnull=True) | Q(gave_up_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.pk}"

    @property
    def state(self) -> str:
        """waiting, delivered or gave_up."""
        if self.delivered_at is not None:
            return "delivered"
        return "gave_up" if self.gave_up_at is not None else "waiting"


STATES: dict[str, Q] = {
    "waiting": Q(delivered_at__isnull=True, gave_up_at__isnull=True),
    "delivered": Q(delivered_at__isnull=False),
    "gave_up": Q(gave_up_at__isnull=False),
}
"""States of a delivery, each as a condition."""

"""Endpoints: made, changed, given a new secret, deleted; each a function with one transaction."""

import base64
import secrets
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from service.webhooks import outbox
from service.webhooks.errors import TooManyEndpoints
from service.webhooks.models import WebhookEndpoint
from service.webhooks.request import WebhookChange, WebhookRequest

MOST_OF_A_USER = 50
BOTH_SIGN_FOR = timedelta(hours=24)  # after a new secret was made, so that a receiver has time to take it up
DISABLED_BY_USER = "Disabled by its owner or the staff."


@transaction.atomic
def create_endpoint(owner: Any, wanted: WebhookRequest, *, service_url: str) -> WebhookEndpoint:
    """A new endpoint, with its secret.

    service_url: how its owner calls this service, ending in /; addresses in messages begin with it.
    Raises TooManyEndpoints.
    """
    if WebhookEndpoint.objects.filter(owner=owner).count() >= MOST_OF_A_USER:
        raise TooManyEndpoints(f"You have {MOST_OF_A_USER} webhooks, and cannot have more: delete one first.")
    endpoint = WebhookEndpoint(
        owner=owner,
        url=wanted.url,
        description=wanted.description,
        events=wanted.events,
        enabled=wanted.enabled,
        disabled_reason="" if wanted.enabled else DISABLED_BY_USER,
        secret=new_secret(),
        service_url=service_url,
    )
    endpoint.save(force_insert=True)
    endpoint.refresh_from_db()
    return endpoint


@transaction.atomic
def change_endpoint(endpoint: WebhookEndpoint, wanted: WebhookChange) -> WebhookEndpoint:
    """With what stands in `wanted`; what is waiting goes to a new url too."""
    endpoint = _locked(endpoint)
    for name in wanted.model_fields_set:
        setattr(endpoint, name, getattr(wanted, name))
    if "url" in wanted.model_fields_set:
        endpoint.failing_since = None
    if "enabled" in wanted.model_fields_set:
        endpoint.disabled_reason = "" if endpoint.enabled else endpoint.disabled_reason or DISABLED_BY_USER
        if endpoint.enabled:
            endpoint.failing_since = None
            transaction.on_commit(outbox.ring)
    endpoint.save()
    return endpoint


@transaction.atomic
def rotate_secret(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """A new secret; for a day each message is signed with the former one as well."""
    endpoint = _locked(endpoint)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        former_secret=F("secret"), former_secret_until=Now() + BOTH_SIGN_FOR, secret=new_secret()
    )
    endpoint.refresh_from_db()
    return endpoint


@transaction.atomic
def delete_endpoint(endpoint: WebhookEndpoint) -> None:
    """With all its messages. Locked first: a move that has just queued one here is waited for."""
    WebhookEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    endpoint.delete()


def new_secret() -> str:
    """32 random bytes, spelt as Standard Webhooks has it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    return WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)

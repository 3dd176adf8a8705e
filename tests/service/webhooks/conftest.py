"""A user with a webhook, a receiver that listens, and jobs to move."""

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.webhooks.endpoints import create_endpoint
from service.webhooks.models import WebhookDelivery, WebhookEndpoint
from service.webhooks.request import WebhookRequest
from tests.service.jobs.conftest import bench, make_job, user, worker
from tests.service.webhooks.receiver import Receiver

__all__ = ["bench", "make_job", "user", "worker"]

MakeEndpoint = Callable[..., WebhookEndpoint]


@pytest.fixture(autouse=True)
def _this_machine_may_be_called(settings: Any) -> None:
    settings.ALTPROP_WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def make_endpoint(user: Any, receiver: Receiver) -> MakeEndpoint:
    """A webhook of `owner`, at the receiver if it names no `url`."""

    def make(*, owner: Any = user, url: str | None = None, **wanted: Any) -> WebhookEndpoint:
        request = WebhookRequest(url=url or receiver.url, **wanted)
        return create_endpoint(owner, request, service_url="https://altprop.example/")

    return make


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint) -> WebhookEndpoint:
    return make_endpoint()


def let_time_pass(**by: float) -> None:
    """As if everything in the outbox had happened so much earlier."""
    earlier = datetime.timedelta(**by)
    for delivery in WebhookDelivery.objects.all():
        delivery.queued_at -= earlier
        delivery.due_since -= earlier
        delivery.next_attempt_at -= earlier
        delivery.save()
    for endpoint in WebhookEndpoint.objects.filter(failing_since__isnull=False):
        assert endpoint.failing_since is not None
        endpoint.failing_since -= earlier
        endpoint.save()

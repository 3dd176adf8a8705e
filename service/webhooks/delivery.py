"""Sends what is due. A message is claimed before it is sent and marked afterwards, each in a transaction of its own:
whoever dies in between leaves it due again a little later, so that it arrives at least once.

    deliver → Round: claim → Network.send → settle

An endpoint has one message under way at a time, so that it sees a job's moves in their order as long as it takes them,
and a slow one holds up only itself. A process has one round at a time: of the maintenance worker's threads one is
always free for the reaper.
"""

import datetime
import logging
import queue
import random
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from service.webhooks import outbox
from service.webhooks.models import WebhookDelivery, WebhookEndpoint
from service.webhooks.sending import Network, Outcome, message_of

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 32
ROUND_SECONDS = 15.0  # then the thread goes to whatever else waits for it, and the bell is rung for the next round
HOLD = 3.0  # times the timeout of an attempt: when a message that was claimed, and never marked, is sent again
FIRST_PAUSE, FACTOR, LONGEST_PAUSE = 5.0, 3.0, 4 * 3600.0
JITTER = 0.2
TRY_FOR = datetime.timedelta(hours=72)

# The next message of each endpoint that has none under way; the longest due first.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT first.id
    FROM webhooks_webhookendpoint AS endpoint
    JOIN auth_user AS owner ON owner.id = endpoint.owner_id AND owner.is_active
    CROSS JOIN LATERAL (
        SELECT id, next_attempt_at
        FROM webhooks_webhookdelivery
        WHERE endpoint_id = endpoint.id AND delivered_at IS NULL AND gave_up_at IS NULL
          AND next_attempt_at <= statement_timestamp()
        ORDER BY next_attempt_at
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) AS first
    WHERE endpoint.enabled AND endpoint.id <> ALL (%(busy)s)
    ORDER BY first.next_attempt_at
    LIMIT %(room)s
)
UPDATE webhooks_webhookdelivery AS delivery
SET attempts = delivery.attempts + 1, attempted_at = statement_timestamp(),
    next_attempt_at = statement_timestamp() + make_interval(secs => %(hold)s)
FROM due WHERE delivery.id = due.id
RETURNING delivery.*
"""

_round: "Round | None" = None
_guard = threading.Lock()


def deliver() -> int:
    """Send what is due until nothing is; returns how many attempts were made. While this process does so already, that
    round looks once more, and this call returns at once."""
    global _round
    with _guard:
        if _round is not None:
            _round.look_again()
            return 0
        mine = _round = Round()
    try:
        return mine.run()
    finally:
        with _guard:
            _round = None
        if mine.was_called:
            outbox.ring()


class Round:
    """Claims and settles in its own thread, sends in another; `_inbox` is between the two."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[tuple[WebhookDelivery, Outcome] | None] = queue.SimpleQueue()
        self._under_way: set[UUID] = set()  # endpoints
        self.was_called = False
        """There may be more than it has seen."""

    def look_again(self) -> None:
        """From another thread: something has become due."""
        self.was_called = True
        self._inbox.put(None)

    def run(self) -> int:
        attempts, until = 0, time.monotonic() + ROUND_SECONDS
        with ExitStack() as stack:
            network: Network | None = None
            while True:
                if time.monotonic() < until:
                    self.was_called = False
                    for delivery in claim(MOST_AT_ONCE - len(self._under_way), busy=self._under_way):
                        network = network or stack.enter_context(Network())
                        self._send(delivery, network)
                        attempts += 1
                else:
                    self.was_called = True
                if not self._under_way:
                    return attempts
                ended = self._inbox.get()
                if ended is not None:
                    delivery, outcome = ended
                    settle(delivery, outcome)
                    self._under_way.remove(delivery.endpoint_id)

    def _send(self, delivery: WebhookDelivery, network: Network) -> None:
        self._under_way.add(delivery.endpoint_id)
        network.send(message_of(delivery), lambda outcome: self._inbox.put((delivery, outcome)))


def claim(room: int, *, busy: Collection[UUID] = ()) -> list[WebhookDelivery]:
    """Due messages that are now ours to send, at most one an endpoint, of none in `busy`; with their endpoints."""
    if room <= 0:
        return []
    hold = HOLD * settings.ALTPROP_WEBHOOK_TIMEOUT_SECONDS
    rows = WebhookDelivery.objects.raw(_CLAIM, {"busy": list(busy), "room": room, "hold": hold})
    return sorted(rows.prefetch_related("endpoint"), key=lambda delivery: delivery.due_since)


@transaction.atomic
def settle(delivery: WebhookDelivery, outcome: Outcome) -> None:
    """Write down what came of an attempt: delivered, to be tried again, or given up."""
    told: dict[str, Any] = {"sentence": outcome.sentence, "response_status": outcome.status}
    waiting = WebhookDelivery.objects.filter(pk=delivery.pk, delivered_at__isnull=True)
    endpoint = WebhookEndpoint.objects.filter(pk=delivery.endpoint_id)
    if outcome.delivered:
        # Whoever else has claimed it meanwhile: it has arrived.
        waiting.update(**told, delivered_at=Now(), gave_up_at=None)
        endpoint.update(last_delivered_at=Now(), failing_since=None)
        return
    pause = max(pause_after(delivery.attempts), outcome.wait)
    if outcome.gone:
        told |= {"gave_up_at": Now(), "sentence": "Answered 410 Gone: the receiver wants no more messages."}
    elif timezone.now() + datetime.timedelta(seconds=pause) > delivery.due_since + TRY_FOR:
        hours = TRY_FOR.total_seconds() / 3600
        told |= {"gave_up_at": Now(), "sentence": f"{outcome.sentence} Given up after {hours:g} h."}
    else:
        told["next_attempt_at"] = Now() + datetime.timedelta(seconds=pause)
    if waiting.filter(attempts=delivery.attempts, gave_up_at__isnull=True).update(**told):
        endpoint.update(failing_since=Coalesce(F("failing_since"), Now()))
        _disable_where_hopeless(endpoint.filter(enabled=True), delivery, outcome)


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt: 5, 15, 45, … up to four hours, give or take a fifth."""
    pause = min(FIRST_PAUSE * FACTOR ** min(attempts - 1, 20), LONGEST_PAUSE)
    return pause * random.uniform(1 - JITTER, 1 + JITTER)


def _disable_where_hopeless(endpoint: Any, delivery: WebhookDelivery, outcome: Outcome) -> None:
    """Send nothing more to an endpoint that is gone, or has taken nothing for long; `endpoint` is a queryset."""
    days = TRY_FOR.days
    if outcome.gone:
        reason = "It answered 410 Gone: the receiver wants no more messages."
    else:
        reason = f"Nothing was taken here for {days} days; the last attempt: {outcome.sentence}"
        endpoint = endpoint.filter(Q(failing_since__lte=Now() - TRY_FOR))
    if endpoint.update(enabled=False, disabled_reason=reason):
        logger.warning("Webhook %s is disabled: %s", delivery.endpoint_id, reason)

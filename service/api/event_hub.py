"""One LISTEN connection a process, fanned out to the streams that follow a job.

PostgreSQL announces each event row and each passing word (progress) of every job. The hub keeps those of jobs that
somebody follows, reads the new rows on a thread, as many as have come meanwhile, and puts each on its followers'
queues. (Not on the same connection: what is announced together with an answer may lie in libpq's buffer, where nothing
wakes the listener.) When the connection is lost it says `CATCH_UP`, once it has a new one: followers then read what
they missed themselves.
"""

import asyncio
import json
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.db import DatabaseError, connections
from django.db import connection as django_connection

from service.api.event_shape import event_shown
from service.jobs.models import Event
from service.jobs.schema import CHANNEL

logger = logging.getLogger(__name__)

CATCH_UP = "catch up"
"""Something may have been missed: read the rows after the last one that you have."""
OVERFLOW = "overflow"
"""You read too slowly; the queue was dropped."""
LONGEST_QUEUE = 1_000
APPLICATION = "altprop events"
"""How the database names the connection, for whoever looks at its list."""
FIRST_RETRY, LONGEST_RETRY = 0.2, 5.0

Told = dict[str, Any] | str
"""An event as `event_shown` gives it, or one of the two words above."""


@dataclass(eq=False)
class Subscription:
    """What one follower has not read yet."""

    job: str
    queue: "asyncio.Queue[Told]" = field(default_factory=lambda: asyncio.Queue(LONGEST_QUEUE))

    def put(self, told: Told) -> None:
        if self.queue.full():  # whoever reads that slowly starts again from its last event
            while not self.queue.empty():
                self.queue.get_nowait()
            told = OVERFLOW
        self.queue.put_nowait(told)


class Hub:
    """The followers of one event loop and the connection that they share, opened for the first of them."""

    def __init__(self) -> None:
        self._followers: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._followers.values()))

    async def follow(self, job: str, patience: float) -> Subscription:
        """From now on, whatever is announced about a job. Raises TimeoutError where the database is away."""
        subscription = Subscription(job)
        self._followers[job].add(subscription)  # before any wait, so that the connection stays
        if self._task is None or self._task.done():
            self._listening.clear()
            self._task = asyncio.create_task(self._run(), name="events-hub")
        try:
            await asyncio.wait_for(self._listening.wait(), patience)
        except BaseException:
            self.leave(subscription)
            raise
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Nothing more for this one; the connection goes with the last follower."""
        self._followers[subscription.job].discard(subscription)
        if not self._followers[subscription.job]:
            del self._followers[subscription.job]
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        wait, lost = FIRST_RETRY, False
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**_address(), autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._listening.set()
                    if lost:
                        self._tell_all(CATCH_UP)
                    wait = FIRST_RETRY
                    await self._pass_on(connection)
            except (psycopg.Error, DatabaseError) as error:
                lost = True
                self._listening.clear()
                logger.warning("event streams lost the database (%s); next try in %.1f s", error, wait)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_RETRY)

    async def _pass_on(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            # One and whatever came with it. Those that arrive during the look-up wait in the socket.
            said = [json.loads(n.payload) async for n in connection.notifies(stop_after=1)]
            wanted = [one for one in said if one["job"] in self._followers]
            rows = [one["event"] for one in wanted if "event" in one]
            for one in wanted:
                if "data" in one:
                    self._tell(one["job"], {"id": None, "type": one["type"], "at": None, "data": one["data"]})
            if rows:
                for event in await asyncio.to_thread(_read, rows):
                    self._tell(str(event.job_id), event_shown(event))

    def _tell(self, job: str, told: Told) -> None:
        for subscription in self._followers.get(job, ()):
            subscription.put(told)

    def _tell_all(self, word: str) -> None:
        for job in self._followers:
            self._tell(job, word)


def _read(rows: list[int]) -> list[Event]:
    """On a thread, which keeps no connection."""
    try:
        return list(Event.objects.filter(pk__in=rows).order_by("pk"))
    finally:
        connections.close_all()


def _address() -> dict[str, Any]:
    """Django's database, for a connection of our own."""
    settings = django_connection.settings_dict
    named = {
        "dbname": settings["NAME"],
        "user": settings["USER"],
        "password": settings["PASSWORD"],
        "host": settings["HOST"],
        "port": settings["PORT"],
        "application_name": APPLICATION,
    }
    return {key: value for key, value in named.items() if value}

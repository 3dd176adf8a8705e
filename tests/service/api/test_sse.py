"""Events of a job as a stream: what was, what comes, where to go on, and who may listen."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.test import Client

from service.api import sse
from service.api.event_hub import APPLICATION
from service.jobs import lifecycle
from service.jobs.history import announce
from service.jobs.models import Job
from tests.service.api.conftest import Person, person
from tests.service.api.work import claim_next

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 20.0


@dataclass
class Reader:
    """One that listens: the far end of an ASGI connection."""

    path: str
    headers: dict[str, str]
    query: str = ""
    status: int | None = None
    answered: dict[str, str] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        self._news = asyncio.Condition()
        self._left = asyncio.Event()
        scope = {
            "type": "http",
            "method": "GET",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": self.query.encode(),
            "scheme": "http",
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 5),
            "http_version": "1.1",
            "headers": [(b"host", b"localhost"), *((k.encode(), v.encode()) for k, v in self.headers.items())],
        }
        self.task = asyncio.create_task(sse.application(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        async with self._news:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.answered = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.text += message.get("body", b"").decode()
            self._news.notify_all()

    async def until(self, there: Callable[[], bool]) -> None:
        """Wait for a message that makes this true."""
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(there), PATIENCE)

    async def end(self) -> None:
        """Wait until the service ends the stream."""
        done, _ = await asyncio.wait({self.task}, timeout=PATIENCE)
        assert done, f"the stream is still open after {self.text!r}"
        await self.task

    async def leave(self) -> None:
        self._left.set()
        await self.end()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those heard so far."""
        lines = self.text.split("\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith('data: {"id"')]

    @property
    def states(self) -> list[str]:
        return [event["data"]["state"] for event in self.events if event["type"] == "state"]


@pytest.fixture
def alice() -> Person:
    return person("alice")


@pytest.fixture
def job(alice: Person, redis_server: str) -> Job:
    return Job.objects.get(pk=alice.submit()["id"])


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 3 * PATIENCE))


def listen(job: Any, who: Person | None = None, **headers: str) -> Reader:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if who is not None:
        named["authorization"] = f"Token {who.token}"
    return Reader(f"/api/v1/jobs/{job}/events", named)


def test_a_reader_hears_the_past_then_the_present_then_the_end(alice: Person, job: Job) -> None:
    async def scene() -> None:
        reader = listen(job.pk, alice)
        await reader.until(lambda: reader.states == ["queued"])
        assert (reader.status, reader.answered["content-type"]) == (200, "text/event-stream; charset=utf-8")
        await sync_to_async(lifecycle.request_pause)(job, by=alice.user)
        await reader.until(lambda: reader.states == ["queued", "paused"])
        await sync_to_async(lifecycle.request_cancel)(job, by=alice.user)
        await reader.end()
        assert reader.states == ["queued", "paused", "cancelled"]
        assert reader.text.endswith("event: end\ndata: {}\n\n")

    play(scene)


def test_what_is_only_said_reaches_readers_without_an_id(alice: Person, job: Job) -> None:
    def say() -> None:
        with transaction.atomic():
            announce(job.pk, "progress", json.dumps({"fraction": 0.5}))

    async def scene() -> None:
        reader = listen(job.pk, alice)
        await reader.until(lambda: reader.states == ["queued"])
        await sync_to_async(say)()
        await reader.until(lambda: len(reader.events) == 2)
        assert reader.events[1] == {"id": None, "type": "progress", "at": None, "data": {"fraction": 0.5}}
        assert reader.text.rstrip().split("\n\n")[-1].startswith("event: progress")
        await reader.leave()

    play(scene)


def test_last_event_id_goes_on_where_the_reader_stopped(alice: Person, job: Job) -> None:
    lifecycle.request_pause(job, by=alice.user)

    async def scene() -> None:
        first = listen(job.pk, alice)
        await first.until(lambda: len(first.states) == 2)
        await first.leave()
        again = listen(job.pk, alice, last_event_id=str(first.events[0]["id"]))
        await again.until(lambda: again.states == ["paused"])
        await again.leave()

    play(scene)


def test_one_who_has_heard_all_of_an_ended_job_is_told_not_to_come_again(alice: Person, job: Job) -> None:
    lifecycle.request_cancel(job, by=alice.user)

    async def scene() -> None:
        first = listen(job.pk, alice)
        await first.end()
        assert first.states == ["queued", "cancelled"]
        again = listen(job.pk, alice, last_event_id=str(first.events[-1]["id"]))
        await again.end()
        assert (again.status, again.text) == (204, "")

    play(scene)


def test_many_readers_share_one_connection_and_hear_the_same(alice: Person, job: Job) -> None:
    async def scene() -> None:
        readers = [listen(job.pk, alice) for _ in range(20)]
        for reader in readers:
            await reader.until(lambda reader=reader: reader.states == ["queued"])
        assert await sync_to_async(listening)() == 1
        lease = await sync_to_async(claim_next)()
        await sync_to_async(lifecycle.request_cancel)(job, by=alice.user)
        await sync_to_async(lifecycle.finish_cancel)(lease)
        for reader in readers:
            await reader.end()
            assert reader.states == ["queued", "running", "cancelling", "cancelled"]

    play(scene)


def test_a_lost_connection_is_made_again_and_nothing_is_missed(alice: Person, job: Job) -> None:
    async def scene() -> None:
        reader = listen(job.pk, alice)
        await reader.until(lambda: reader.states == ["queued"])
        await sync_to_async(cut_listeners)()
        await sync_to_async(lifecycle.request_pause)(job, by=alice.user)
        await reader.until(lambda: reader.states == ["queued", "paused"])
        await sync_to_async(cut_listeners)()
        await sync_to_async(lifecycle.request_cancel)(job, by=alice.user)
        await reader.end()
        assert reader.states == ["queued", "paused", "cancelled"]

    play(scene)


def test_the_connection_goes_with_the_last_reader(alice: Person, job: Job) -> None:
    async def scene() -> None:
        reader = listen(job.pk, alice)
        await reader.until(lambda: reader.states == ["queued"])
        hub = sse._hubs[asyncio.get_running_loop()]
        assert len(hub) == 1
        await reader.leave()
        assert len(hub) == 0

    play(scene)


@pytest.mark.parametrize(
    ("who", "address", "query", "status"),
    [
        (None, "own", "", 401),
        ("bob", "own", "", 404),
        ("alice", "0199c8d2-7a1e-7c40-8f0a-3f5f0c3a9b11", "", 404),
        ("alice", "first", "", 404),
        ("alice", "own", "after=x", 400),
        ("alice", "own", "aftr=1", 400),
        ("wrong token", "own", "", 401),
    ],
)
def test_who_may_not_listen_is_told_in_problem_json(
    alice: Person, job: Job, who: str | None, address: str, query: str, status: int
) -> None:
    people = {"alice": alice, "bob": person("bob"), "wrong token": Person(None, "x"), None: None}

    async def scene() -> None:
        reader = listen(job.pk if address == "own" else address, people[who])
        reader.task.cancel()
        reader = Reader(reader.path, reader.headers, query)
        await reader.end()
        assert (reader.status, reader.answered["content-type"]) == (status, "application/problem+json")
        assert json.loads(reader.text)["status"] == status

    play(scene)


def test_a_browser_listens_with_its_session(alice: Person, job: Job) -> None:
    client = Client()
    client.force_login(alice.user)
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={client.cookies[django_settings.SESSION_COOKIE_NAME].value}"

    async def scene() -> None:
        reader = listen(job.pk, cookie=cookie)
        await reader.until(lambda: reader.states == ["queued"])
        await reader.leave()

    play(scene)


def test_no_more_streams_are_opened_than_there_can_be(alice: Person, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_STREAMS", 1)

    async def scene() -> None:
        first = listen(job.pk, alice)
        await first.until(lambda: first.states == ["queued"])
        second = listen(job.pk, alice)
        await second.end()
        assert (second.status, second.answered["retry-after"]) == (503, "30")
        await first.leave()

    play(scene)


def listening() -> int:
    """Connections that hear announcements."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [APPLICATION])
        return int(cursor.fetchone()[0])


def cut_listeners() -> None:
    """As when the database was restarted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [APPLICATION]
        )

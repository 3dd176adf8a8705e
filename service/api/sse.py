"""`/jobs/{id}/events` as a stream (text/event-stream): a plain ASGI application, since a reader stays for hours.

    browser, curl ──→ application ──┐ a queue each
    browser, curl ──→ application ──┤
                                    Hub ←── one connection, LISTEN (event_hub.py)

Django's threads are not used: a reader costs one short look-up on a thread (who is it, which job, what happened so
far), whose connection is closed before the first byte, and then a queue. Events are rows, so a reader that comes back
with `Last-Event-ID` misses nothing; what was only said, not stored, such as progress, has no id.
"""

import asyncio
import io
import json
import re
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpResponse
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException, NotAuthenticated
from rest_framework.request import Request

from service.accounts.authentication import TokenAuthentication
from service.api.errors import describe
from service.api.event_hub import CATCH_UP, OVERFLOW, Hub, Subscription
from service.api.event_shape import events_after
from service.api.events import LARGEST_ID, EventsQuery
from service.api.job_parts import find_job
from service.api.problem import MEDIA_TYPE, ApiError
from service.api.query import parse_query
from service.jobs.models import Job
from service.jobs.states import TERMINAL

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH = re.compile(r"/api/v1/jobs/([^/]+)/events")
HEARTBEAT_SECONDS = 15.0
"""Proxies cut connections that are silent for a minute."""
DATABASE_PATIENCE = 5.0
MOST_STREAMS = 2_000
PAGE = 500


class StreamsUnavailable(ApiError):
    """No further stream can be opened just now."""

    status, code, title = 503, "streams-unavailable", "No stream can be opened now"


@dataclass(frozen=True, slots=True)
class Past:
    """A job as the look-up found it: what happened after the reader's last event, and whether more can come."""

    job: Job
    events: tuple[dict[str, Any], ...]
    last: int
    ended: bool


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one reader until it leaves, or the job has ended."""
    hub = _hubs.setdefault(asyncio.get_running_loop(), Hub())
    subscription: Subscription | None = None
    try:
        if len(hub) >= MOST_STREAMS:
            detail = f"{MOST_STREAMS} streams are open, which is as many as there can be. Read the events as JSON."
            raise StreamsUnavailable(detail, headers={"Retry-After": "30"})
        # Followed first and looked up then: nothing can happen unseen in between.
        subscription = await _follow(hub, _job_id(scope))
        past = await asyncio.to_thread(_look_up, scope)
    except Exception as error:
        if subscription is not None:
            hub.leave(subscription)
        await _refuse(error, scope, send)
        return
    try:
        await _until_gone(_tell(subscription, past, send), receive)
    finally:
        hub.leave(subscription)


def _job_id(scope: Scope) -> str:
    """As announcements spell it; what is no id is left as it is, for the look-up to refuse."""
    match = PATH.fullmatch(scope["path"])
    try:
        return str(UUID(match[1])) if match else ""
    except ValueError:
        return str(match and match[1])


async def _follow(hub: Hub, job: str) -> Subscription:
    try:
        return await hub.follow(job, DATABASE_PATIENCE)
    except TimeoutError:
        detail = "The database does not answer; try again in a few seconds."
        raise StreamsUnavailable(detail, headers={"Retry-After": "5"}) from None


async def _until_gone(telling: Any, receive: Receive) -> None:
    """Until all is told or the reader has closed its end."""
    told, gone = asyncio.ensure_future(telling), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({told, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (told, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):  # OSError: the reader left while it was being told
                await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _tell(subscription: Subscription, past: Past, send: Send) -> None:
    if past.ended and not past.events and past.last:
        # It has heard everything. 204 is how a browser's EventSource is told not to come again.
        await _start(send, 204)
        await send({"type": "http.response.body", "body": b""})
        return
    await _start(send, 200, (b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"))
    await _write(send, b": events of a job, oldest first\n\n")
    while True:
        for event in past.events:
            await _write(send, _framed(event))
        if past.ended:
            break
        past = await _tell_live(subscription, past, send)
    await send({"type": "http.response.body", "body": b"event: end\ndata: {}\n\n"})


async def _tell_live(subscription: Subscription, past: Past, send: Send) -> Past:
    """Pass on what happens, until the job has ended or something may have been missed; then what to go on from."""
    last = past.last
    while True:
        try:
            told = await asyncio.wait_for(subscription.queue.get(), HEARTBEAT_SECONDS)
        except TimeoutError:
            await _write(send, b": still here\n\n")
            continue
        if told in (CATCH_UP, OVERFLOW):
            return await asyncio.to_thread(_closing, _past, past.job, last)
        assert isinstance(told, dict)
        if told["id"] is not None and told["id"] <= last:
            continue  # the look-up had it already
        last = told["id"] or last
        await _write(send, _framed(told))
        if _is_last(told):
            return replace(past, events=(), last=last, ended=True)


def _look_up(scope: Scope) -> Past:
    """On a thread: who asks, and what happened to the job so far. Raises whatever a view would."""
    return _closing(_authenticated, scope)


def _authenticated(scope: Scope) -> Past:
    bare = ASGIRequest(dict(scope), io.BytesIO())
    bare.get_host()  # refuses a Host that is not ours, as it does for every view
    SessionMiddleware(lambda _: HttpResponse()).process_request(bare)
    bare.user = get_user(bare)
    request = Request(bare, authenticators=[TokenAuthentication(), SessionAuthentication()])
    try:
        if not request.user.is_authenticated:
            raise NotAuthenticated
    except APIException as error:
        error.auth_header = "Token"  # type: ignore[attr-defined]  # as REST framework's views leave it
        raise
    query = parse_query(EventsQuery, request)
    job = find_job(request.user, _job_id(scope))
    return _past(job, max(query.after, _last_event_id(request)))


def _last_event_id(request: Request) -> int:
    """What the reader heard last; one that is not ours counts as none, as browsers send it by themselves."""
    sent = request.META.get("HTTP_LAST_EVENT_ID", "")
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 20 and int(sent) <= LARGEST_ID else 0


def _past(job: Job, after: int) -> Past:
    # The state first: whatever comes after it is found below, or announced.
    ended = Job.objects.filter(pk=job.pk).values_list("state", flat=True).first() in (*TERMINAL, None)
    found: list[dict[str, Any]] = []
    last = after
    while page := events_after(job, last, PAGE):
        found += page
        last = page[-1]["id"]
    return Past(job, tuple(found), last, ended or any(map(_is_last, found)))


def _is_last(event: dict[str, Any]) -> bool:
    """Whether the job has ended by it."""
    return event["type"] == "state" and event["data"].get("state") in TERMINAL


def _closing(work: Callable[..., Past], *arguments: Any) -> Past:
    try:
        return work(*arguments)
    finally:
        connections.close_all()


async def _refuse(error: Exception, scope: Scope, send: Send) -> None:
    body, headers = describe(error, ASGIRequest(dict(scope), io.BytesIO()))
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await _start(send, body["status"], (b"content-type", MEDIA_TYPE.encode()), *pairs)
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _start(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    every = [(b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": every})


async def _write(send: Send, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})


def _framed(event: dict[str, Any]) -> bytes:
    """An event in the stream's own form; an `id:` only where a reader can go on from it."""
    number = f"id: {event['id']}\n" if event["id"] is not None else ""
    return f"{number}event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()

"""The web process: Django in a few threads, event streams beside it.

Django runs as WSGI in four threads, about twice as fast as under its own ASGI handler (measured:
1,080-1,190 requests per second against 590 for a view of one row). A reader of an event stream would hold
one of those threads for hours, so a stream is answered by a plain ASGI application (service/api/sse.py).
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

THREADS = 4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "service.settings")
django: Any = WSGIMiddleware(get_wsgi_application(), workers=THREADS)  # type: ignore[arg-type]  # narrower types, one protocol

from service.api import sse  # noqa: E402  # once Django is set up
from service.api.catalogue import start_warming  # noqa: E402

start_warming()  # in a thread: torch takes seconds to load, and the first job should not wait for it


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Send each request where it belongs; Django's middleware also answers uvicorn's lifespan messages."""
    answer: Application = sse.application if _asks_for_a_stream(scope) else django
    await answer(scope, receive, send)


def _asks_for_a_stream(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and sse.PATH.fullmatch(scope["path"]) is not None
        and any(name == b"accept" and b"text/event-stream" in value for name, value in scope["headers"])
    )

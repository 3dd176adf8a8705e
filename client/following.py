"""Looking at something again and again until it has ended, restarts of the service included."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from client.problem import Problem

AWAY = frozenset({502, 503, 504})
"""What a proxy answers while the service behind it is restarted."""


def looks(look: Callable[[], dict[str, Any]], *, every: float, timeout: float) -> Iterator[dict[str, Any]]:
    """What `look` finds, every so many seconds, until the caller has seen enough or `timeout` seconds are over.

    A service that was there once may go away for a while: what follows it waits. One that was never there is an error:
    raises httpx.TransportError, and Problem for all that the service refuses.
    """
    deadline = time.monotonic() + timeout
    seen = False
    while True:
        try:
            found = look()
        except httpx.TransportError:
            if not seen:
                raise
        except Problem as problem:
            if not seen or problem.status not in AWAY:
                raise
        else:
            seen = True
            yield found
        if time.monotonic() > deadline:
            return
        time.sleep(every)

"""What happens to a job while the supervisor, in the main thread, is busy training it."""

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connection


def once(true: Callable[[], Any], do: Callable[[], Any]) -> threading.Thread:
    """Beside the supervisor, which has the main thread: do it as soon as it is so.

    A look that fails, at a process that has just gone or over a connection that has just ended, is made again: a
    thread that died of it would leave the supervisor with a run that nobody ends.
    """

    def watch() -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if true() or time.monotonic() > deadline:
                    do()
                    break
            except (OSError, StopIteration, DatabaseError, InterfaceError):
                connection.close()
                if time.monotonic() > deadline + 10:
                    raise
            time.sleep(0.01)
        connection.close()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread

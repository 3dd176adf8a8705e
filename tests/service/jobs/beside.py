"""What happens to a job while the supervisor, in the main thread, is busy training it."""

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection


def once(true: Callable[[], Any], do: Callable[[], Any]) -> threading.Thread:
    """Beside the supervisor, which has the main thread: do it as soon as it is so."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not true() and time.monotonic() < deadline:
            time.sleep(0.01)
        do()
        connection.close()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread

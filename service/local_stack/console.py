"""What the stack says: one line a time, headed by who says it, on the terminal and in DIR/logs/NAME.log."""

import contextlib
import logging
import logging.handlers
import threading
from collections.abc import Callable
from pathlib import Path

from service.local_stack.lines import Sink

LOG_BYTES = 10 * 1024 * 1024
LOGS_KEPT = 3


class Console:
    """Hands the lines of many children to one writer, their names aligned."""

    def __init__(self, write: Callable[[str], object], names: list[str]) -> None:
        self._write = write
        self._width = max(len(name) for name in names)
        self._lock = threading.Lock()

    def sink(self, name: str, folder: Path, chatter: str | None = None) -> Sink:
        """Takes the lines of one child, for the terminal and its log file; those with `chatter` for the file alone."""
        log = log_file(name, folder)

        def take(line: str) -> None:
            log(line)
            if chatter and chatter in line:
                return
            with self._lock, contextlib.suppress(OSError, ValueError):  # a terminal that is gone stops nobody
                self._write(f"{name:<{self._width}} | {line}")

        return take


def log_file(name: str, folder: Path) -> Sink:
    """Takes the lines of one child for its log file alone, which is rotated."""
    file = logging.handlers.RotatingFileHandler(
        folder / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8"
    )
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.Logger(name)  # apart from the logging of this process
    log.addHandler(file)
    return lambda line: log.info("%s", line)

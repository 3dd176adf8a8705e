"""What a child process prints, line by line: handed on, and its last lines kept for an error message."""

import threading
from collections import deque
from collections.abc import Callable
from typing import IO

KEPT_LINES = 40
LONGEST_LINE = 16_384  # bytes; a longer one is handed on in pieces, so that no child can fill our memory

Sink = Callable[[str], None]


class LineReader(threading.Thread):
    """Reads a pipe to its end, so that the child never blocks on a full one."""

    def __init__(self, pipe: IO[bytes], sink: Sink | None = None) -> None:
        super().__init__(daemon=True, name="line reader")
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)
        self._pipe = pipe
        self._sink = sink
        self.start()

    def run(self) -> None:
        with self._pipe:
            while raw := self._pipe.readline(LONGEST_LINE):
                line = raw.decode(errors="replace").rstrip()
                self.tail.append(line)
                if self._sink is not None and line:
                    self._sink(line)

    def text(self) -> str:
        """The last lines, after the child has ended."""
        self.join(timeout=1)
        return "\n".join(self.tail)

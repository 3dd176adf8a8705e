"""Lines from a pipe that does not block."""

import os

_BLOCK = 1 << 18
LONGEST_LINE = 64 << 20  # bytes; no event is that long


class Lines:
    """Whole lines as they come; the rest waits for its end."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.open = True
        self._rest = b""

    def read(self) -> list[bytes]:
        """The lines that one read completes; the last one, even without its end, when the pipe has closed."""
        try:
            block = os.read(self.descriptor, _BLOCK)
        except BlockingIOError:
            return []
        if not block:
            self.open = False
            rest, self._rest = self._rest, b""
            return [rest] if rest else []
        # Looked for in the new block only: a long line would otherwise be searched again with every block.
        if b"\n" not in block and len(self._rest) < LONGEST_LINE:
            self._rest += block
            return []
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) >= LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return lines

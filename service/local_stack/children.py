"""A child process of the stack: started, watched, and started again when it dies."""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.local_stack import processes
from service.local_stack.errors import StackError
from service.local_stack.guard import Guard
from service.local_stack.lines import Sink

FIRST_BACKOFF = 0.5  # seconds; doubled at each death
LONGEST_BACKOFF = 30.0
STEADY_SECONDS = 30.0  # who lived this long starts again with the first backoff

Start = Callable[[str], subprocess.Popen[bytes]]
"""Takes the NAME=value to carry in the environment; raises StackError if it cannot work."""


@dataclass
class Child:
    """One process of the stack, by its name; restarted with growing pauses."""

    name: str
    launch: Start
    ended_with: signal.Signals  # by the guard
    mark: str  # how the entry begins that marks it, and all that it starts, in the environment
    guard: Guard
    say: Sink
    process: subprocess.Popen[bytes] | None = None
    _starts: int = 0
    _started_at: float = 0.0
    _backoff: float = FIRST_BACKOFF
    _due_at: float = 0.0

    def start(self) -> None:
        """Start it now; raises StackError if that cannot work."""
        self._starts += 1
        self._started_at = time.monotonic()
        self.process = self.launch(self._entry)
        self.guard.watch(self.process.pid, self.ended_with)

    def tend(self) -> None:
        """Start it again if it has died and its pause is over."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            self._bury(self.process)
        elif time.monotonic() >= self._due_at:
            self._revive()

    def forget(self) -> None:
        """It has ended, and everything that it started too."""
        if self.process is not None:
            self.guard.forget(self.process.pid)
            self.process = None

    @property
    def _entry(self) -> str:
        return f"{self.mark}{self.name}.{self._starts}."

    def _bury(self, dead: subprocess.Popen[bytes]) -> None:
        """Kill what it leaves behind, such as a pool without its worker, and plan its return."""
        for process in processes.relatives([dead.pid], self._entry):
            processes.send(process, signal.SIGKILL)
        self.forget()
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._backoff = FIRST_BACKOFF
        self._pause(f"{self.name} {how_it_ended(dead.returncode)}")

    def _revive(self) -> None:
        try:
            self.start()
        except StackError as error:
            self._pause(f"{self.name} did not start: {str(error).rstrip('.')}")
        else:
            self.say(f"{self.name} was started again.")

    def _pause(self, reason: str) -> None:
        self.say(f"{reason}; it is started again in {self._backoff:g} s.")
        self._due_at = time.monotonic() + self._backoff
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF)


def how_it_ended(code: int) -> str:
    """What became of a process, from its exit status, as the end of a sentence."""
    if code >= 0:
        return f"exited with code {code}"
    return f"was killed by {signal.Signals(-code).name}"

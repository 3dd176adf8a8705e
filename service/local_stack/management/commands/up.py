"""`python manage.py up`: the whole service on this machine, in the foreground."""

import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from service.local_stack.devices import DeviceChoice
from service.local_stack.errors import StackError
from service.local_stack.folders import default_data_folder
from service.local_stack.stack import Interrupted, LocalStack

CANNOT_START = 2  # exit code


def port_number(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 65535:
        raise ArgumentTypeError(f"{word!r} is not a port: give a whole number from 1 to 65535")
    return int(word)


def worker_count(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 256:
        raise ArgumentTypeError(f"{word!r} is not a number of workers: give a whole number from 1 to 256")
    return int(word)


class Command(BaseCommand):
    help = "Start PostgreSQL, Redis, the API, workers and beat on this machine; Ctrl-C stops all of it."
    requires_system_checks = []  # this process runs none of the service itself

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=port_number, default=8000, help="of the API, on 127.0.0.1 (%(default)s)")
        parser.add_argument("--data-dir", type=Path, help="(~/.local/share/altprop; as root /var/lib/altprop)")
        parser.add_argument("--workers", type=worker_count, help="jobs at once (one a GPU, or one a core up to four)")
        parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="(%(default)s)")

    def handle(self, *, port: int, data_dir: Path | None, workers: int | None, device: DeviceChoice, **_: Any) -> None:
        try:
            folder = data_dir or default_data_folder()
            stack = LocalStack(folder, port=port, workers=workers, device=device, write=self._write)
            _stop_on_signals(stack)
            with stack:
                self._greet(stack)
                stack.watch()
                stack.say("Stopping; workers save what they have (Ctrl-C again to stop at once).")
        except Interrupted:
            return
        except StackError as error:
            self.stderr.write(str(error))
            sys.exit(CANNOT_START)

    def _write(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _greet(self, stack: LocalStack) -> None:
        stack.say(f"API      {stack.url}/api/v1/")
        stack.say(f"Docs     {stack.url}/api/v1/docs")
        stack.say(f"Admin    {stack.url}/admin/")
        stack.say(f"Account  {stack.folder / 'credentials.json'}")
        stack.say("Ready; Ctrl-C stops everything.")


def _stop_on_signals(stack: LocalStack) -> None:
    """The first signal stops in good order, the second at once."""

    def stop(*_: object) -> None:
        if stack.stopping.is_set():
            stack.hurry.set()
        stack.stopping.set()

    # SIGINT even where it is ignored, as it is in the background of a shell.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants us to outlive the terminal
        signal.signal(signal.SIGHUP, stop)

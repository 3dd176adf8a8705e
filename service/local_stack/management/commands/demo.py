"""`python manage.py demo`: the service started, used and stopped, with nothing left behind."""

import logging
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console

from client import Problem
from service.local_stack.demo import DemoFailed, run_demo
from service.local_stack.errors import StackError


class Command(BaseCommand):
    help = "Start the whole service in a temporary folder, train, show the results, stop."
    requires_system_checks = []

    def handle(self, **_: Any) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # the bars say enough
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            run_demo(Console())
        except (StackError, DemoFailed, Problem, TimeoutError) as error:
            self.stderr.write(str(error))
            sys.exit(2 if isinstance(error, StackError) else 1)
        except KeyboardInterrupt:
            self.stderr.write("Stopped.")
            sys.exit(130)

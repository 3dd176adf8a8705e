"""`python manage.py credentials [FIELD]`: url, username, password and token of a local stack's first account."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from service.local_stack.folders import default_data_folder, read_json

FIELDS = ("url", "username", "password", "token")


class Command(BaseCommand):
    help = "Print the credentials that `manage.py up` wrote."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("field", nargs="?", choices=FIELDS, help="only this one; left out: all, as JSON")
        parser.add_argument("--data-dir", type=Path, help="as given to `manage.py up`")

    def handle(self, *, field: str | None, data_dir: Path | None, **_: Any) -> None:
        path = (data_dir or default_data_folder()) / "credentials.json"
        found = read_json(path)
        if not found:
            self.stderr.write(f"There are no credentials at {path}: start the service once with `make up`.")
            sys.exit(2)
        self.stdout.write(found[field] if field else json.dumps(found, indent=2))

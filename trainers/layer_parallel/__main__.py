"""One of the other processes of a layer-parallel run. Its plan is the first line of stdin; EOF after that ends it."""

import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from trainers.assembly import assemble
from trainers.layer_parallel.launch import run_rank
from trainers.losses import NonFiniteLoss
from trainers.resolve import resolve_parts


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    data_dir = None if plan["data_dir"] is None else Path(plan["data_dir"])
    parts = assemble(resolve_parts(plan["spec"]), data_dir=data_dir)
    with suppress(NonFiniteLoss):  # rank 0 sees the same loss, and says so
        run_rank(plan["rank"], plan, parts, on_event=lambda event: None, output=None, stop=None)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()

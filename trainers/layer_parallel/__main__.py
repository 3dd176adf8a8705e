"""One of the other processes of a layer-parallel run. Its plan is the first line of stdin; EOF after that ends it."""

import json
import os
import signal
import sys
import threading
from contextlib import suppress

from trainers.layer_parallel.launch import READY, assemble_share, run_rank
from trainers.losses import NonFiniteLoss
from trainers.serve import die_with


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    die_with(plan["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first process decides on a stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    parts = assemble_share(plan)
    print(READY, flush=True)
    os.dup2(2, 1)  # from here on what a library prints goes where the log goes
    with suppress(NonFiniteLoss):  # the first process sees the same loss, and says so
        run_rank(plan["rank"], plan, parts, on_event=lambda event: None, output=None, stop=None)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()

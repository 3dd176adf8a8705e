"""From POST to the first training step, with a warm trainer waiting: the time a user waits for an idle worker.

    python -m benchmarks.start_latency [--jobs 20]

The whole engine runs (PostgreSQL with fsync, Redis, one Celery worker, maintenance, beat, API). Each job is posted when
the worker's next trainer has finished warming up, which is seen from outside: its CPU time stands still. Parts:

    posted     from sending the request to the job's row
    claimed    from there to the claim: the doorbell through Redis and Celery
    handed     from there to the trainer's first word, stored: the resolved spec, the data set read, the network made
    stepped    from there to the end of the first step

All clocks are the machine's. Writes results/engine.start_latency.json and .md.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tests.chaos.conftest import open_engine

# isort: split
import httpx
from django.contrib.auth import get_user_model

from service.accounts.tokens import make_token
from service.jobs.metrics import read_points
from service.jobs.models import Job
from tests.chaos.engine import Engine, children_of, wait_until

RESULTS = Path(__file__).parent / "results"
PROMISED = 1.0  # seconds
STILL_SECONDS = 0.5
SPECS = {
    "digits, 64": {"dataset": "digits", "network": {"kind": "mlp", "hidden": [64]}},
    "digits, 1024-1024": {"dataset": "digits", "network": {"kind": "mlp", "hidden": [1024, 1024]}},
}
PARTS = ("posted", "claimed", "handed", "stepped", "total")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20, help="of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with open_engine(workers=1) as engine:
        address = engine.serve() + "jobs"
        headers = {"Authorization": f"Token {make_token(get_user_model().objects.get())[1]}"}
        with httpx.Client(headers=headers, timeout=60, trust_env=False) as client:
            post_one(client, address, engine, "digits, 64")  # the API's first, which loads the registry
            found = {kind: [post_one(client, address, engine, kind) for _ in range(options.jobs)] for kind in SPECS}
    write(options, found)


def post_one(client: httpx.Client, address: str, engine: Engine, kind: str) -> dict[str, float]:
    """Seconds of each part, for one job on an idle worker."""
    wait_until(lambda: is_warm(engine), "a warm trainer")
    training = {"epochs": 1, "batch_size": 32, "device": "cpu", "threads": 1, "evaluate_every_steps": 1}
    sent = time.time()
    answer = client.post(address, json={"algorithm": "backprop", **SPECS[kind], "training": training})
    assert answer.status_code == 201, answer.text
    job = engine.wait_for_end(Job.objects.get(pk=answer.json()["id"]))
    assert job.state == "succeeded", job.sentence
    started = job.events.get(type="started").at.timestamp()
    first = min(float(read_points(summary.pk)["seconds"][0]) for summary in job.summaries.all())
    created, claimed = job.created_at.timestamp(), job.transitions.get(reason="claimed").at.timestamp()
    parts = {"posted": created - sent, "claimed": claimed - created, "handed": started - claimed, "stepped": first}
    return parts | {"total": sum(parts.values())}


def is_warm(engine: Engine) -> bool:
    """The trainer that waits uses no CPU any more."""
    trainers = [
        pid for name in engine.names for child in children_of(engine.programs[name].pid) for pid in children_of(child)
    ]
    if len(trainers) != 1 or "libtorch" not in Path(f"/proc/{trainers[0]}/maps").read_text():
        return False
    before = cpu_ticks(trainers[0])
    time.sleep(STILL_SECONDS)
    return cpu_ticks(trainers[0]) == before


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def write(options: argparse.Namespace, found: dict[str, list[dict[str, float]]]) -> None:
    command = f"python -m benchmarks.start_latency --jobs {options.jobs}"
    load = os.getloadavg()[0]
    machine: dict[str, Any] = {"cores": os.cpu_count(), "processor": platform.machine(), "load": round(load, 1)}
    kept = {kind: statistics.median(job["total"] for job in jobs) <= PROMISED for kind, jobs in found.items()}
    result = {"command": command, "machine": machine, "promised_seconds": PROMISED, "kept": kept, "jobs": found}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "engine.start_latency.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "# From POST to the first step",
        "",
        f"Warm trainer, CPU, one thread; {os.cpu_count()} cores with load {load:.1f}: a busy machine makes all slower.",
        f"Milliseconds, median (least to most) over {options.jobs} jobs.",
        "",
        f"Command: `{command}`",
        "",
        "| job | " + " | ".join(PARTS) + f" | ≤ {PROMISED:g} s |",
        "|---|" + "---|" * (len(PARTS) + 1),
    ]
    for kind, jobs in found.items():
        cells = []
        for part in PARTS:
            values = sorted(1000 * job[part] for job in jobs)
            cells.append(f"{statistics.median(values):.0f} ({values[0]:.0f} to {values[-1]:.0f})")
        lines.append(f"| {kind} | " + " | ".join(cells) + f" | {'kept' if kept[kind] else 'NOT kept'} |")
    (options.out / "engine.start_latency.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    main()

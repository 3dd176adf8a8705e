"""The soak: jobs posted over HTTP while every part of the engine is killed at seeded random instants.

    python -m benchmarks.engine_soak [--jobs 50] [--seed 1]

Starts PostgreSQL, Redis, two Celery workers, maintenance, beat and the API, all real and its own, and kills them:
trainers, pool children, workers, maintenance, beat, API, PostgreSQL (immediate stop), Redis (with all its data), and
all at once. Half of the kills hit a chosen write of the database exactly, with every writer stopped there. It ends well
only if every job ended exactly once, with weights and metric points bit-identical to a run that was left alone, no job
was lost or made twice, and no process outlived its program. The seed is printed; the same one gives the same kills.
Writes results/engine.json and .md. Leases as in the tests: 3 s, looked for every 0.5 s.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from tests.chaos.conftest import open_engine

# isort: split
from django.contrib.auth import get_user_model

from service.accounts.tokens import make_token
from service.jobs import lifecycle
from tests.chaos.soak import SPECS, TARGETS, Soak, assert_nothing_is_left

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with open_engine() as engine:
        user = get_user_model().objects.get()
        undisturbed = [engine.wait_for_end(lifecycle.create_job(user, spec)) for spec in SPECS]
        soak = Soak(engine, make_token(user)[1], options.jobs, options.seed)
        try:
            found = soak.run(undisturbed)
            assert_nothing_is_left(engine)
        except AssertionError as error:
            print(f"seed {options.seed} FAILS after {len(soak.kills)} kills: {error}", file=sys.stderr)
            for name, path in engine.logs.items():
                print(f"--- {name}\n{path.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            return 1
    write(options, found)
    return 0


def write(options: argparse.Namespace, found: dict[str, Any]) -> None:
    command = f"python -m benchmarks.engine_soak --jobs {options.jobs} --seed {options.seed}"
    load = os.getloadavg()[0]
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "load": round(load, 1)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "engine.json").write_text(
        json.dumps({"command": command, "machine": machine} | found, indent=1) + "\n"
    )
    kills = found["kills"]
    exact, points, cut_off = found["exactly_at_a_write"], found["metric_points"], found["requests_cut_off"]
    total, seconds = sum(kills.values()), found["seconds"]
    attempts = ", ".join(f"{count} in {number}" for number, count in sorted(found["attempts"].items()))
    lines = [
        "# The job engine under random kills",
        "",
        f"Command: `{command}`",
        "",
        f"{found['jobs']} jobs and {total} kills in {seconds:.0f} s, on {os.cpu_count()} cores with load {load:.1f}.",
        f"{exact} of the kills hit a chosen write exactly.",
        "",
        "| killed with kill -9 | times |",
        "|---|---|",
        *(f"| {target} | {kills.get(target, 0)} |" for target in TARGETS),
        "",
        "Every job ended exactly once, as succeeded. Its weights, and every point of every curve",
        f"({points:,} points), are bit-identical to those of a run that was left alone.",
        "No job, point or log line is lost or doubled; no process outlived its program.",
        "",
        f"Attempts until the end: {attempts}. Failures counted: {found['failures']}.",
        f"Requests that were cut off and sent again under their key: {cut_off}.",
    ]
    (options.out / "engine.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())

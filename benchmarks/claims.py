"""Claims a second, however many jobs wait; and that no job is claimed twice.

    python -m benchmarks.claims [--rows 1000 10000 100000 1000000] [--claims 400] [--repeats 5] [--race 1000]

A PostgreSQL of its own, durable as in service, is filled with queued jobs. Two processes then claim from one queue
with the statement that workers use (service/jobs/queue.py), each on a connection of its own, each claim a transaction
with its commit. The figure is the claims of both together over the time from the first to the last, the median over
repeats. Before that, two processes race until nothing is left: each job must be claimed exactly once. The plan that
PostgreSQL makes for the claim is looked at for each size. Writes results/engine.claims.json and .md.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import tests.service.servers  # noqa: F401 (sets Django up, which the imports below need)

# isort: split
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection

from service.jobs import lifecycle
from service.jobs.models import Job
from service.jobs.presence import Identity
from service.jobs.queue import claim, explain
from service.local_stack.postgres import start_postgres
from tests.chaos.engine import pointed_at
from trainers.resolve import resolve

RESULTS = Path(__file__).parent / "results"
CLAIMERS = 2
SPEC = {"algorithm": "backprop", "dataset": "digits", "training": {"device": "cpu", "threads": 1}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--claims", type=int, default=400, help="of both together, in one repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--race", type=int, default=1000, help="jobs of the race")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="altprop-claims-"))
    folder.chmod(0o755)  # also for the account that PostgreSQL runs as where we are root
    try:
        with start_postgres(folder / "postgres") as server, pointed_at(server.url):
            race, sizes = measure_all(options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write(options, race, sizes)


def measure_all(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The race, and the rates at each size."""
    call_command("migrate", verbosity=0)
    model = lifecycle.create_job(get_user_model().objects.create_user("alice"), resolve(SPEC))
    race = race_until_empty(model, options.race)
    print(race, file=sys.stderr)
    sizes = []
    for rows in options.rows:
        sizes.append(measure(model, rows, options.claims, options.repeats))
        print({key: value for key, value in sizes[-1].items() if key != "plan"}, file=sys.stderr)
    return race, sizes


def fill(model: Job, rows: int) -> None:
    """So many queued jobs like this one, of three priorities, and no other."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # triggers would cost minutes, and say nothing here
        cursor.execute("DELETE FROM jobs_event")
        cursor.execute("DELETE FROM jobs_transition")
        cursor.execute("DELETE FROM jobs_job WHERE id <> %s", [model.pk])
        cursor.execute("UPDATE jobs_job SET not_before = now() + interval '1 year' WHERE id = %s", [model.pk])
        cursor.execute(
            """
            INSERT INTO jobs_job (id, owner_id, name, tags, priority, queue, spec, algorithm, dataset, state, reason,
                                  sentence, attempt, failures, max_failures, worker_name, seconds_trained, queued_at)
            SELECT gen_random_uuid(), owner_id, name, tags, number %% 3, queue, spec, algorithm, dataset, state, reason,
                   sentence, 0, 0, max_failures, '', 0, now() - make_interval(secs => %s - number)
            FROM jobs_job, generate_series(1, %s) AS number WHERE id = %s
            """,
            [rows, rows, model.pk],
        )
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM ANALYZE jobs_job")
        cursor.execute("CHECKPOINT")  # what filling has dirtied is not to be written out while claims are timed


def race_until_empty(model: Job, rows: int) -> dict[str, Any]:
    """Two processes claim all there is."""
    fill(model, rows)
    took, each = _together(rows)
    numbers = [number for mine in each for number in mine]
    attempts = sorted(set(Job.objects.exclude(pk=model.pk).values_list("attempt", flat=True)))
    return {
        "jobs": rows,
        "claimed": len(numbers),
        "claimed_twice": len(numbers) - len(set(numbers)),
        "attempts": attempts,
        "share_of_each": [len(mine) for mine in each],
        "claims_per_second": len(numbers) / took,
    }


def measure(model: Job, rows: int, claims: int, repeats: int) -> dict[str, Any]:
    """Claims a second while about so many rows wait."""
    began = time.perf_counter()
    fill(model, rows)
    filled = time.perf_counter() - began
    plan = explain(Identity.new("cpu-1", cores=2).capacity)
    rates = []
    for _ in range(repeats):
        took, each = _together(min(claims, rows // 2))
        rates.append(sum(map(len, each)) / took)
        if rows < 2 * claims * repeats:
            fill(model, rows)
    low, middle, high = statistics.quantiles(rates, n=4)
    return {
        "queued": rows,
        "claims_per_second": middle,
        "quartiles": [low, high],
        "rates": rates,
        "plan_uses_index": "jobs_job_claim" in plan and "Seq Scan on jobs_job" not in plan,
        "pages_touched": _pages(plan),
        "plan": plan,
        "seconds_to_fill": filled,
    }


def _pages(plan: str) -> int:
    """That the whole statement looks at, found in memory or read: what a claim costs, however busy the machine is."""
    whole = next(line for line in plan.splitlines() if "Buffers: shared" in line)
    return sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", whole))


def _together(claims: int) -> tuple[float, list[list[str]]]:
    """So many claims by two processes that begin at once: seconds, and what each of them got."""
    connection.close()  # a forked process must not share it
    context = multiprocessing.get_context("fork")
    start = context.Barrier(CLAIMERS + 1)
    answers: Any = context.Queue()
    left = context.Value("i", claims)
    claimers = [context.Process(target=_claim, args=(number, start, left, answers)) for number in range(CLAIMERS)]
    for claimer in claimers:
        claimer.start()
    start.wait()
    began = time.perf_counter()
    each, ends = zip(*(answers.get() for _ in claimers), strict=True)
    for claimer in claimers:
        claimer.join()
    return max(ends) - began, list(each)


def _claim(number: int, start: Barrier, left: Any, answers: Any) -> None:
    capacity = Identity.new(f"cpu-{number + 1}", cores=2).capacity
    connection.ensure_connection()
    got = []
    start.wait()
    while True:
        with left.get_lock():
            if left.value == 0:
                break
            left.value -= 1
        found = claim(capacity)
        if found is None:
            break
        got.append(str(found[0].pk))
    answers.put((got, time.perf_counter()))  # a clock that all processes of the machine share
    connection.close()


def write(options: argparse.Namespace, race: dict[str, Any], sizes: list[dict[str, Any]]) -> None:
    with_rates = [size["claims_per_second"] for size in sizes]
    ratio = with_rates[-1] / with_rates[0]
    rows = " ".join(map(str, options.rows))
    command = f"python -m benchmarks.claims --rows {rows} --claims {options.claims} --repeats {options.repeats}"
    load = os.getloadavg()[0]
    found = {
        "command": command,
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "load": load},
        "race": race,
        "sizes": sizes,
        "last_over_first": ratio,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "engine.claims.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = [
        "# Claims a second",
        "",
        f"Two processes claim from one queue; PostgreSQL with fsync. {os.cpu_count()} cores, load {load:.1f}.",
        "",
        f"Command: `{command}`",
        "",
        "| queued | claims/s, median | quartiles | pages a claim touches | plan reads jobs_job_claim |",
        "|---|---|---|---|---|",
        *(
            f"| {size['queued']:,} | {size['claims_per_second']:,.0f} | {low:,.0f} to {high:,.0f} |"
            f" {size['pages_touched']} |"
            f" {'yes' if size['plan_uses_index'] else 'NO'} |"
            for size in sizes
            for low, high in [size["quartiles"]]
        ),
        "",
        f"At the largest size {ratio:.2f} times the rate at the smallest.",
        "",
        f"A race for {race['jobs']:,} jobs: {race['claimed']:,} claimed, {race['claimed_twice']} of them twice.",
        "",
        f"The plan at {sizes[-1]['queued']:,} queued jobs:",
        "",
        "```",
        sizes[-1]["plan"],
        "```",
    ]
    (options.out / "engine.claims.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

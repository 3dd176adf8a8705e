"""Many jobs, posted to the API one after another, while everything is killed at random instants.

Which thing is killed after how many writes is a function of the seed (alarms.py), so a seed that fails fails again.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from django.db import connection

from service.jobs.models import Job
from service.jobs.states import TERMINAL
from service.local_stack import processes
from tests.chaos.alarms import alarm
from tests.chaos.conftest import assert_same_run
from tests.chaos.engine import Engine, children_of, kill, wait_until
from trainers.resolve import resolve
from trainers.spec import TrainingSpec

LONGEST_GAP = 200  # writes from one kill to the next; a job makes about 150
LONGEST_DELAY = 0.4  # seconds from the chosen write to a kill that does not hit it exactly
LONGEST_ABSENCE = 1.0  # seconds until what was killed comes back
MOST_UNFINISHED = 4
LONGEST_WAIT = 600.0
PATIENCE = 120.0
MAX_FAILURES = 100
TARGETS = {
    "trainer": 5,
    "supervisor": 3,
    "worker": 4,
    "maintenance": 1,
    "beat": 1,
    "api": 1,
    "postgres": 2,
    "redis": 2,
    "everything": 1,
}
"""What is killed, and how often of all."""


def make_spec(seed: int, hidden: list[int], **hyperparameters: Any) -> TrainingSpec:
    training = {"epochs": 40, "batch_size": 32, "seed": seed, "device": "cpu", "threads": 1}
    often = {"evaluate_every_steps": 5, "checkpoint_every_epochs": 4}
    return resolve(
        {
            "algorithm": "backprop",
            "dataset": "digits",
            "network": {"kind": "mlp", "hidden": hidden},
            "hyperparameters": hyperparameters,
            "training": training | often,
        }
    )


SPECS = (
    make_spec(11, [64]),
    make_spec(12, [32, 32], optimizer="sgd", momentum=0.9, learning_rate=0.05),
    make_spec(13, [48], optimizer="rmsprop", learning_rate=0.001),
)


@dataclass(frozen=True)
class Disturbance:
    """One kill of the plan."""

    gap: int
    target: str
    which: float
    """Of several, the one at this fraction."""
    delay: float | None
    """Seconds after the chosen write; None: at it, with all writers stopped there."""
    absence: float


def plan(seed: int) -> Iterator[Disturbance]:
    """Endless, and the same for the same seed."""
    chance = random.Random(seed)
    while True:
        target = chance.choices(list(TARGETS), list(TARGETS.values()))[0]
        delay = chance.uniform(0.0, LONGEST_DELAY) if chance.random() < 0.5 else None
        yield Disturbance(
            chance.randint(1, LONGEST_GAP), target, chance.random(), delay, chance.uniform(0.0, LONGEST_ABSENCE)
        )


class Poster(threading.Thread):
    """A client that sends each job until it is answered, always under the same key."""

    def __init__(self, address: str, token: str, count: int) -> None:
        super().__init__(daemon=True)
        self.address, self.count = address, count
        self.headers = {"Authorization": f"Token {token}"}
        self.jobs: list[str] = []
        self.cut_off = 0
        self.refused: str | None = None

    def run(self) -> None:
        for number in range(self.count):
            body = SPECS[number % len(SPECS)].model_dump(mode="json") | {"max_failures": MAX_FAILURES}
            wait_until(self.has_room, "an end of earlier jobs", LONGEST_WAIT)
            while (answer := self.post(body, f"job-{number}")) is None:
                self.cut_off += 1
                time.sleep(0.2)
            if answer.status_code != 201:
                self.refused = answer.text
                return
            self.jobs.append(answer.json()["id"])
        connection.close()

    def has_room(self) -> bool:
        """Few enough wait that the API is needed to the end."""
        return Job.objects.exclude(state__in=TERMINAL).count() < MOST_UNFINISHED

    def post(self, body: dict[str, Any], key: str) -> httpx.Response | None:
        """None: no answer, or one that says to try again."""
        try:
            headers = self.headers | {"Idempotency-Key": key}
            answer = httpx.post(self.address, json=body, headers=headers, timeout=30, trust_env=False)
        except httpx.TransportError:
            return None
        return None if answer.status_code >= 500 or answer.status_code in (409, 429) else answer


class Soak:
    """`run` raises AssertionError at the first promise that is not kept."""

    def __init__(self, engine: Engine, token: str, jobs: int, seed: int) -> None:
        self.engine, self.count, self.seed = engine, jobs, seed
        self.poster = Poster(engine.serve() + "jobs", token, jobs)
        self.kills: list[dict[str, Any]] = []

    def run(self, undisturbed: list[Job]) -> dict[str, Any]:
        """What happened, once all jobs have ended as they should; `undisturbed`: one job of each of SPECS."""
        began = time.monotonic()
        known = set(Job.objects.values_list("pk", flat=True))
        self.poster.start()
        for disturbance in plan(self.seed):
            if not self.disturb(disturbance):
                break
        self.poster.join(PATIENCE)
        assert len(self.poster.jobs) == self.count
        jobs = {str(job.pk): job for job in Job.objects.exclude(pk__in=known).order_by("created_at")}
        assert sorted(jobs) == sorted(self.poster.jobs), "a job was made twice, or one that was answered is not there"
        for number, id in enumerate(self.poster.jobs):
            assert_same_run(jobs[id], undisturbed[number % len(SPECS)])
            assert_log_has_no_gap(jobs[id])
        return {
            "seed": self.seed,
            "jobs": self.count,
            "seconds": round(time.monotonic() - began, 1),
            "kills": Counter(kill["target"] for kill in self.kills),
            "exactly_at_a_write": sum(kill["delay"] is None for kill in self.kills),
            "requests_cut_off": self.poster.cut_off,
            "attempts": Counter(job.attempt for job in jobs.values()),
            "failures": sum(job.failures for job in jobs.values()),
            "metric_points": sum(s.count for job in jobs.values() for s in job.summaries.all()),
            "plan": self.kills,
        }

    def disturb(self, what: Disturbance) -> bool:
        """Kill one thing at its instant; false once all jobs have ended."""
        with alarm(what.gap, self.engine.postgres.url, self.is_over, PATIENCE) as stands:
            if not stands:
                return False
            if what.delay is None:
                self.kill(what)
        if what.delay is not None:
            time.sleep(what.delay)  # the instant itself, not a wait for something
            self.kill(what)
        self.kills.append(asdict(what))
        wait_until(lambda: not self.engine.orphans(), "an end of all that the killed had started")
        time.sleep(what.absence)
        self.engine.heal()
        return True

    def is_over(self) -> bool:
        assert self.poster.refused is None, self.poster.refused
        if self.poster.is_alive():
            return False
        return not Job.objects.exclude(state__in=TERMINAL).exists()

    def kill(self, what: Disturbance) -> None:
        engine = self.engine
        match what.target:
            case "trainer":
                self.kill_one_of([pid for child in self.pool_children() for pid in children_of(child)], what)
            case "supervisor":
                self.kill_one_of(self.pool_children(), what)
            case "worker":
                engine.kill(engine.names[int(what.which * len(engine.names))])
            case "postgres":
                engine.stop_postgres()
            case "redis":
                engine.wipe_redis()
            case "everything":
                for name in engine.programs:
                    engine.kill(name)
                engine.wipe_redis()
                engine.stop_postgres()
            case name:
                engine.kill(name)

    def pool_children(self) -> list[int]:
        return [pid for name in self.engine.names for pid in sorted(children_of(self.engine.programs[name].pid))]

    @staticmethod
    def kill_one_of(pids: list[int], what: Disturbance) -> None:
        if pids:
            kill(pids[int(what.which * len(pids))])


def assert_log_has_no_gap(job: Job) -> None:
    numbers = list(job.log_lines.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


def assert_nothing_is_left(engine: Engine) -> None:
    """Stop every program with kill -9; none that they started may live on."""
    everything = engine.everything()
    for name in engine.programs:
        engine.kill(name)
    left = processes.wait_until_gone(everything, patience=20)
    assert not left, f"these processes outlived their program: {left}"

"""Making an experiment with all its jobs, adding seeds, and steering all jobs at once; each in one transaction.

Whoever changes an experiment locks its row first, then its jobs; a job's own moves never lock its experiment
(hearing.py), so the two cannot wait for each other.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from service.experiments.models import Experiment, Phase, Place
from service.experiments.planning import Plan, plan, with_seed
from service.experiments.request import ExperimentRequest, MoreSeeds
from service.experiments.rules import MOST_JOBS
from service.jobs import dispatch, lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.models import Job
from service.jobs.states import TERMINAL
from trainers.errors import FieldError, SpecError
from trainers.spec import TrainingSpec, parse_model, parse_spec

MOST_RINGS = 16
"""Doorbells for a new experiment; whoever has not heard one is told by the dispatcher within seconds."""


def create_experiment(owner: Any, request: Mapping[str, Any]) -> Experiment:
    """The experiment that a decoded body asks for, with all its jobs queued.

    Raises SpecError that names every wrong field; nothing is queued then.
    """
    planned = plan(request)  # before the transaction: it may take a second and writes nothing
    asked = planned.request
    with transaction.atomic():
        experiment = Experiment(
            owner=owner,
            name=asked.name or _usual_name(planned),
            request=asked.whole(),
            workloads=list(planned.workloads),
            arms=[{"name": arm, "algorithm": algorithm} for arm, algorithm in planned.arms.items()],
            properties=planned.properties,
            cells=[
                {"arm": cell.arm, "workload": cell.workload, "spec": cell.spec.model_dump(mode="json")}
                for cell in planned.cells
            ],
            phase=Phase.MAIN if asked.tune is None else Phase.TUNING,
            settled_at=None if asked.has_rules else Now(),
        )
        experiment.save(force_insert=True)
        experiment.refresh_from_db()
        maker = JobMaker(experiment)
        seeds = [] if asked.tune is None else asked.tune.seed_list()
        for trial in planned.trials:
            for seed in seeds:
                maker.make(trial.spec, seed, Phase.TUNING, trial.arm, trial.workload, trial=trial.number)
        for cell, seed in planned.comparison():
            maker.make(cell.spec, seed, Phase.MAIN, cell.arm, cell.workload, first=seed == cell.seeds[0])
        maker.finish()
    return experiment


def add_seeds(experiment: Experiment, request: Mapping[str, Any]) -> Experiment:
    """Train every arm with further seeds, on the very specs that its jobs have but for the seed.

    Raises SpecError, and TransitionRefused once the experiment was cancelled or its budget is spent.
    """
    wanted = parse_model(MoreSeeds, request).seeds
    with transaction.atomic():
        experiment = locked(experiment.pk)
        if experiment.cancelled_at is not None:
            raise TransitionRefused("This experiment was cancelled. Start another one with the seeds that you want.")
        if experiment.stopped is not None:
            raise TransitionRefused(f"{experiment.stopped['sentence']} Start another one with the seeds that you want.")
        _check_seeds(experiment, wanted)
        train_seeds(experiment, wanted)
        asked = asked_for(experiment)
        if asked.jobs is None:
            experiment.request = {**experiment.request, "seeds": [*asked.seed_list(), *wanted]}
        if asked.has_rules:  # budget and early stop hold for these too
            experiment.settled_at = None
        experiment.save(update_fields=["request", "phase", "settled_at"])
    return experiment


def train_seeds(experiment: Experiment, seeds: Iterable[int]) -> list[Job]:
    """Queue every arm with these seeds, with what was tuned as well where that is known. The row is locked."""
    maker, cells = JobMaker(experiment), trained_cells(experiment)
    for seed in seeds:
        for arm, workload, spec, tuned in cells:
            maker.make(spec, seed, Phase.EXTRA_SEEDS, arm, workload, tuned=tuned)
    if maker.made and experiment.phase == Phase.MAIN:
        experiment.phase = Phase.EXTRA_SEEDS
    maker.finish()
    return maker.made


def trained_cells(experiment: Experiment) -> list[tuple[str, int, TrainingSpec, bool]]:
    """Arm, workload, spec, and whether its hyperparameters were tuned: all that one seed is trained on."""
    plain = [(cell["arm"], cell["workload"], parse_spec(cell["spec"]), False) for cell in experiment.cells]
    return plain + [(arm, workload, spec, True) for arm, workload, spec in tuned_cells(experiment)]


def tuned_cells(experiment: Experiment) -> list[tuple[str, int, TrainingSpec]]:
    """As the search chose; none before it has ended."""
    best = {(each["arm"], each["workload"]): each for each in (experiment.tuning or {}).get("best", [])}
    return [
        (
            cell["arm"],
            cell["workload"],
            parse_spec({**cell["spec"], "hyperparameters": best[cell["arm"], cell["workload"]]["hyperparameters"]}),
        )
        for cell in experiment.cells
        if (cell["arm"], cell["workload"]) in best
    ]


def seeds_of(experiment: Experiment) -> list[int]:
    """Of the comparison, in the order in which they were queued."""
    seeds = experiment.places.exclude(phase=Phase.TUNING).order_by("job_id").values_list("seed", flat=True)
    return list(dict.fromkeys(seeds))


def asked_for(experiment: Experiment) -> ExperimentRequest:
    """The request as a model again."""
    return parse_model(ExperimentRequest, experiment.request)


def locked(id: UUID) -> Experiment:
    """The row, ours until the transaction ends; places can be added meanwhile, by a job that is tried again."""
    return Experiment.objects.select_for_update(no_key=True).select_related(None).get(pk=id)


@transaction.atomic
def request_cancel(experiment: Experiment, *, by: Any) -> Experiment:
    """Cancel every job that has not ended; those that a worker holds end within seconds. Raises TransitionRefused."""
    experiment = locked(experiment.pk)
    already = experiment.cancelled_at is not None
    open_jobs = experiment.jobs.exclude(state__in=TERMINAL).exists()
    if not already and not open_jobs and not experiment.may_grow:
        raise TransitionRefused("All jobs of this experiment have ended; there is nothing left to cancel.")
    if not already:
        Experiment.objects.filter(pk=experiment.pk).update(cancelled_at=Now(), settled_at=Now())
        experiment.refresh_from_db()
    _steer(experiment, lifecycle.request_cancel, by)
    return experiment


@transaction.atomic
def request_pause(experiment: Experiment, *, by: Any) -> Experiment:
    """Pause every job that waits or trains; those that train save a checkpoint first. Raises TransitionRefused."""
    if not _steer(experiment, lifecycle.request_pause, by):
        raise TransitionRefused("No job of this experiment waits or trains; there is nothing to pause.")
    return experiment


@transaction.atomic
def resume(experiment: Experiment, *, by: Any) -> Experiment:
    """Queue every paused job again. Raises TransitionRefused."""
    if not _steer(experiment, lifecycle.resume, by):
        raise TransitionRefused("No job of this experiment is paused. One that is pausing can be resumed once it has.")
    return experiment


class JobMaker:
    """Makes jobs of one experiment within one transaction; `finish` ends it."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.priority, self.queue = experiment.request["priority"], experiment.request["queue"]
        places = [(cell["arm"], cell["workload"]) for cell in experiment.cells]
        self.tested = dict(reversed(places))  # by arm, its first workload
        self.made: list[Job] = []
        self.places: list[Place] = []

    def make(
        self,
        spec: TrainingSpec,
        seed: int,
        phase: Phase,
        arm: str,
        workload: int,
        *,
        tuned: bool = False,
        trial: int | None = None,
        first: bool = False,
    ) -> Job:
        """A queued job in its place. The first seed of an arm on its first workload also tests what it declares."""
        what = f"{arm}{' tuned' if tuned else ''} on {spec.dataset}"
        job = lifecycle.create_job(
            self.experiment.owner,
            with_seed(spec, seed, interventions=first and self.tested[arm] == workload),
            name=f"{what}, {'' if trial is None else f'trial {trial}, '}seed {seed}"[:200],
            priority=self.priority,
            queue=self.queue,
            experiment=self.experiment.pk,
            announced=False,
        )
        place = Place(
            job=job,
            experiment=self.experiment,
            phase=phase,
            arm=arm,
            workload=workload,
            seed=seed,
            tuned=tuned,
            trial=trial,
        )
        self.places.append(place)
        self.made.append(job)
        return job

    def finish(self) -> None:
        """Store what each stands for, and tell workers of all of them when the transaction commits."""
        Place.objects.bulk_create(self.places)
        queues = [job.queue for job in self.made]
        transaction.on_commit(lambda: _ring(queues))


def _steer(experiment: Experiment, move: Callable[..., Job], by: Any) -> int:
    """Make this move with every job whose state allows it; returns how many there were."""
    moved = 0
    for job in experiment.jobs.exclude(state__in=TERMINAL):
        with contextlib.suppress(TransitionRefused):  # also one that has just ended
            move(job, by=by)
            moved += 1
    return moved


def _check_seeds(experiment: Experiment, wanted: list[int]) -> None:
    used = set(experiment.places.values_list("seed", flat=True))
    problems = [
        FieldError(f"#/seeds/{place}", f"Seed {seed} is already in this experiment.", seed)
        for place, seed in enumerate(wanted)
        if seed in used
    ]
    jobs, each = experiment.jobs.count(), len(trained_cells(experiment))
    budget = experiment.request.get("budget") or {}
    most = min(MOST_JOBS, budget.get("jobs") or MOST_JOBS)
    if jobs + each * len(wanted) > most:
        fitting = max(0, (most - jobs) // max(each, 1))
        whose = "An experiment has" if most == MOST_JOBS else "The budget of this experiment is"
        sentence = f"{whose} at most {most:,} jobs; this one has room for {fitting} more seeds."
        problems.append(FieldError("#/seeds", sentence, wanted))
    if problems:
        raise SpecError.of(problems)


def _ring(queues: list[str]) -> None:
    for queue in dict.fromkeys(queues):
        for _ in range(min(queues.count(queue), MOST_RINGS)):
            if not dispatch.ring(queue):
                return  # each try at a broker that is away takes seconds, and this is a request


def _usual_name(planned: Plan) -> str:
    datasets = dict.fromkeys(workload["dataset"] for workload in planned.workloads)
    return f"{', '.join(planned.arms)} on {', '.join(datasets)}"[:200]

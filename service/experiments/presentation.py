"""Experiments as plain dicts: state, phase, progress and time left, derived from their jobs by one query a page."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, FloatField, Max, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from service.experiments import tuning
from service.experiments.models import Experiment, Phase
from service.jobs.models import Job
from service.jobs.presentation import time_text
from service.jobs.states import HELD, TERMINAL, State

Addresses = Callable[[Experiment], Mapping[str, str]]


@dataclass(slots=True)
class Standing:
    """Where an experiment's jobs stand. One row of `groups` for each algorithm, data set, phase, table and state."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    to_come: int = 0
    """Jobs that are certain to follow: of the comparison with what a search finds."""

    @property
    def counts(self) -> dict[str, int]:
        """Jobs by state; states without a job are left out."""
        found: dict[str, int] = defaultdict(int)
        for group in self.groups:
            found[group["state"]] += group["jobs"]
        return {state.value: found[state] for state in State if state in found}

    @property
    def jobs(self) -> int:
        return sum(group["jobs"] for group in self.groups)

    @property
    def planned(self) -> int:
        """With those that are certain to follow."""
        return self.jobs + self.to_come

    @property
    def ended(self) -> int:
        return sum(group["jobs"] for group in self.groups if group["state"] in TERMINAL)

    @property
    def seconds_trained(self) -> float:
        """Of all jobs, over all attempts: what budgets are held against."""
        return round(sum(group["trained"] or 0.0 for group in self.groups), 3)

    def of_phase(self, phase: Phase) -> dict[str, Any]:
        """Jobs and seconds of one phase."""
        mine = [group for group in self.groups if group["place__phase"] == phase]
        return {
            "jobs": sum(group["jobs"] for group in mine),
            "ended": sum(group["jobs"] for group in mine if group["state"] in TERMINAL),
            "seconds": round(sum(group["trained"] or 0.0 for group in mine), 3),
        }

    @property
    def fraction(self) -> float:
        """0 to 1; a job that has ended counts as whole, however it ended."""
        underway = sum(group["fraction"] or 0.0 for group in self.groups if group["state"] not in TERMINAL)
        return round((self.ended + underway) / self.planned, 4) if self.planned else 1.0

    @property
    def finished_at(self) -> datetime | None:
        """When the last job ended; None while one has not."""
        if self.ended < self.jobs:
            return None
        return max((group["last"] for group in self.groups if group["last"] is not None), default=None)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until all have ended, if as many train at once as do now; None while nothing tells."""
        if self.ended == self.planned:
            return 0.0
        taken = {
            (group["algorithm"], group["dataset"]): group["seconds"]
            for group in self.groups
            if group["state"] == State.SUCCEEDED
        }
        usual = sum(taken.values()) / len(taken) if taken else None
        left = 0.0
        for group in self.groups:
            if group["state"] in TERMINAL:
                continue
            each = taken.get((group["algorithm"], group["dataset"]), usual)
            unknown = group["jobs"] - group["told"]
            if unknown and each is None:
                return None
            left += (group["eta"] or 0.0) + unknown * (each or 0.0)
        if self.to_come:
            if usual is None:
                return None
            left += self.to_come * usual
        at_once = sum(group["jobs"] for group in self.groups if group["state"] in HELD)
        return round(left / max(at_once, 1), 1)


def standings(experiments: Iterable[Experiment]) -> dict[UUID, Standing]:
    """Of all of them, in one query."""
    experiments = list(experiments)
    found = {experiment.pk: Standing() for experiment in experiments}
    rows = (
        Job.objects.filter(experiment__in=list(found))
        .order_by()
        .values("experiment", "algorithm", "dataset", "place__phase", "place__tuned", "state")
        .annotate(
            jobs=Count("id"),
            fraction=Sum(Cast(KT("progress__fraction"), FloatField())),
            eta=Sum(Cast(KT("progress__eta_seconds"), FloatField())),
            told=Count(KT("progress__eta_seconds")),
            seconds=Avg("seconds_trained"),
            trained=Sum("seconds_trained"),
            last=Max("finished_at"),
        )
    )
    for row in rows:
        experiment = row["experiment"]
        assert experiment is not None  # as the filter says
        found[experiment].groups.append(dict(row))
    for each in experiments:
        found[each.pk].to_come = _to_come(each, found[each.pk])
    return found


def _to_come(experiment: Experiment, standing: Standing) -> int:
    """While a search goes on: the comparison that is trained once more with what it finds."""
    if experiment.phase != Phase.TUNING or experiment.stopped is not None or experiment.settled_at is not None:
        return 0
    return sum(group["jobs"] for group in standing.groups if group["place__phase"] == Phase.MAIN)


def state_of(experiment: Experiment, standing: Standing) -> str:
    """running, finished or cancelled."""
    if experiment.cancelled_at is not None:
        return "cancelled"
    return "finished" if standing.ended == standing.jobs and not experiment.may_grow else "running"


def present_all(experiments: Iterable[Experiment], addresses: Addresses) -> list[dict[str, Any]]:
    """A page of experiments (owners selected with them); `addresses` gives the URLs that each shows."""
    experiments = list(experiments)
    found = standings(experiments)
    return [_present(each, found[each.pk], addresses(each)) for each in experiments]


def present(experiment: Experiment, addresses: Addresses) -> dict[str, Any]:
    """One experiment."""
    return present_all([experiment], addresses)[0]


def _present(experiment: Experiment, standing: Standing, addresses: Mapping[str, str]) -> dict[str, Any]:
    state = state_of(experiment, standing)
    return {
        "id": str(experiment.pk),
        **addresses,
        "name": experiment.name,
        "state": state,
        "phase": experiment.phase,
        "reason": (experiment.stopped or {}).get("rule"),
        "sentence": sentence_of(experiment, state, standing),
        "progress": {
            "fraction": standing.fraction,
            "jobs": standing.jobs,
            "planned": standing.planned,
            "ended": standing.ended,
            "eta_seconds": standing.eta_seconds,
            "seconds_trained": standing.seconds_trained,
        },
        "counts": standing.counts,
        "arms": [arm["name"] for arm in experiment.arms],
        "workloads": [{key: each[key] for key in ("dataset", "label", "chance")} for each in experiment.workloads],
        "tuning": _tuning(experiment, standing),
        "looks": experiment.looks,
        "request": experiment.request,
        "owner": experiment.owner.get_username(),
        "created_at": time_text(experiment.created_at),
        "finished_at": time_text(standing.finished_at) if state != "running" else None,
        "cancelled_at": time_text(experiment.cancelled_at),
    }


def _tuning(experiment: Experiment, standing: Standing) -> dict[str, Any] | None:
    """The search, with its price so far."""
    price = tuning.price(experiment)
    return None if price is None else {**price, **standing.of_phase(Phase.TUNING)}


def sentence_of(experiment: Experiment, state: str, standing: Standing) -> str:
    """Where it stands, for people."""
    counts = standing.counts
    failed = counts.get(State.FAILED, 0)
    trouble = f" {failed} failed; the report counts {'it' if failed == 1 else 'them'}." if failed else ""
    if experiment.stopped is not None:
        stopped = experiment.stopped["jobs"]
        rest = f"{stopped} job{'' if stopped == 1 else 's'} had not begun and never will"
        trouble += f" {experiment.stopped['sentence']} {rest}." if stopped else f" {experiment.stopped['sentence']}"
    match state:
        case "cancelled":
            open_ones = standing.jobs - standing.ended
            rest = f"; {open_ones} being stopped" if open_ones else ""
            return f"Cancelled with {counts.get(State.SUCCEEDED, 0)} of {standing.jobs} jobs trained{rest}.{trouble}"
        case "finished":
            return f"All {standing.jobs} jobs have ended.{trouble}"
    between = " What follows is decided next." if standing.ended == standing.jobs else ""
    done = f"{standing.ended} of {standing.planned} jobs have ended."
    return f"{_PHASES[Phase(experiment.phase)]}{done}{between}{trouble}"


_PHASES = {Phase.TUNING: "Searching for hyperparameters: ", Phase.MAIN: "", Phase.EXTRA_SEEDS: "With further seeds: "}

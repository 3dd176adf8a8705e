"""Experiments as plain dicts: state, progress and time left, all derived from their jobs by one query a page."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, FloatField, Max, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from service.experiments.models import Experiment
from service.jobs.models import Job
from service.jobs.presentation import time_text
from service.jobs.states import HELD, TERMINAL, State

Addresses = Callable[[Experiment], Mapping[str, str]]


@dataclass(slots=True)
class Standing:
    """Where an experiment's jobs stand. One row of `groups` for each algorithm, data set and state."""

    groups: list[dict[str, Any]] = field(default_factory=list)

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
    def ended(self) -> int:
        return sum(group["jobs"] for group in self.groups if group["state"] in TERMINAL)

    @property
    def fraction(self) -> float:
        """0 to 1; a job that has ended counts as whole, however it ended."""
        underway = sum(group["fraction"] or 0.0 for group in self.groups if group["state"] not in TERMINAL)
        return round((self.ended + underway) / self.jobs, 4) if self.jobs else 1.0

    @property
    def finished_at(self) -> datetime | None:
        """When its last job ended; None while one has not."""
        if self.ended < self.jobs:
            return None
        return max((group["last"] for group in self.groups if group["last"] is not None), default=None)

    @property
    def eta_seconds(self) -> float | None:
        """Until the last job ends, by what such jobs have taken, shared by as many as train now.

        None while no job has told how long it takes.
        """
        if self.ended == self.jobs:
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
        at_once = sum(group["jobs"] for group in self.groups if group["state"] in HELD)
        return round(left / max(at_once, 1), 1)


def standings(experiments: Iterable[Experiment]) -> dict[UUID, Standing]:
    """Of all of them, in one query."""
    found = {experiment.pk: Standing() for experiment in experiments}
    rows = (
        Job.objects.filter(experiment__in=list(found))
        .order_by()
        .values("experiment", "algorithm", "dataset", "state")
        .annotate(
            jobs=Count("id"),
            fraction=Sum(Cast(KT("progress__fraction"), FloatField())),
            eta=Sum(Cast(KT("progress__eta_seconds"), FloatField())),
            told=Count(KT("progress__eta_seconds")),
            seconds=Avg("seconds_trained"),
            last=Max("finished_at"),
        )
    )
    for row in rows:
        experiment = row["experiment"]
        assert experiment is not None  # as the filter says
        found[experiment].groups.append(dict(row))
    return found


def state_of(experiment: Experiment, standing: Standing) -> str:
    """running, finished or cancelled."""
    if experiment.cancelled_at is not None:
        return "cancelled"
    return "finished" if standing.ended == standing.jobs else "running"


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
        "sentence": sentence_of(state, standing),
        "progress": {
            "fraction": standing.fraction,
            "jobs": standing.jobs,
            "ended": standing.ended,
            "eta_seconds": standing.eta_seconds,
        },
        "counts": standing.counts,
        "workloads": [{key: each[key] for key in ("dataset", "label", "chance")} for each in experiment.workloads],
        "request": experiment.request,
        "owner": experiment.owner.get_username(),
        "created_at": time_text(experiment.created_at),
        "finished_at": time_text(standing.finished_at),
        "cancelled_at": time_text(experiment.cancelled_at),
    }


def sentence_of(state: str, standing: Standing) -> str:
    """Where it stands, for people."""
    counts = standing.counts
    failed = counts.get(State.FAILED, 0)
    trouble = f" {failed} failed; the report counts {'it' if failed == 1 else 'them'}." if failed else ""
    match state:
        case "cancelled":
            open_ones = standing.jobs - standing.ended
            rest = f"; {open_ones} being stopped" if open_ones else ""
            return f"Cancelled with {counts.get(State.SUCCEEDED, 0)} of {standing.jobs} jobs trained{rest}.{trouble}"
        case "finished":
            return f"All {standing.jobs} jobs have ended.{trouble}"
    return f"{standing.ended} of {standing.jobs} jobs have ended.{trouble}"

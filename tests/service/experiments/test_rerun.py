"""An experiment once more: the same jobs again, each naming the one that it repeats."""

from typing import Any

import pytest

from service.experiments.lifecycle import add_seeds, create_experiment
from service.experiments.rerun import parents_of, rerun
from service.jobs import descent, lifecycle
from service.jobs.models import Job
from tests.service.api.work import claim_next

REQUEST: dict[str, Any] = {
    "name": "once",
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8]},
    "training": {"epochs": 1},
    "seeds": 2,
}


def trains(job: Job) -> dict[str, Any]:
    """A job's spec without what the first claim fills in."""
    training = {key: value for key, value in job.spec["training"].items() if key not in ("device", "threads")}
    return {**job.spec, "training": training}


def test_every_job_is_queued_again_and_names_the_one_that_it_repeats(user: Any) -> None:
    origin = create_experiment(user, REQUEST)
    origin = add_seeds(origin, {"seeds": [7]})
    lifecycle.succeed(claim_next(), {"test_accuracy": 0.9}, progress={"fraction": 1.0}, seconds_trained=1.0)
    again = rerun(origin, by=user)
    assert (again.name, again.request) == ("once", origin.request)
    pairs = [(job.parent, job) for job in again.jobs.select_related("parent")]
    assert len(pairs) == 6
    assert {parent.pk for parent, _ in pairs if parent} == {job.pk for job in origin.jobs}
    assert all(trains(parent) == trains(job) for parent, job in pairs if parent)
    assert {job.state for _, job in pairs} == {"queued"}
    assert parents_of([origin.pk, again.pk]) == {again.pk: origin.pk}


def test_a_job_that_was_tried_again_makes_no_parent(user: Any) -> None:
    origin = create_experiment(user, REQUEST)
    lost = origin.jobs[0]
    lifecycle.request_cancel(lost, by=user)
    assert descent.retry(lost, by=user).experiment == origin.pk
    assert parents_of([origin.pk]) == {}
    again = rerun(origin, by=user)
    assert again.jobs.count() == 4
    assert again.jobs[0].parent == lost, "the first there, not the one that tried it again"


def test_a_parent_that_was_deleted_is_forgotten(user: Any) -> None:
    origin = create_experiment(user, REQUEST)
    again = rerun(origin, by=user)
    for job in origin.jobs:
        lifecycle.request_cancel(job, by=user)
        lifecycle.delete(Job.objects.get(pk=job.pk))
    assert parents_of([again.pk]) == {}


def test_a_rerun_that_cannot_be_queued_whole_leaves_nothing(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = create_experiment(user, REQUEST)

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr("django.db.models.query.QuerySet.bulk_update", fails)
    with pytest.raises(OSError):
        rerun(origin, by=user)
    assert Job.objects.count() == 4

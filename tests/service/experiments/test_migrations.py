"""Experiments that were made before rules existed go on as they were: each job finds its place."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from service.experiments.collecting import collect
from service.experiments.lifecycle import add_seeds, create_experiment
from service.experiments.models import Experiment, Place
from service.experiments.planning import plan
from service.jobs import lifecycle
from service.jobs.lease import Lease
from tests.service.api.work import claim_next

REQUEST: dict[str, Any] = {
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8]},
    "training": {"epochs": 1},
    "seeds": 2,
}


SINCE = ("hyperparameter_values", "budget", "adaptive_seeds", "early_stop", "tune")
"""Keys that no request had then."""


def migrate(name: str) -> Any:
    executor = MigrationExecutor(connection)
    executor.migrate([("experiments", name)])
    return executor.loader.project_state([("experiments", name)]).apps


@pytest.mark.django_db(transaction=True)
def test_jobs_of_before_find_their_places(redis_server: str) -> None:
    old = migrate("0001_initial")
    try:
        id, lease = _as_it_was(old)
    finally:
        migrate("0002_rules")
    lifecycle.succeed(lease, {"test_accuracy": 0.9}, progress={}, seconds_trained=1.0)
    experiment = Experiment.objects.get(pk=id)
    assert experiment.arms == [{"name": name, "algorithm": name} for name in ("backprop", "frozen")]
    assert [(place.arm, place.seed) for place in experiment.places.order_by("job_id")] == [
        ("backprop", 0),
        ("frozen", 0),
        ("backprop", 1),
        ("frozen", 1),
    ]
    (run,) = collect(experiment, str).runs
    assert (run.arm, run.metrics["test_accuracy"]) == ("backprop", 0.9)
    _check_that_it_grows(experiment)


def _as_it_was(old: Any) -> tuple[Any, Lease]:
    """An experiment whose first job a worker has just claimed, which fills in its device and threads."""
    owner = get_user_model().objects.create_user("alice")
    planned = plan(REQUEST)
    row = old.get_model("experiments", "Experiment").objects.create(
        owner_id=owner.pk,
        name="from before",
        request={key: value for key, value in planned.request.whole().items() if key not in SINCE},
        workloads=list(planned.workloads),
        properties=planned.properties,
    )
    for cell, seed in planned.comparison():
        training = cell.spec.training.model_copy(update={"seed": seed})
        lifecycle.create_job(owner, cell.spec.model_copy(update={"training": training}), experiment=row.pk)
    return row.pk, claim_next()


def _check_that_it_grows(experiment: Experiment) -> None:
    """Seeds are trained on the specs that were asked for, not on the device that the first claim chose."""
    add_seeds(experiment, {"seeds": [7]})
    grown = [place.job.spec for place in Place.objects.filter(experiment=experiment, seed=7).order_by("job_id")]
    fresh = create_experiment(experiment.owner, {**REQUEST, "seeds": [6, 7]})
    there = [place.job.spec for place in Place.objects.filter(experiment=fresh, seed=7).order_by("job_id")]
    assert grown == there

"""A small experiment, really trained from its search to its last extra seed, with only the worker and the rules."""

from typing import Any

import pytest

from service.experiments.follow_ups import advance_all
from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment, Phase
from service.experiments.presentation import present
from service.experiments.reporting import report_of
from service.jobs.supervisor import train_next
from service.jobs.worker import ThisWorker

REQUEST: dict[str, Any] = {
    "name": "tuned on digits",
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"kind": "mlp", "hidden": [8], "activation": "tanh"},
    "training": {"epochs": 1, "device": "cpu", "threads": 1, "diagnose_every_steps": None},
    "seeds": 1,
    "tune": {"trials": 2},
    "adaptive_seeds": {"half_width": 0.0001, "most": 2, "least": 2, "step": 1},
}


@pytest.mark.django_db(transaction=True)
def test_search_comparison_and_extra_seeds_follow_by_themselves(
    worker: ThisWorker, user: Any, redis_server: str
) -> None:
    experiment = create_experiment(user, REQUEST)
    phases = [experiment.phase]
    while train_next(worker):
        advance_all()  # as the maintenance worker does whenever a job ends
        experiment = Experiment.objects.get(pk=experiment.pk)
        phases += [experiment.phase] if experiment.phase != phases[-1] else []
    assert phases == ["tuning", "main", "extra_seeds"]
    told = present(experiment, lambda _: {})
    assert (told["state"], told["counts"]) == ("finished", {"succeeded": 12})
    _check_the_search(experiment, told)
    _check_the_pairs(experiment)
    _check_the_looks(experiment)
    data = report_of(experiment, str, "x").json()
    assert (data["tuned"], data["default_hyperparameters"]["tuned"]) == (True, False)
    assert data["scorecard"]["frozen"]["accuracy"]["verdict"] == "not enough seeds"
    trials = {each["arm"]: each["trials"] for each in data["hyperparameters"]}
    assert trials == {"backprop": 2, "frozen": 2}


def _check_the_search(experiment: Experiment, told: dict[str, Any]) -> None:
    trials = experiment.places.filter(phase=Phase.TUNING).select_related("job")
    assert told["tuning"]["jobs"] == 4
    assert told["tuning"]["seconds"] == pytest.approx(sum(place.job.seconds_trained for place in trials), abs=1e-3)
    for best in told["tuning"]["best"]:
        mine = {
            place.trial: (place.job.result or {})["validation_accuracy"] for place in trials.filter(arm=best["arm"])
        }
        assert best["score"] == max(mine.values()) == mine[best["trial"]]


def _check_the_pairs(experiment: Experiment) -> None:
    """Every arm has every seed in both tables, trained on the same network and budget."""
    places = experiment.places.exclude(phase=Phase.TUNING).select_related("job")
    found = {(place.arm, place.tuned, place.seed) for place in places}
    assert found == {(arm, tuned, s) for arm in ("backprop", "frozen") for tuned in (True, False) for s in (0, 1)}
    for place in places:
        assert place.job.spec["network"] == experiment.workloads[0]["network"]
        assert place.job.spec["training"]["epochs"] == 1


def _check_the_looks(experiment: Experiment) -> None:
    assert [(look["seeds"], look["added"]) for look in experiment.looks] == [(1, [1]), (2, [])]
    (width,) = experiment.looks[-1]["half_widths"]
    assert width["pairs"] == 2
    assert width["half_width"] > 0

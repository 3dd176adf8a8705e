"""A budget of seconds: what has not begun once they are spent never does, and everything says so."""

from typing import Any

import pytest

from service.experiments.collecting import collect
from service.experiments.lifecycle import add_seeds, create_experiment, request_cancel
from service.experiments.models import Experiment
from service.experiments.presentation import present
from service.experiments.reporting import report_of
from service.jobs import lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.states import State
from tests.service.api.work import claim_next
from tests.service.experiments.by_hand import advanced, end_next
from trainers.errors import SpecError

REQUEST: dict[str, Any] = {
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8]},
    "training": {"epochs": 1},
    "seeds": 3,
    "budget": {"seconds": 10.0},
}


def shown(experiment: Experiment) -> dict[str, Any]:
    return present(experiment, lambda _: {})


def test_what_has_not_begun_is_cancelled_and_what_trains_goes_on(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    for _ in range(2):
        end_next(lambda place: 0.9, seconds=4.0)
    experiment = advanced(experiment)
    assert (experiment.stopped, shown(experiment)["counts"]) == (None, {"queued": 4, "succeeded": 2})
    running = claim_next()
    end_next(lambda place: 0.9, seconds=3.0)
    experiment = advanced(advanced(experiment))
    told = shown(experiment)
    assert told["counts"] == {"running": 1, "succeeded": 3, "cancelled": 2}
    assert (told["state"], told["reason"]) == ("running", "budget")
    assert told["progress"]["seconds_trained"] == 11.0
    assert "The budget of 10 s of training is spent. 2 jobs had not begun and never will." in told["sentence"]
    lifecycle.succeed(running, {"test_accuracy": 0.8}, progress={"fraction": 1.0}, seconds_trained=2.0)
    told = shown(advanced(experiment))
    assert (told["state"], told["reason"]) == ("finished", "budget")


def test_one_whose_rules_add_nothing_has_finished_with_its_last_job(user: Any) -> None:
    """Whether or not a maintenance worker is there to look at it."""
    experiment = create_experiment(user, {**REQUEST, "seeds": 1})
    for _ in range(2):
        end_next(lambda place: 0.9)
    assert shown(experiment)["state"] == "finished"
    with pytest.raises(TransitionRefused, match="nothing left"):
        request_cancel(experiment, by=user)


def test_the_report_says_that_the_budget_was_spent_and_loses_no_run(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "budget": {"seconds": 1.0}})
    for _ in range(3):
        end_next(lambda place: 0.9)
    experiment = advanced(experiment)
    compared = collect(experiment, str)
    assert "The budget of 1 s of training is spent. 3 jobs never began." in report_of(experiment, str, "x").html()
    assert compared.provenance["budget"]["stopped"] == "The budget of 1 s of training is spent."
    states = sorted(str(run.state) for run in compared.runs)
    assert states == ["lost"] * 3 + ["succeeded"] * 3


def test_a_job_that_was_claimed_before_counts_as_begun(user: Any) -> None:
    """A worker that stops in good order hands its job back: it waits, but has begun."""
    experiment = create_experiment(user, {**REQUEST, "seeds": 1, "budget": {"seconds": 1.0}})
    lifecycle.hand_back(claim_next(), step=5, seconds_trained=2.0)
    experiment = advanced(experiment)
    assert sorted(experiment.jobs.values_list("state", "attempt")) == [(State.CANCELLED, 0), (State.QUEUED, 1)]


def test_a_spent_budget_takes_no_seeds(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "seeds": 1, "budget": {"seconds": 1.0}})
    end_next(lambda place: 0.9)
    experiment = advanced(experiment)
    with pytest.raises(TransitionRefused, match="budget of 1 s"):
        add_seeds(experiment, {"seeds": [7]})


def test_seeds_added_later_are_within_the_budget_too(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "seeds": 1})
    for _ in range(2):
        end_next(lambda place: 0.9)
    experiment = advanced(experiment)
    assert experiment.settled_at is not None
    experiment = add_seeds(experiment, {"seeds": [7]})
    end_next(lambda place: 0.9, seconds=9.0)
    assert shown(advanced(experiment))["counts"] == {"succeeded": 3, "cancelled": 1}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"budget": {"jobs": 5}}, "#/budget/jobs"),
        ({"budget": {}}, "#/budget"),
        ({"budget": {"seconds": 0}}, "#/budget/seconds"),
        ({"budget": {"jobs": 7}, "adaptive_seeds": {"half_width": 0.1, "most": 5, "least": 3}}, "#/budget/jobs"),
        ({"budget": {"jobs": 20}, "tune": {"trials": 5}}, "#/budget/jobs"),
    ],
)
def test_a_budget_of_jobs_is_held_at_creation(user: Any, change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as refused:
        create_experiment(user, {**REQUEST, **change})
    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert not Experiment.objects.exists()


def test_a_budget_of_jobs_holds_for_seeds_added_later(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "budget": {"jobs": 8}})
    with pytest.raises(SpecError, match="room for 1 more seed"):
        add_seeds(experiment, {"seeds": [7, 8]})
    assert add_seeds(experiment, {"seeds": [7]}).jobs.count() == 8

"""The median rule: runs that fall behind are stopped, stay in every table, and count as they stand."""

from typing import Any

import pytest

from service.comparison.runs import RunState
from service.experiments.collecting import collect
from service.experiments.early_stop import hopeless
from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.experiments.reporting import report_of
from service.experiments.rules import EarlyStop
from service.jobs import descent, lifecycle
from service.jobs.lease import Lease
from service.jobs.models import Job
from service.jobs.states import State
from tests.service.experiments.by_hand import advanced, train_some
from trainers.errors import SpecError

DTP = "difference_target_propagation"
REQUEST: dict[str, Any] = {
    "algorithms": ["backprop", "frozen", DTP],
    "datasets": ["digits"],
    "network": {"hidden": [8, 8], "activation": "tanh"},
    "training": {"epochs": 4},
    "seeds": 2,
    "early_stop": {"rule": "median", "after_epochs": 2, "least_runs": 2},
}


def succeed(lease: Lease, accuracy: float) -> None:
    lifecycle.succeed(
        lease, {"test_accuracy": accuracy, "validation_accuracy": accuracy}, progress={}, seconds_trained=1.0
    )


@pytest.fixture
def behind(user: Any) -> tuple[Experiment, Lease]:
    """Backprop and frozen have ended with their first seed; the candidate is behind after two epochs."""
    experiment = create_experiment(user, REQUEST)
    succeed(train_some(0.5, 0.7, 0.8, 0.9), 0.9)
    succeed(train_some(0.3, 0.4, 0.4, 0.4), 0.4)
    return experiment, train_some(0.2, 0.3)


def test_a_run_below_the_median_of_averages_is_stopped(behind: tuple[Experiment, Lease]) -> None:
    experiment, lease = behind
    advanced(experiment)
    job = Job.objects.get(pk=lease.job)
    assert job.state == State.CANCELLING
    # Averages up to epoch 2: 0.6 and 0.35; their median is 0.475, and the run's best 0.3.
    stopped = job.place.stopped
    assert stopped is not None
    assert (stopped["epoch"], stopped["best"], stopped["median"]) == (2, 0.3, pytest.approx(0.475))


def test_a_stopped_run_is_published_and_counts_as_it_stands(behind: tuple[Experiment, Lease]) -> None:
    experiment, lease = behind
    experiment = advanced(experiment)
    lifecycle.finish_cancel(lease)
    compared = collect(experiment, str)
    (run,) = (run for run in compared.runs if run.arm == DTP)
    assert (run.state, run.metrics["test_accuracy"]) == (RunState.SUCCEEDED, 0.3)
    assert "median rule after 2 epochs" in (run.reason or "")
    assert run.curve is not None
    assert run.curve.validation_accuracy.tolist() == [0.2, 0.3]
    assert run.cost is None, "half a run is no cheap one"
    warnings = report_of(experiment, str, "x").json()["warnings"]
    assert any("Stopped early by the median rule" in warning for warning in warnings)
    (said,) = compared.provenance["stopped_early"]
    assert (said["arm"], said["seed"], said["epoch"]) == (DTP, 0, 2)


def test_it_stays_so_when_it_is_tried_again(behind: tuple[Experiment, Lease], user: Any) -> None:
    experiment, lease = behind
    advanced(experiment)
    lifecycle.finish_cancel(lease)
    again = descent.retry(Job.objects.get(pk=lease.job), by=user)
    assert again.place.arm == DTP
    (run,) = (run for run in collect(experiment, str).runs if run.arm == DTP)
    assert run.metrics["test_accuracy"] == 0.3


def test_one_that_ended_a_moment_before_counts_as_whole(behind: tuple[Experiment, Lease]) -> None:
    experiment, lease = behind
    experiment = advanced(experiment)
    succeed(lease, 0.35)
    (run,) = (run for run in collect(experiment, str).runs if run.arm == DTP)
    assert run.metrics["test_accuracy"] == 0.35


def test_backprop_and_controls_are_never_stopped(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    for _ in range(3):
        succeed(train_some(0.5, 0.6, 0.7, 0.8), 0.8)
    leases = [train_some(0.1, 0.1, 0.1), train_some(0.1, 0.1, 0.1)]
    advanced(experiment)
    running = Job.objects.filter(pk__in=[lease.job for lease in leases])
    assert {(job.algorithm, job.state) for job in running} == {("backprop", "running"), ("frozen", "running")}


def test_without_the_rule_nothing_is_stopped(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "early_stop": None})
    succeed(train_some(0.5, 0.7, 0.8, 0.9), 0.9)
    succeed(train_some(0.3, 0.4, 0.4, 0.4), 0.4)
    lease = train_some(0.1, 0.1, 0.1)
    advanced(experiment)
    assert Job.objects.get(pk=lease.job).state == State.RUNNING


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({"after_epochs": 4}, "#/early_stop/after_epochs"),
        ({"after_epochs": 0}, "#/early_stop/after_epochs"),
        ({"rule": "mean"}, "#/early_stop/rule"),
        ({"least_runs": 0}, "#/early_stop/least_runs"),
    ],
)
def test_a_wrong_rule_is_pointed_at(user: Any, rule: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as refused:
        create_experiment(user, {**REQUEST, "early_stop": rule})
    assert [error.pointer for error in refused.value.errors] == [pointer]


OTHERS = [[(1, 0.5), (2, 0.7)], [(1, 0.3), (2, 0.5)], [(1, 0.2), (2, 0.2)]]  # averages 0.6, 0.4, 0.2


@pytest.mark.parametrize(
    ("mine", "others", "stopped"),
    [
        ([(1, 0.1), (2, 0.39)], OTHERS, True),
        ([(1, 0.1), (2, 0.4)], OTHERS, False),  # as good as the median
        ([(1, 0.5), (2, 0.1)], OTHERS, False),  # its best so far counts
        ([(1, 0.1)], OTHERS, False),  # too early
        ([(1, 0.1), (2, 0.1)], OTHERS[:2], False),  # too few have ended
        ([(1, 0.1), (2, 0.1)], [*OTHERS[:2], [(3, 0.9)]], False),  # one of them has nothing to show up to then
        ([], OTHERS, False),
        ([(0, 0.1), (2, 0.1)], OTHERS, True),
    ],
)
def test_the_rule_itself(mine: Any, others: Any, stopped: bool) -> None:
    rule = EarlyStop(after_epochs=2, least_runs=3)
    assert (hopeless(mine, others, rule) is not None) == stopped

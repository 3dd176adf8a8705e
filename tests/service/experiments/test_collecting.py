"""What the comparison sees of jobs that did not go the plain way."""

from typing import Any
from uuid import UUID

import pytest

from service.comparison.runs import RunState
from service.experiments.collecting import MOST_MOMENTS, collect
from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.jobs import descent, lifecycle
from service.jobs.lease import Lease
from service.jobs.metrics import store_diagnostics, store_metrics
from service.jobs.states import Reason
from tests.service.api.work import claim_next
from trainers.events import Diagnostics, Metrics

PASSED = {"passes": 1, "samples": 100, "seconds": 1.0}


@pytest.fixture
def experiment(user: Any) -> Experiment:
    request = {"algorithms": ["backprop"], "datasets": ["digits"], "network": {"hidden": [8, 8]}, "seeds": 1}
    return create_experiment(user, request)


def succeed(lease: Lease, **result: Any) -> None:
    lifecycle.succeed(lease, {"test_accuracy": 0.9, **result}, progress={"fraction": 1.0}, seconds_trained=1.0)


def only_run(experiment: Experiment) -> Any:
    (run,) = collect(experiment, lambda job: f"/jobs/{job}").runs
    return run


def test_evaluations_within_an_epoch_lie_between_its_ends(experiment: Experiment) -> None:
    lease = claim_next()
    for step, epoch in ((5, 0), (10, 1), (15, 1), (20, 2)):
        values = {"validation_accuracy": step / 100} | ({"train_loss": 1.0 / step} if step % 10 == 0 else {})
        store_metrics(lease, [Metrics(step=step, epoch=epoch, values=values, **PASSED)])
    succeed(lease)
    curve = only_run(experiment).curve
    assert curve.epoch.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert curve.validation_accuracy.tolist() == [0.05, 0.1, 0.15, 0.2]
    assert [value if value == value else None for value in curve.losses["train_loss"]] == [None, 0.1, None, 0.05]
    assert curve.flops is None


def test_moments_without_signals_do_not_hide_those_that_have_them(experiment: Experiment) -> None:
    lease = claim_next()
    for step in range(100):
        layers = [{"layer": f"layer{i}", "signal_norm": 0.5 if step % 2 else None} for i in (1, 2, 3)]
        store_diagnostics(lease, [Diagnostics(step=step, epoch=1, layers=layers, **PASSED)])
    succeed(lease)
    found = only_run(experiment).diagnostics
    assert len(found.steps) == MOST_MOMENTS
    assert (found.steps[0], found.steps[-1]) == (1, 99)
    assert (found.signal_norms == 0.5).all()
    assert found.angle_cosines is None


def test_a_run_without_a_score_went_wrong(experiment: Experiment) -> None:
    result = {"validation_accuracy": 0.5}
    lifecycle.succeed(claim_next(), result, progress={"fraction": 1.0}, seconds_trained=1.0)
    run = only_run(experiment)
    assert (run.state, run.reason) == (RunState.FAILED, "no finite test_accuracy")


@pytest.mark.parametrize(
    ("reason", "state"), [(Reason.DIVERGED, RunState.DIVERGED), (Reason.OUT_OF_MEMORY, RunState.FAILED)]
)
def test_a_run_that_went_wrong_stays_though_it_was_tried_again(
    experiment: Experiment, user: Any, reason: Reason, state: RunState
) -> None:
    lifecycle.fail(claim_next(), reason, "It went wrong.", seconds_trained=1.0)
    descent.retry(experiment.jobs[0], by=user)
    succeed(claim_next())
    run = only_run(experiment)
    assert (run.state, run.reason) == (state, reason)


def test_a_lost_run_that_was_tried_again_counts_as_the_second(experiment: Experiment, user: Any) -> None:
    first = experiment.jobs[0]
    lifecycle.request_cancel(first, by=user)
    assert only_run(experiment).state is RunState.LOST
    second = descent.retry(first, by=user)
    succeed(claim_next())
    run = only_run(experiment)
    assert run.state is RunState.SUCCEEDED
    assert UUID(run.url.rsplit("/", 1)[-1]) == second.pk


def test_an_unfinished_experiment_says_so_in_its_name(user: Any) -> None:
    request = {"name": "two", "algorithms": ["backprop"], "datasets": ["digits"], "seeds": 2}
    experiment = create_experiment(user, request)
    succeed(claim_next())
    found = collect(experiment, str)
    assert found.name == "two (so far: 1 of 2 jobs have ended)"
    assert (found.provenance["jobs"], found.provenance["jobs_ended"]) == (2, 1)


def test_an_intervention_test_speaks_for_the_property_that_it_tested(experiment: Experiment) -> None:
    tests = [
        {"property": "weight_transport", "declared": "yes", "verdict": "confirmed", "evidence": "It moved."},
        {"property": "layer_parallel", "declared": "no", "verdict": "refuted", "evidence": "It did not wait."},
    ]
    lease = claim_next()
    assert experiment.jobs[0].spec["training"]["interventions"] is True
    succeed(lease, interventions=tests)
    proofs = {each.name: (str(each.proof), each.evidence) for each in only_run(experiment).properties}
    assert proofs["weight_transport"] == ("confirmed", "It moved.")
    assert proofs["layer_after_layer"] == ("refuted", "It did not wait.")
    assert proofs["backward_locking"] == ("untested", "")

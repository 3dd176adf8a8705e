"""A small experiment, really trained: from its jobs to the report in every format."""

import itertools
import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from service.comparison.runs import RunState
from service.experiments.collecting import collect
from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.experiments.presentation import present
from service.experiments.reporting import NothingToReport, Report, report_of
from service.jobs import descent, lifecycle
from service.jobs.supervisor import train_next
from service.jobs.worker import ThisWorker

ARMS = ("backprop", "frozen", "difference_target_propagation")
REQUEST: dict[str, Any] = {
    "name": "who <learns> digits?",
    "algorithms": list(ARMS),
    "datasets": ["digits"],
    "network": {"kind": "mlp", "hidden": [16, 16], "activation": "tanh"},
    "training": {"epochs": 2, "device": "cpu", "threads": 1, "diagnose_every_steps": 5},
    "seeds": 2,
}
HERE = "http://testserver/api/v1/experiments/x"


def job_url(job: UUID) -> str:
    return f"http://testserver/api/v1/jobs/{job}"


def shown(experiment: Experiment) -> dict[str, Any]:
    return present(experiment, lambda _: {})


@pytest.fixture
def trained(worker: ThisWorker, user: Any, redis_server: str) -> Experiment:
    experiment = create_experiment(user, REQUEST)
    for ended in range(6):
        standing = shown(experiment)
        assert (standing["state"], standing["progress"]["ended"]) == ("running", ended)
        assert standing["progress"]["fraction"] == pytest.approx(ended / 6, abs=1e-3)
        assert (standing["progress"]["eta_seconds"] is None) == (ended == 0)
        assert train_next(worker)
    return experiment


@pytest.mark.django_db(transaction=True)
def test_an_experiment_is_trained_and_reported_in_every_format(trained: Experiment, user: Any) -> None:
    standing = shown(trained)
    assert (standing["state"], standing["counts"]) == ("finished", {"succeeded": 6})
    progress = standing["progress"]
    assert progress.pop("seconds_trained") > 0
    assert progress == {"fraction": 1.0, "jobs": 6, "planned": 6, "ended": 6, "eta_seconds": 0.0}
    assert standing["finished_at"] is not None

    _check_runs(trained)
    report = report_of(trained, job_url, HERE)
    _check_formats(report)
    assert report_of(trained, job_url, HERE) is report, "made once while nothing has changed"
    _check_that_arms_begin_alike(trained)
    _check_a_repeated_lost_run(trained, user)


def _check_runs(experiment: Experiment) -> None:
    compared = collect(experiment, job_url)
    assert compared.arms == ("backprop", "difference_target_propagation", "frozen")
    assert [workload.key for workload in compared.workloads] == ["digits / mlp 16-16 tanh"]
    jobs = {job_url(job.pk): job for job in experiment.jobs}
    for run in compared.runs:
        job = jobs[run.url]
        assert run.state is RunState.SUCCEEDED
        assert (run.arm, run.seed) == (job.algorithm, job.spec["training"]["seed"])
        assert run.metrics["test_accuracy"] == job.result["test_accuracy"]
        assert run.curve is not None
        assert run.curve.epoch.tolist() == [1.0, 2.0]
        assert run.curve.validation_accuracy[-1] == job.result["validation_accuracy"]
        assert run.curve.step is not None
        assert run.curve.step[-1] == job.result["steps"]
        assert run.curve.flops is not None
        assert run.curve.flops[-1] == pytest.approx(job.result["compute_cost"]["training_flops"])
        assert run.cost is not None
        assert run.cost.training_seconds == job.result["compute_cost"]["training_seconds"]
        assert run.diagnostics is not None
        assert run.diagnostics.layers == ("layer1", "layer2", "layer3")
        assert len(run.diagnostics.steps) >= 2
        assert {p.name for p in run.properties} >= {"weight_transport", "backward_locking"}


def _check_formats(report: Report) -> None:
    data = json.loads(json.dumps(report.json(), allow_nan=False))
    assert {arm["name"] for arm in data["arms"]} == set(ARMS)
    assert "not enough seeds" in data["answer"]
    assert data["scorecard"]["frozen"]["accuracy"]["verdict"] == "not enough seeds"
    health = {arm: data["scorecard"][arm]["gradient health"]["number"] for arm in ARMS[1:]}
    assert "powers of ten" in health["difference_target_propagation"], health
    assert health["frozen"] == "no number", "no signal reaches its hidden layers"
    assert data["missing_controls"] == ["backprop_checkpointed", "backprop_extra_heads"]
    assert data["provenance"]["request"]["seeds"] == 2
    assert set(data["plots"]) >= {"learning-curves-epoch", "learning-curves-flops", "seeds", "signal-by-depth"}
    html, markdown, csv = report.html(), report.markdown(), report.csv()
    for text in (html, markdown.replace("\\", ""), csv):
        assert "not enough seeds" in text
        assert all(arm in text for arm in ARMS)
    assert "who &lt;learns&gt; digits?" in html
    assert "<learns>" not in html
    assert report.latex().startswith("% ")
    plot = report.plot("seeds")
    assert plot.svg.startswith("<?xml")
    assert plot.png.startswith(b"\x89PNG")


def _check_that_arms_begin_alike(experiment: Experiment) -> None:
    """Of one seed all arms have the same weights, the same split, and the same batches in the same order."""
    from trainers.assembly import assemble
    from trainers.resolve import resolve_parts

    seen: dict[int, list[Any]] = {0: [], 1: []}
    for job in experiment.jobs:
        parts = assemble(resolve_parts(job.spec))
        weights = {name: value.numpy().copy() for name, value in parts.network.state_dict().items()}
        batches = (each for epoch in (0, 1) for each in itertools.islice(parts.data.batches(epoch, 0), 3))
        order = [batch.indices.numpy().copy() for batch in batches]
        held_out = next(iter(parts.data.evaluation_batches("validation"))).inputs.numpy().copy()
        seen[job.spec["training"]["seed"]].append((weights, order, held_out))
    for (weights, order, held_out), *others in seen.values():
        assert len(others) == len(ARMS) - 1
        for theirs, their_order, their_held_out in others:
            assert weights.keys() == theirs.keys()
            assert all(np.array_equal(weights[name], theirs[name]) for name in weights)
            assert all(np.array_equal(a, b) for a, b in zip(order, their_order, strict=True))
            assert np.array_equal(held_out, their_held_out)
    assert not np.array_equal(seen[0][0][1][0], seen[1][0][1][0]), "another seed, another order"


def _check_a_repeated_lost_run(experiment: Experiment, user: Any) -> None:
    """A job tried again counts where the first was lost, and never twice."""
    again = descent.clone(experiment.jobs[0], by=user)
    type(again).objects.filter(pk=again.pk).update(experiment=experiment.pk)
    lifecycle.request_cancel(again, by=user)
    compared = collect(experiment, job_url)
    assert len(compared.runs) == 6
    assert all(run.state is RunState.SUCCEEDED for run in compared.runs)


def test_there_is_no_report_before_the_first_job_of_the_reference_has_ended(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    with pytest.raises(NothingToReport):
        report_of(experiment, job_url, HERE)

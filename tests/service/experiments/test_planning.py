"""From a request to its jobs: every place once, arms that differ in nothing but the algorithm, all errors at once."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.experiments.planning import Plan, plan, with_seed
from service.jobs.models import Job
from service.jobs.states import State
from trainers.errors import SpecError
from trainers.spec import TrainingSpec

SMALL: dict[str, Any] = {
    "name": "small",
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"kind": "mlp", "hidden": [16]},
    "training": {"epochs": 2, "device": "cpu", "threads": 1},
    "seeds": 3,
}


def specs(planned: Plan) -> list[TrainingSpec]:
    """Of the comparison, in the order in which they are trained."""
    return [with_seed(cell.spec, seed) for cell, seed in planned.comparison()]


def errors_of(request: dict[str, Any]) -> dict[str, str]:
    """Pointer → sentence of a request that is refused."""
    with pytest.raises(SpecError) as refused:
        plan(request)
    return {error.pointer: error.detail for error in refused.value.errors}


def test_every_place_of_the_matrix_is_one_job() -> None:
    networks = [{"hidden": [8]}, {"hidden": [8, 8]}]
    matrix = plan({**SMALL, "network": None, "networks": networks, "seeds": [3, 7]})
    places = {(s.algorithm, str(s.network["hidden"]), s.training.seed) for s in specs(matrix)}
    assert places == set(itertools.product(["backprop", "frozen"], ["[8]", "[8, 8]"], [3, 7]))
    assert len(specs(matrix)) == 8
    assert [each["label"] for each in matrix.workloads] == ["mlp 8 relu", "mlp 8-8 relu"]
    assert matrix.workloads[0]["chance"] == 0.1


def test_arms_of_one_seed_differ_in_the_algorithm_alone() -> None:
    matrix = plan(SMALL)
    for seed in range(3):
        backprop, frozen = (s for s in specs(matrix) if s.training.seed == seed)
        assert (backprop.network, backprop.training) == (frozen.network, frozen.training)
        assert backprop.dataset_options == frozen.dataset_options


def test_seeds_come_one_after_the_other_so_that_early_results_compare() -> None:
    assert [s.training.seed for s in specs(plan(SMALL))] == [0, 0, 1, 1, 2, 2]


def test_without_a_network_each_data_set_has_its_usual_one() -> None:
    matrix = plan({"algorithms": ["backprop"], "datasets": ["digits", "cifar10"], "seeds": 1})
    assert len({str(s.network) for s in specs(matrix)}) == 2


def test_hyperparameters_reach_their_algorithm_alone() -> None:
    matrix = plan({**SMALL, "hyperparameters": {"frozen": {"learning_rate": 0.25}}})
    rates = {(s.algorithm, s.hyperparameters["learning_rate"]) for s in specs(matrix)}
    assert rates == {("backprop", 0.001), ("frozen", 0.25)}


def test_networks_that_differ_elsewhere_are_told_apart_by_what_differs() -> None:
    networks = [{"hidden": [8]}, {"hidden": [8], "hidden_bias": False}]
    labels = [each["label"] for each in plan({**SMALL, "network": None, "networks": networks}).workloads]
    assert len(set(labels)) == 2
    assert "hidden_bias=False" in labels[1]


def test_what_an_algorithm_says_it_needs_is_fixed_with_the_experiment() -> None:
    properties = plan(SMALL).properties
    assert properties["backprop"]["weight_transport"]["needed"]
    assert not properties["frozen"]["weight_transport"]["needed"]
    assert properties["backprop"]["layer_after_layer"]["needed"]


def test_all_wrong_parts_are_named_together() -> None:
    found = errors_of(
        {
            **SMALL,
            "algorithms": ["backprop", "frozne", "frozen"],
            "datasets": ["digits", "digit"],
            "network": {"kind": "mlp", "hiden": [16]},
            "hyperparameters": {"frozen": {"learning_rat": 1.0}, "nobody": {}},
            "training": {"epochs": 2, "seed": 4},
        }
    )
    assert set(found) == {
        "#/algorithms/1",
        "#/datasets/1",
        "#/network/hiden",
        "#/hyperparameters/frozen/learning_rat",
        "#/hyperparameters/nobody",
        "#/training/seed",
    }
    assert "'frozen'" in found["#/algorithms/1"]
    assert "'digits'" in found["#/datasets/1"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"algorithms": ["frozen"]}, "#/algorithms"),
        ({"algorithms": []}, "#/algorithms"),
        ({"algorithms": ["backprop", "backprop"]}, "#/algorithms"),
        ({"datasets": ["tiny_shakespeare"], "network": None}, "#/datasets/0"),
        ({"datasets": ["arrays"]}, "#/datasets/0"),
        ({"networks": [{"hidden": [8]}]}, "#/networks"),
        ({"seeds": 0}, "#/seeds"),
        ({"seeds": 501}, "#/seeds"),
        ({"seeds": [1, 1]}, "#/seeds"),
        ({"seeds": []}, "#/seeds"),
        ({"seeds": [-1]}, "#/seeds/0"),
        ({"seeds": True}, "#/seeds"),
        ({"training": {"epochs": 0}}, "#/training/epochs"),
        ({"sedes": 3}, "#/sedes"),
        ({"network": None, "networks": [{"hidden": [8]}, {"kind": "mlp", "hidden": [8]}]}, "#/networks/1"),
        ({"network": None, "networks": [{"hidden": [8]}, {"hidden": [0]}]}, "#/networks/1/hidden/0"),
    ],
)
def test_a_wrong_part_is_pointed_at(change: dict[str, Any], pointer: str) -> None:
    assert list(errors_of({**SMALL, **change})) == [pointer]


def test_a_network_that_an_arm_cannot_train_is_refused_with_what_it_needs() -> None:
    found = errors_of({**SMALL, "network": {"hidden": [16], "activation": "sign"}})
    assert list(found) == ["#/network/activation"]
    assert "backprop" in found["#/network/activation"]


def test_an_experiment_and_its_jobs_are_stored_together(user: Any) -> None:
    experiment = create_experiment(user, SMALL)
    jobs = list(experiment.jobs)
    assert len(jobs) == 6
    assert {(job.state, job.owner_id, job.experiment) for job in jobs} == {(State.QUEUED, user.pk, experiment.pk)}
    assert create_experiment(user, experiment.request).request == experiment.request


def test_nothing_is_queued_where_a_part_is_wrong(user: Any) -> None:
    with pytest.raises(SpecError):
        create_experiment(user, {**SMALL, "algorithms": ["backprop", "nobody"]})
    assert not Experiment.objects.exists()
    assert not Job.objects.exists()


def test_nothing_is_queued_where_storing_stops_half_way(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.jobs import lifecycle

    made = lifecycle.create_job
    calls = itertools.count()

    def fails_at_the_third(*args: Any, **keywords: Any) -> Job:
        if next(calls) == 2:
            raise OSError("no space")
        return made(*args, **keywords)

    monkeypatch.setattr(lifecycle, "create_job", fails_at_the_third)
    with pytest.raises(OSError):
        create_experiment(user, SMALL)
    assert not Experiment.objects.exists()
    assert not Job.objects.exists()


def test_importing_the_room_does_not_load_torch() -> None:
    code = (
        "import os, sys; os.environ.update(DJANGO_SETTINGS_MODULE='service.settings', SECRET_KEY='x');"
        "import django; django.setup();"
        "import service.experiments.lifecycle, service.experiments.reporting, service.experiments.presentation;"
        "print('torch' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"

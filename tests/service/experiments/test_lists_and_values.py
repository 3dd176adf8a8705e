"""Experiments that are more than algorithms times seeds: several values of a hyperparameter, and lists of jobs."""

from typing import Any

import pytest

from service.experiments.arms import arm_name
from service.experiments.collecting import collect
from service.experiments.lifecycle import add_seeds, create_experiment
from service.experiments.planning import plan
from tests.service.experiments.by_hand import end_all
from trainers.errors import SpecError

MATRIX: dict[str, Any] = {
    "algorithms": ["backprop", "frozen", "difference_target_propagation"],
    "datasets": ["digits"],
    "network": {"hidden": [8, 8], "activation": "tanh"},
    "training": {"epochs": 1},
    "seeds": 1,
}
JOB: dict[str, Any] = {"algorithm": "backprop", "dataset": "digits", "network": {"hidden": [8]}, "seed": 0}
LARGE = {"learning_rate": 1.0}
FROZEN = {**JOB, "algorithm": "frozen"}


def errors_of(request: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as refused:
        plan(request)
    return {error.pointer: error.detail for error in refused.value.errors}


def test_every_combination_of_values_is_an_arm_with_a_readable_name() -> None:
    values = {"difference_target_propagation": {"target_step": [0.1, 1], "correction": ["none"]}}
    planned = plan({**MATRIX, "hyperparameter_values": values})
    assert list(planned.arms) == [
        "backprop",
        "frozen",
        "difference_target_propagation correction=none target_step=0.1",
        "difference_target_propagation correction=none target_step=1",
    ]
    tried = [cell.spec.hyperparameters["target_step"] for cell in planned.cells[2:]]
    assert tried == [0.1, 1]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0.1, "0.1"),
        ("cosine", "cosine"),
        ("1", '"1"'),
        (True, "true"),
        ("true", '"true"'),
        ([1, 2], "[1,2]"),
        (None, "null"),
    ],
)
def test_no_two_values_read_alike(value: Any, read: str) -> None:
    assert arm_name("frozen", {"x": value}) == f"frozen x={read}"


def test_backprop_and_the_controls_stay_in_as_they_are(user: Any) -> None:
    values = {"backprop": {"learning_rate": [0.01]}, "frozen": {"learning_rate": [0.1, 0.2]}}
    experiment = create_experiment(
        user, {**MATRIX, "algorithms": ["backprop", "frozen"], "hyperparameter_values": values}
    )
    names = [
        "backprop",
        "backprop learning_rate=0.01",
        "frozen",
        "frozen learning_rate=0.1",
        "frozen learning_rate=0.2",
    ]
    assert [arm["name"] for arm in experiment.arms] == names
    end_all(experiment, lambda place: 0.9)
    compared = collect(experiment, str)
    roles = {arm: str(compared.role(arm)) for arm in compared.arms}
    assert roles == {
        "backprop": "reference",
        "backprop learning_rate=0.01": "candidate",
        **dict.fromkeys(names[2:], "control"),
    }


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"hsic_bottleneck": {"sigma": [1.0]}}, "#/hyperparameter_values/hsic_bottleneck"),
        ({"frozen": {"learning_rate": []}}, "#/hyperparameter_values"),
        ({"frozen": {"learning_rate": [1, 1]}}, "#/hyperparameter_values"),
        ({"frozen": {"learning_rate": [0.1, -1.0]}}, "#/hyperparameter_values/frozen/learning_rate/1"),
        ({"frozen": {"learning_rat": [0.1]}}, "#/hyperparameter_values/frozen/learning_rat/0"),
        ({"frozen": {"momentum": [0.1]}}, "#/hyperparameter_values/frozen/momentum"),
        (
            {"frozen": {"learning_rate": [i / 100 for i in range(1, 41)], "beta1": [i / 100 for i in range(40)]}},
            "#/seeds",
        ),
    ],
)
def test_a_wrong_value_is_pointed_at(values: dict[str, Any], pointer: str) -> None:
    request = {**MATRIX, "hyperparameters": {"frozen": {"momentum": 0.5}}, "hyperparameter_values": values}
    assert pointer in errors_of(request)


def test_a_list_of_jobs_is_trained_as_it_stands(user: Any) -> None:
    jobs = [
        {**JOB, "seed": 4},
        {**FROZEN, "seed": 4},
        {**FROZEN, "seed": 4, "hyperparameters": {"learning_rate": 0.1}},
        {**JOB, "seed": 9},
        {**FROZEN, "seed": 9, "arm": "frozen, second try", "hyperparameters": {"learning_rate": 0.2}},
    ]
    experiment = create_experiment(user, {"name": "by hand", "jobs": jobs})
    places = [(place.arm, place.seed) for place in experiment.places.order_by("job_id")]
    assert places == [
        ("backprop", 4),
        ("frozen", 4),
        ("frozen learning_rate=0.1", 4),
        ("backprop", 9),
        ("frozen, second try", 9),
    ]
    again = create_experiment(user, experiment.request)
    assert [job.spec for job in again.jobs] == [job.spec for job in experiment.jobs]
    assert "algorithms" not in experiment.request


def test_seeds_can_be_added_to_a_list(user: Any) -> None:
    experiment = create_experiment(user, {"jobs": [JOB, FROZEN]})
    add_seeds(experiment, {"seeds": [7]})
    assert [(place.arm, place.seed) for place in experiment.places.order_by("job_id")] == [
        ("backprop", 0),
        ("frozen", 0),
        ("backprop", 7),
        ("frozen", 7),
    ]


@pytest.mark.parametrize(
    ("jobs", "pointer"),
    [
        ([FROZEN], "#/jobs"),
        ([], "#/jobs"),
        ([JOB, {**FROZEN, "arm": "backprop"}], "#/jobs/1/arm"),
        ([JOB, {**JOB, "seed": 1, "arm": "x"}, {**FROZEN, "arm": "x"}], "#/jobs/2/arm"),
        ([JOB, JOB], "#/jobs/1/seed"),
        ([JOB, {**FROZEN, "algorithm": "frozne"}], "#/jobs/1/algorithm"),
        ([JOB, {**FROZEN, "network": {"hidden": [0]}}], "#/jobs/1/network/hidden/0"),
        ([JOB, {**FROZEN, "training": {"epochs": 3}}], "#/jobs/1/training"),
        ([JOB, {**FROZEN, "training": {"seed": 3}}], "#/jobs/1/training/seed"),
        ([JOB, {**FROZEN, "network": {"hidden": [9]}}], "#/jobs/1"),
        (
            [JOB, {**JOB, "arm": "backprop", "hyperparameters": {"learning_rate": 1.0}, "seed": 1}],
            "#/jobs/1/hyperparameters",
        ),
        ([{**JOB, "seed": -1}], "#/jobs/0/seed"),
        ([{**JOB, "epochs": 3}], "#/jobs/0/epochs"),
    ],
)
def test_a_wrong_job_is_pointed_at(jobs: list[Any], pointer: str) -> None:
    assert list(errors_of({"jobs": jobs})) == [pointer]


def test_a_list_and_a_matrix_are_not_mixed() -> None:
    found = errors_of({"jobs": [JOB], "algorithms": ["backprop"], "seeds": 3})
    assert set(found) == {"#/algorithms", "#/seeds"}
    assert set(errors_of({"seeds": 3})) == {"#/algorithms", "#/datasets"}


def test_the_first_seed_of_an_arm_on_its_first_workload_tests_what_it_declares(user: Any) -> None:
    networks = [{"hidden": [8]}, {"hidden": [9]}]
    experiment = create_experiment(user, {**MATRIX, "network": None, "networks": networks, "seeds": [5, 6]})
    add_seeds(experiment, {"seeds": [7]})
    tested = experiment.places.filter(job__spec__training__interventions=True).order_by("job_id")
    assert [(place.arm, place.workload, place.seed) for place in tested] == [
        (algorithm, 0, 5) for algorithm in MATRIX["algorithms"]
    ]


def test_tests_that_were_asked_for_are_made_with_every_seed_of_the_comparison(user: Any) -> None:
    training = {"epochs": 1, "interventions": True}
    experiment = create_experiment(user, {**MATRIX, "training": training, "tune": {"trials": 2}})
    tested = experiment.places.filter(job__spec__training__interventions=True)
    assert set(tested.values_list("phase", flat=True)) == {"main"}
    assert tested.count() == len(MATRIX["algorithms"])


def test_options_of_a_data_set_reach_every_job_and_its_trials() -> None:
    small = {"digits": {"train_size": 200}}
    planned = plan({**MATRIX, "dataset_options": small, "tune": {"trials": 2}})
    specs = [cell.spec for cell in planned.cells] + [trial.spec for trial in planned.trials]
    assert {spec.dataset_options["train_size"] for spec in specs} == {200}


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"mnist": {"train_size": 200}}, "#/dataset_options/mnist"),
        ({"digits": {"train_size": -1}}, "#/dataset_options/digits/train_size"),
        ({"digits": {"train_sise": 200}}, "#/dataset_options/digits/train_sise"),
    ],
)
def test_wrong_options_are_found_where_they_stand(options: dict[str, Any], pointer: str) -> None:
    assert pointer in errors_of({**MATRIX, "dataset_options": options})


def test_one_data_set_with_two_sizes_is_two_workloads_that_are_told_apart() -> None:
    sizes = ({}, {"dataset_options": {"train_size": 200}})
    planned = plan({"jobs": [{**job, **size} for job in (JOB, FROZEN) for size in sizes]})
    assert [cell.workload for cell in planned.cells] == [0, 1, 0, 1]
    first, second = (workload["label"] for workload in planned.workloads)
    assert first != second
    assert "train_size=200" in second

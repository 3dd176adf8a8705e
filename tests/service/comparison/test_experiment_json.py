"""An experiment survives JSON whole, and broken JSON is refused by name."""

import dataclasses
import json

import numpy as np
import pytest

from service.comparison.errors import ComparisonError
from service.comparison.experiment_json import experiment_from_json, experiment_to_json
from service.comparison.report import report_json
from service.comparison.runs import Curve, Diagnostics, Experiment, Workload
from service.comparison.scorecard import score


def test_an_experiment_survives_the_round_trip(five_algorithms):
    five_algorithms = dataclasses.replace(five_algorithms, tuned=True, targets={"digits / mlp 64-64": 0.9})
    text = json.dumps(experiment_to_json(five_algorithms), allow_nan=False)
    back = experiment_from_json(json.loads(text))
    assert json.dumps(experiment_to_json(back), allow_nan=False) == text
    assert report_json(back, score(back)) == report_json(five_algorithms, score(five_algorithms))


def test_what_is_not_finite_becomes_null_and_nan_again(run_of):
    run = run_of("backprop", 0)
    blank = np.array([0.5, np.nan, np.inf])
    curve = Curve(epoch=[1, 2, 3], validation_accuracy=[0.1, np.nan, 0.3], losses={"loss": blank})
    experiment = Experiment("x", [dataclasses.replace(run, curve=curve)])
    data = experiment_to_json(experiment)
    assert data["runs"][0]["curve"]["losses"]["loss"] == [0.5, None, None]
    back = experiment_from_json(data).runs[0].curve
    assert np.isnan(back.losses["loss"][1:]).all()
    assert np.isnan(back.validation_accuracy[1])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.update(format="other"), "format"),
        (lambda d: d.pop("runs"), "runs"),
        (lambda d: d["runs"][0].update(state="asleep"), "state"),
        (lambda d: d["runs"][0].update(colour="red"), "experiment"),
        (lambda d: d["runs"][0]["curve"].update(step=[1.0]), "curve.step"),
        (lambda d: d["runs"][0]["curve"].update(epoch="abc"), "curve.epoch"),
        (lambda d: d["runs"][0]["workload"].update(chance=1.5), "workload.chance"),
        (lambda d: d["runs"][0]["metrics"].clear(), "metrics.test_accuracy"),
        (lambda d: d["runs"].append(d["runs"][0]), "runs"),
    ],
)
def test_broken_data_is_refused_by_the_fields_name(run_of, change, field):
    data = experiment_to_json(Experiment("x", [run_of("backprop", 0)]))
    change(data)
    with pytest.raises(ComparisonError) as error:
        experiment_from_json(data)
    assert error.value.field == field


def test_a_grid_of_the_wrong_shape_is_refused():
    with pytest.raises(ComparisonError, match=r"diagnostics\.signal_norms: got \(1, 3\); allowed: \(1, 2\)"):
        Diagnostics(layers=("a", "b"), steps=[0], signal_norms=[[1.0, 2.0, 3.0]])


def test_one_workload_has_one_description(run_of):
    runs = [run_of("backprop", 0), run_of("other", 0, Workload("digits", "mlp 64-64", 0.2))]
    with pytest.raises(ComparisonError, match="one description"):
        Experiment("x", runs)


def test_arrays_cannot_be_changed_behind_the_reports_back(run_of):
    with pytest.raises(ValueError, match="read-only"):
        run_of("backprop", 0).curve.epoch[0] = 9

"""Gradient health, hyperparameters and plausibility: the criteria that are not a plain pair of numbers."""

import numpy as np
import pytest

from service.comparison.comparisons import compare
from service.comparison.errors import ComparisonError
from service.comparison.gradient_health import deepest_trained, layer_health, signal_fall, sweeps
from service.comparison.hyperparameters import (
    HyperparameterNumbers,
    expected_best,
    hyperparameter_verdict,
    score_spread,
    trials_needed,
)
from service.comparison.measures import ACCURACY, DEPTH
from service.comparison.plausibility import Plausibility, plausibility_of, plausibility_verdict
from service.comparison.runs import Diagnostics, Experiment, Proof, Property, Run
from service.comparison.scorecard import Criterion, score
from service.comparison.statistics import Estimate
from service.comparison.verdicts import Verdict


def test_the_deepest_network_that_trains_is_found_seed_by_seed(sweep):
    (found,) = sweeps(sweep)
    assert found.depths == (5, 10, 20, 30, 50)
    assert deepest_trained(sweep, found, "backprop") == dict.fromkeys(range(10), 20.0)
    assert deepest_trained(sweep, found, "difference_target_propagation") == dict.fromkeys(range(10), 50.0)


def test_a_deeper_net_that_trains_again_does_not_count(sweep):
    lucky = tuple(
        run for run in sweep.runs if not (run.arm == "backprop" and run.workload.depth == 10 and run.seed == 0)
    )
    broken = next(r for r in sweep.runs if r.arm == "backprop" and r.workload.depth == 10 and r.seed == 0)
    failed = Run("backprop", "backprop", broken.workload, 0, "diverged", url=None)
    experiment = Experiment("x", (*lucky, failed))
    assert deepest_trained(experiment, sweeps(experiment)[0], "backprop")[0] == 5.0


def test_the_depth_sweep_is_one_comparison_and_its_networks_stand_nowhere_else(sweep):
    by_arm = {c.arm: c for c in compare(sweep, DEPTH)}
    assert by_arm["difference_target_propagation"].verdict is Verdict.BETTER
    assert by_arm["difference_target_propagation"].shown.value == pytest.approx(2.5)
    assert by_arm["frozen"].verdict is Verdict.WORSE
    assert compare(sweep, ACCURACY) == []


def diagnosed(digits, norms) -> Run:
    names = tuple(f"layer{i}" for i in range(np.shape(norms)[1]))
    found = Diagnostics(layers=names, steps=range(len(norms)), signal_norms=norms)
    return Run("a", "a", digits, 0, "succeeded", {"test_accuracy": 0.9}, diagnostics=found)


@pytest.mark.parametrize(
    ("norms", "fall"),
    [
        ([[1e-3, 1e-2, 1.0, 5.0]], 3.0),  # the last column is the read-out, whose signal is the loss's own
        ([[1e3, 1.0, 1.0, 1.0]], 3.0),  # exploding is as sick as vanishing
        ([[1.0, 1.0, 1.0, 1.0]], 0.0),
        ([[0.01, 1.0, 1.0, 1.0], [0.1, 1.0, 1.0, 1.0], [0.1, 1.0, 1.0, 1.0]], 1.0),  # median over time
    ],
)
def test_the_signals_fall_in_powers_of_ten(digits, norms, fall):
    assert signal_fall(diagnosed(digits, norms)) == pytest.approx(fall)


def test_a_signal_of_zero_is_dead_and_not_an_error(digits):
    assert 30 < signal_fall(diagnosed(digits, [[0.0, 1.0, 1.0, 1.0]])) < 40


def test_blank_places_stay_blank_in_the_summary_by_layer(digits):
    norms = [[np.nan, 1.0], [np.nan, 3.0]]
    found = layer_health(Experiment("x", [diagnosed(digits, norms)]), "a", digits)
    assert np.isnan(found.signal_norms[0])
    assert found.signal_norms[1] == 2.0
    assert np.isnan(found.angle_cosines).all()


def test_the_expected_best_worked_by_hand():
    # Best of two out of {1, 2, 3}: pairs 12, 13, 23 give 2, 3, 3.
    assert expected_best([3.0, 1.0, 2.0], 2) == pytest.approx(8 / 3)
    assert expected_best([3.0, 1.0, 2.0], 1) == pytest.approx(2)
    assert expected_best([3.0, 1.0, 2.0], 3) == pytest.approx(3)


def test_more_trials_than_were_made_are_refused():
    with pytest.raises(ComparisonError, match="1 to 3, the trials that were made"):
        expected_best([1.0, 2.0, 3.0], 4)


@pytest.mark.parametrize(
    ("scores", "needed"),
    [
        ([0.9] * 20, 1),  # every setting works
        ([0.9], 1),
        ([0.9] + [0.1] * 19, 20),  # one needle in the hay
        ([0.9] * 10 + [0.1] * 10, 6),  # 1 - P(none of six) = 1 - C(10,6) / C(20,6) = 0.9946; 0.8 x 0.0054 > 0.002
    ],
)
def test_trials_needed(scores, needed):
    found = trials_needed(scores)
    gap = max(scores) - expected_best(scores, found)
    assert gap <= 0.002 + 1e-12
    assert found >= needed
    assert found == 1 or max(scores) - expected_best(scores, found - 1) > 0.002


def test_the_spread_is_the_interquartile_range_in_points():
    found = score_spread([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found.value == pytest.approx(20)
    assert found.low <= 20 <= found.high


def numbers(beyond=(), spread=1.0, trials=5) -> HyperparameterNumbers:
    return HyperparameterNumbers("a", beyond, Estimate(spread, None, None), trials, 24, 1.0)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (numbers(), Verdict.EQUIVALENT),
        (numbers(spread=1.1), Verdict.EQUIVALENT),  # within 0.2 points
        (numbers(trials=3), Verdict.BETTER),
        (numbers(beyond=("noise",)), Verdict.WORSE),
        (numbers(beyond=("noise",), trials=3), Verdict.UNDECIDED),
    ],
)
def test_hyperparameters_are_judged_by_three_numbers(ours, verdict):
    assert hyperparameter_verdict(ours, numbers()) is verdict


BACKPROP = Plausibility("backprop", (Property("weight transport", True), Property("backward locking", True)))


@pytest.mark.parametrize(
    ("properties", "verdict"),
    [
        ([("weight transport", False, "confirmed"), ("backward locking", True, "untested")], Verdict.BETTER),
        ([("weight transport", False, "untested"), ("backward locking", True, "untested")], Verdict.SUGGESTIVE_BETTER),
        ([("weight transport", False, "refuted"), ("backward locking", True, "untested")], Verdict.EQUIVALENT),
        ([("weight transport", True, "confirmed"), ("backward locking", True, "confirmed")], Verdict.EQUIVALENT),
        ([("something else", False, "confirmed")], Verdict.NOT_MEASURED),
    ],
)
def test_plausibility_is_judged_by_what_is_needed(properties, verdict):
    ours = Plausibility("a", tuple(Property(n, needed, proof=Proof(proof)) for n, needed, proof in properties))
    assert plausibility_verdict(ours, BACKPROP) is verdict


def test_a_leak_found_on_one_network_counts_for_the_arm(run_of, digits):
    def with_proof(seed, proof):
        item = Property("weight transport", False, proof=Proof(proof))
        return Run("a", "a", digits, seed, "succeeded", {"test_accuracy": 0.9}, properties=(item,))

    runs = [with_proof(0, "confirmed"), with_proof(1, "refuted"), with_proof(2, "untested")]
    assert plausibility_of(Experiment("x", runs), "a").needs == {"weight transport"}


def test_contradicting_declarations_of_one_arm_are_refused(digits):
    runs = [
        Run("a", "a", digits, s, "succeeded", {"test_accuracy": 0.9}, properties=(Property("locking", bool(s)),))
        for s in range(2)
    ]
    with pytest.raises(ComparisonError, match=r"properties\.locking"):
        plausibility_of(Experiment("x", runs), "a")


TESTED = (
    Property("weight transport", False, proof=Proof.CONFIRMED, evidence="No error went back through weights."),
    Property("backward locking", True, proof=Proof.UNTESTED, evidence="The network has one layer."),
    Property("derivative", False, proof=Proof.REFUTED, evidence="Without derivatives layer1 was another."),
    Property("global error", True, proof=Proof.CONFIRMED, evidence="With the outputs hidden layer1 was another."),
)


def test_tests_are_counted_and_say_nothing_where_none_ran():
    assert Plausibility("a", TESTED).tests_sentence == "2 confirmed, 1 refuted, 1 untested"
    assert BACKPROP.tests_sentence == "none tested"


def test_the_findings_that_matter_come_with_their_evidence():
    found = Plausibility("a", TESTED).findings(BACKPROP.needs)
    assert found == (
        "weight transport confirmed: No error went back through weights",
        "derivative refuted: Without derivatives layer1 was another",
    )
    assert Plausibility("a", TESTED).findings() == ("derivative refuted: Without derivatives layer1 was another",)


def test_a_cell_shows_counts_and_evidence(digits):
    def run(arm, properties):
        return Run(arm, arm, digits, 0, "succeeded", {"test_accuracy": 0.9}, properties=properties)

    card = score(Experiment("x", [run("a", TESTED), run("backprop", BACKPROP.properties)]))
    cell = card.cells["a"][Criterion.PLAUSIBILITY]
    assert cell.number == "needs 3 of 4; 2 confirmed, 1 refuted, 1 untested"
    assert "Weight transport confirmed: No error went back through weights." in cell.sentence
    assert "Derivative refuted: Without derivatives layer1 was another." in cell.sentence

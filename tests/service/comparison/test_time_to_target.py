"""Runs that never reach the target stay in every number."""

import numpy as np
import pytest

from service.comparison.comparisons import compare
from service.comparison.measures import TIMES
from service.comparison.runs import Curve, Experiment, Run
from service.comparison.time_to_target import (
    Reach,
    kaplan_meier_median,
    reach,
    restricted_times,
    target_of,
    times_to_target,
)
from service.comparison.verdicts import Verdict

NEVER = np.inf


def run_with(workload, accuracies, *, arm="backprop", seed=0, pace=1.0, state="succeeded") -> Run:
    epochs = np.arange(1.0, len(accuracies) + 1)
    curve = Curve(epoch=epochs, seconds=epochs * pace, validation_accuracy=accuracies)
    metrics = {"test_accuracy": accuracies[-1]} if state == "succeeded" else {}
    return Run(arm, arm, workload, seed, state, metrics, curve=curve)


def test_the_target_is_set_by_backprop_alone(digits):
    runs = [run_with(digits, [0.5, final], seed=s) for s, final in enumerate([0.8, 0.9, 1.0])]
    runs += [run_with(digits, [0.99, 0.99], arm="other", seed=s) for s in range(3)]
    assert target_of(Experiment("x", runs), digits) == pytest.approx(0.1 + 0.95 * (0.9 - 0.1))


def test_a_target_named_beforehand_wins(digits):
    experiment = Experiment("x", [run_with(digits, [0.9])], targets={digits.key: 0.42})
    assert target_of(experiment, digits) == 0.42


def test_time_is_read_at_the_first_evaluation_that_reaches(digits):
    found = reach(run_with(digits, [0.2, 0.8, 0.7, 0.9], pace=2.5), "seconds", 0.8)
    assert (found.time, found.watched) == (5.0, 10.0)


def test_a_run_that_never_reaches_was_watched_to_its_end(digits):
    assert reach(run_with(digits, [0.2, 0.3, 0.4]), "epoch", 0.8) == Reach(0, None, 3.0)


def test_a_diverged_run_never_reaches_even_if_it_once_did(digits):
    assert reach(run_with(digits, [0.95, 0.1], state="diverged"), "epoch", 0.8) == Reach(0, None, NEVER)


def test_a_lost_run_says_nothing(digits):
    assert reach(run_with(digits, [0.95], state="lost"), "epoch", 0.8) is None


def test_blank_evaluations_are_passed_over(digits):
    assert reach(run_with(digits, [0.2, np.nan, 0.9]), "epoch", 0.8).time == 3.0


def test_the_median_counts_runs_that_never_reach():
    # 2, 4, 6 reached and two watched to 10: half is passed at the third of five.
    reached = [Reach(s, t, 10.0) for s, t in enumerate([2.0, 4.0, 6.0])] + [Reach(8, None, 10.0), Reach(9, None, 10.0)]
    assert kaplan_meier_median(reached) == 6.0
    # A mean over the survivors would say 4.


def test_an_early_end_is_censoring_and_a_divergence_is_not():
    # Survival 4/5 after 2; the run watched to 3 leaves; then 2/3 and 1/3 of 4/5. Half is passed at 6.
    early = [Reach(0, 2.0, 9), Reach(1, None, 3.0), Reach(2, 5.0, 9), Reach(3, 6.0, 9), Reach(4, 8.0, 9)]
    assert kaplan_meier_median(early) == 6.0
    # Diverged, it stays at risk for good: survival 4/5, 3/5, 2/5 gives 6 as well, and a second one moves it to 8.
    two_gone = [Reach(0, 2.0, 9), Reach(1, None, NEVER), Reach(2, None, NEVER), Reach(3, 6.0, 9), Reach(4, 8.0, 9)]
    assert kaplan_meier_median(two_gone) == 8.0


def test_no_median_is_made_up_where_half_never_reach():
    assert kaplan_meier_median([Reach(0, 1.0, 5), Reach(1, None, 5.0), Reach(2, None, NEVER)]) is None
    assert kaplan_meier_median([Reach(0, None, 5.0)]) is None
    assert kaplan_meier_median([]) is None


def test_times_are_cut_where_the_first_unfinished_run_ended():
    cut = restricted_times([Reach(0, 2.0, 10), Reach(1, 9.0, 10), Reach(2, None, 7.0)])
    assert cut.horizon == 7.0
    assert cut.times.tolist() == [2.0, 7.0, 7.0]
    assert cut.cut.tolist() == [False, True, True]


def test_a_diverged_run_does_not_shorten_the_horizon():
    cut = restricted_times([Reach(0, 2.0, 10), Reach(1, None, NEVER)])
    assert (cut.horizon, cut.times.tolist()) == (10.0, [2.0, 10.0])


def paired(digits, ours, theirs, **more) -> Experiment:
    """Ten seeds; curves wander by seed so that intervals have a width."""
    runs = []
    for seed in range(10):
        runs.append(run_with(digits, [a + 1e-3 * seed for a in theirs], seed=seed, pace=1 + 0.01 * seed))
        runs.append(run_with(digits, [a + 1e-3 * seed for a in ours], arm="other", seed=seed, **more))
    return Experiment("x", runs)


def test_an_arm_that_never_reaches_is_worse_not_absent(digits):
    experiment = paired(digits, [0.3, 0.4, 0.5, 0.5], [0.7, 0.9, 0.95, 0.95])
    (found,) = compare(experiment, TIMES["epoch"])
    assert found.verdict is Verdict.WORSE
    assert found.judgement.pairs == 10
    assert any("never reached by 10 of 10" in note for note in found.notes)


def test_an_arm_that_diverges_always_is_worse(digits):
    experiment = paired(digits, [0.3, 0.4], [0.7, 0.9, 0.95, 0.95], state="diverged")
    (found,) = compare(experiment, TIMES["epoch"])
    assert found.verdict is Verdict.WORSE
    assert found.shown.value == pytest.approx(4 / 3)  # cut at the 4 epochs that were run; backprop needs 3


def test_stopped_before_either_arrives_is_undecided_and_never_equivalent(digits):
    # The other arm ran only 0.4 s in all, before backprop's first evaluation: every pair is cut on both sides.
    experiment = paired(digits, [0.3, 0.4, 0.5, 0.5], [0.7, 0.9, 0.95, 0.95], pace=0.1)
    (found,) = compare(experiment, TIMES["seconds"])
    assert found.verdict is Verdict.UNDECIDED
    assert any("neither run was seen" in note for note in found.notes)


def test_the_table_shows_how_many_reached(digits):
    rows = {row.arm: row for row in times_to_target(paired(digits, [0.3, 0.4], [0.7, 0.95]), "epoch")}
    assert (rows["other"].reached, rows["other"].runs, rows["other"].median) == (0, 10, None)
    assert (rows["backprop"].reached, rows["backprop"].median) == (10, 2.0)


def test_a_target_met_before_training_has_a_time_above_zero(digits):
    curve = Curve(epoch=[0.0, 1.0], validation_accuracy=[0.9, 0.9])
    run = Run("backprop", "backprop", digits, 0, "succeeded", {"test_accuracy": 0.9}, curve=curve)
    assert reach(run, "epoch", 0.8).time == 1.0

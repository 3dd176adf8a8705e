"""Interquartile mean, stratified bootstrap and performance profiles against cases worked by hand."""

import numpy as np
import pytest

from service.comparison.across_workloads import (
    aggregate,
    interquartile_mean,
    normalised,
    performance_profiles,
    profile_shares,
    stratified_interquartile_mean,
)
from service.comparison.errors import ComparisonError
from service.comparison.runs import Experiment


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    assert interquartile_mean([0, 1, 2, 3, 4, 5, 6, 100]) == 3.5


def test_the_scale_puts_frozen_at_0_and_backprop_at_1():
    frozen, backprop = np.array([0.4, 0.6]), np.array([0.8, 1.0])
    assert normalised(backprop, frozen, backprop).tolist() == [1.0, 1.0]
    assert normalised(frozen, frozen, backprop).mean() == pytest.approx(0)
    assert normalised(np.array([0.6, 1.2]), frozen, backprop) == pytest.approx([0.5, 1.5])


def test_one_bad_seed_of_backprop_does_not_break_the_scale():
    frozen, backprop = np.full(10, 0.8), np.array([0.1] + [0.95] * 9)
    assert np.isfinite(normalised(np.full(10, 0.9), frozen, backprop)).all()


def test_backprop_is_exactly_one_and_its_interval_has_no_width(five_algorithms):
    found = aggregate(five_algorithms, "backprop").estimate
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_an_arm_half_way_stands_half_way(five_algorithms):
    # alternating_minimization is at 91 %, frozen at 85 %, backprop at 97 %
    found = aggregate(five_algorithms, "alternating_minimization")
    assert found.estimate.value == pytest.approx(0.5, abs=0.02)
    assert found.estimate.low < 0.5 < found.estimate.high
    assert found.seeds == 20


def test_the_bootstrap_covers_a_known_middle_nineteen_times_in_twenty():
    covered = 0
    for trial in range(120):
        rng = np.random.default_rng(trial)
        backprop, frozen = rng.normal(0.9, 0.01, (2, 20)), rng.normal(0.5, 0.01, (2, 20))
        arm = backprop + rng.normal(-0.1, 0.02, (2, 20))
        found = stratified_interquartile_mean(list(zip(arm, frozen, backprop, strict=True)), draws=400, seed=trial)
        covered += found.low <= 0.75 <= found.high
    # Bootstrap percentiles fall a little short of 95 % at these sizes.
    assert covered >= 120 * 0.88


def test_the_bootstrap_is_seeded(five_algorithms):
    arm = "hsic_bottleneck"
    assert aggregate(five_algorithms, arm) == aggregate(five_algorithms, arm)


def test_one_seed_gives_no_interval():
    one = (np.array([0.9]), np.array([0.5]), np.array([0.95]))
    found = stratified_interquartile_mean([one])
    assert (found.low, found.high) == (None, None)


def test_no_workload_is_an_error():
    with pytest.raises(ComparisonError, match="at least one workload"):
        stratified_interquartile_mean([])


def test_a_workload_where_frozen_does_as_well_is_named_and_left_out(run_of):
    runs = [run_of(arm, s, accuracy=0.9 + 0.001 * s) for arm in ("backprop", "frozen", "other") for s in range(10)]
    found = aggregate(Experiment("x", runs), "other")
    assert found.estimate is None
    assert found.left_out == ("digits / mlp 64-64: backprop is not clearly above frozen",)


def test_a_profile_worked_by_hand():
    # Problems: fastest 1, 2, 4, and one that nobody solves.
    times = {"a": np.array([1.0, 4.0, 4.0, np.inf]), "b": np.array([2.0, 2.0, np.inf, np.inf])}
    shares = profile_shares(times, np.array([1.0, 2.0, 1000.0]))
    assert shares["a"].tolist() == [0.5, 0.75, 0.75]
    assert shares["b"].tolist() == [0.25, 0.5, 0.5]


def test_profiles_compare_arms_on_the_problems_that_all_have(run_of):
    runs = [run_of("backprop", s) for s in range(10)] + [run_of("synthetic_gradients", s) for s in range(4)]
    found = performance_profiles(Experiment("x", runs), "seconds")
    assert {profile.problems for profile in found} == {4}


def test_profiles_only_rise(five_algorithms):
    for profile in performance_profiles(five_algorithms, "seconds"):
        assert (np.diff(profile.share) >= 0).all()
        assert profile.share.max() <= 1

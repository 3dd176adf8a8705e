"""The statistics agree with scipy, statsmodels, closed forms and cases worked by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from service.comparison.errors import ComparisonError
from service.comparison.statistics import (
    effect_size,
    holm,
    mean_interval,
    sign_flip_test,
    smallest_p,
    superiority,
)

DIFFERENCES = np.array([0.4, -0.1, 0.9, 0.3, 0.2, 0.7, -0.2, 0.5, 0.6, 0.1])


def test_the_interval_is_scipys_paired_t_interval():
    expected = stats.ttest_1samp(DIFFERENCES, 0).confidence_interval(0.95)
    found = mean_interval(DIFFERENCES)
    assert found.value == pytest.approx(DIFFERENCES.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_an_interval_worked_by_hand():
    # mean 2, sd 1, n 3: half-width 4.302653 / sqrt(3)
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)


def test_one_pair_has_a_mean_and_no_interval():
    found = mean_interval([0.3])
    assert (found.value, found.low, found.high) == (0.3, None, None)


def test_equal_differences_have_an_interval_of_no_width():
    found = mean_interval([0.25] * 10)
    assert (found.low, found.high) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0, 2.0, 3.0], 2 / 8),  # only +++ and --- reach a sum of 6
        ([3.0, 2.0, -1.0], 4 / 8),  # sums of 4 or more: ++-, +++ and their mirrors
        ([1.0] * 5, 0.0625),  # the smallest two-sided p of five pairs, as rule 2 says
        ([1.0] * 10, 2 / 1024),
        ([0.0] * 10, 1.0),  # ties everywhere: no evidence
        ([1.0, 0.0, 0.0], 1.0),  # a tie changes nothing when flipped
        ([2.5], 1.0),
    ],
)
def test_sign_flip_cases_worked_by_hand(differences, p):
    found = sign_flip_test(differences)
    assert found.exact
    assert found.p == pytest.approx(p)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_sign_flip_counts_every_pattern(integers):
    # Whole numbers have exact sums, so the slow count has no rounding to argue about.
    reached = [
        abs(sum(s * d for s, d in zip(signs, integers, strict=True))) >= abs(sum(integers))
        for signs in itertools.product((1, -1), repeat=len(integers))
    ]
    assert sign_flip_test(np.array(integers, dtype=float)).p == pytest.approx(np.mean(reached))


def test_sign_flip_agrees_with_scipys_permutation_test():
    expected = stats.permutation_test(
        (DIFFERENCES,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_test(DIFFERENCES).p == pytest.approx(expected.pvalue)


def test_decimal_ties_count_as_ties_whatever_the_rounding():
    # 0.1 + 0.2 and 0.3 are the same sum here, though not the same float: half of the patterns reach it.
    assert sign_flip_test([0.1, 0.2, 0.3]).p == pytest.approx(2 / 8)
    assert sign_flip_test([0.1, 0.2, -0.3]).p == 1.0


def test_sixteen_pairs_are_enumerated_and_seventeen_are_drawn():
    rng = np.random.default_rng(4)
    sixteen, seventeen = rng.normal(0.3, 1, 16), rng.normal(0.3, 1, 17)
    assert (sign_flip_test(sixteen).exact, sign_flip_test(sixteen).patterns) == (True, 2**16)
    drawn = sign_flip_test(seventeen)
    assert (drawn.exact, drawn.patterns) == (False, 65536)
    assert drawn == sign_flip_test(seventeen), "the draws are seeded"


def test_drawn_patterns_come_near_the_whole_enumeration():
    d = np.random.default_rng(9).normal(0.35, 1, 18)
    every = 1.0 - 2.0 * ((np.arange(2**17)[:, None] >> np.arange(17)) & 1)
    exact = np.mean(np.abs(d[0] + every @ d[1:]) >= abs(d.sum()) - 1e-9)
    # 65,536 draws: four standard errors of a share
    assert sign_flip_test(d).p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 65536))


@pytest.mark.parametrize("pairs", [1, 3, 5, 6, 10, 16])
def test_the_smallest_p_is_reached_by_equal_signs(pairs):
    assert sign_flip_test(np.arange(1.0, pairs + 1)).p == pytest.approx(smallest_p(pairs))


def test_a_drawn_p_is_never_zero():
    assert sign_flip_test(np.ones(40)).p == pytest.approx(smallest_p(40))
    assert smallest_p(40) > 0


@pytest.mark.parametrize("size", [0, 1, 2, 7, 25])
def test_holm_is_statsmodels_holm(size):
    p_values = np.round(np.random.default_rng(size).random(size) ** 3, 2).tolist()  # small ones, and ties
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(tuple(expected))


def test_holm_worked_by_hand():
    # 3 x .01, then 2 x .02, then the larger of that and 1 x .03
    assert holm([0.03, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))


def test_ten_pairs_pass_a_family_of_twenty_and_five_pairs_pass_none():
    assert 20 * smallest_p(10) <= 0.05 < 26 * smallest_p(10)
    assert smallest_p(5) > 0.05


def test_hedges_correction_is_the_gamma_form():
    g = effect_size(DIFFERENCES)
    d = DIFFERENCES.mean() / DIFFERENCES.std(ddof=1)
    # 1 - 3 / (4 df - 1) approximates the exact factor
    assert g.value == pytest.approx(d * (1 - 3 / (4 * 9 - 1)), rel=2e-3)
    assert g.value == pytest.approx(d * 0.9139, rel=1e-3)


def test_the_effects_interval_inverts_the_noncentral_t():
    g = effect_size(DIFFERENCES)
    t = DIFFERENCES.mean() / stats.sem(DIFFERENCES)
    factor = g.value / t
    for end, probability in ((g.low, 0.975), (g.high, 0.025)):
        assert stats.nct.cdf(t, 9, end / factor) == pytest.approx(probability, abs=1e-5)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e3, 1e8])
def test_enormous_and_tiny_effects_have_finite_intervals(size):
    d = size + np.array([-1, 0, 1, 0.5, -0.5, 0.2, -0.2, 0.1, -0.1, 0.0])
    g = effect_size(d)
    assert np.isfinite([g.low, g.high]).all()
    assert g.low < g.value < g.high


@pytest.mark.parametrize("differences", [[1.0], [1.0, 2.0], [0.3] * 10, [0.0] * 10, [0.1 + 0.2] * 3])
def test_nothing_to_standardise_by_gives_no_effect_size(differences):
    assert effect_size(differences) is None


def test_superiority_counts_ties_as_one_half():
    found = superiority([1.0, 1.0, 0.0, -1.0])
    assert found.value == 0.625
    assert 0 <= found.low < 0.625 < found.high <= 1


@pytest.mark.parametrize("test", [mean_interval, sign_flip_test, superiority])
def test_no_pair_is_an_error_that_names_the_field(test):
    with pytest.raises(ComparisonError, match=r"differences: got .*at least one pair"):
        test([])


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf], [[1.0, 2.0]]])
def test_values_that_are_not_finite_numbers_are_refused(bad):
    with pytest.raises(ComparisonError) as error:
        mean_interval(bad)
    assert error.value.field == "differences"

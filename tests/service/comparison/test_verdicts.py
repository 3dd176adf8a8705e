"""The decision table of rules 2 and 6."""

import numpy as np
import pytest

from service.comparison.protocol import ACCURACY_MARGIN
from service.comparison.statistics import Estimate
from service.comparison.verdicts import Verdict, combine, decide, family_verdicts, judge_family
from service.comparison.wording import CELL, COMPARISON

V = Verdict


@pytest.mark.parametrize(
    ("low", "high", "p", "pairs", "verdict"),
    [
        (0.5, 1.5, 0.01, 10, V.BETTER),
        (-1.5, -0.5, 0.01, 10, V.WORSE),
        (-0.2, 0.2, 0.9, 10, V.EQUIVALENT),
        (0.05, 0.2, 0.001, 10, V.EQUIVALENT),  # there, but too small to matter
        (-0.3, 1.5, 0.2, 10, V.UNDECIDED),
        (0.1, 1.5, 0.051, 10, V.UNDECIDED),  # the interval alone is not enough
        (-0.1, 1.5, 0.01, 10, V.UNDECIDED),  # nor is the test
        (0.5, 1.5, 0.05, 10, V.BETTER),  # at most the level
        (0.5, 1.5, 0.01, 9, V.SUGGESTIVE_BETTER),
        (-1.5, -0.5, 0.01, 6, V.SUGGESTIVE_WORSE),
        (-0.2, 0.2, 0.9, 6, V.SUGGESTIVE_EQUIVALENT),
        (-0.3, 1.5, 0.2, 6, V.UNDECIDED),
        (0.5, 1.5, 0.01, 5, V.NOT_ENOUGH_SEEDS),
        (None, None, 1.0, 1, V.NOT_ENOUGH_SEEDS),
    ],
)
def test_verdict_from_interval_margin_and_p(low, high, p, pairs, verdict):
    assert decide(Estimate(0.0, low, high), p, p, margin=0.2, pairs=pairs) is verdict


def test_a_verdict_uses_the_corrected_p_and_a_suggestion_the_plain_one():
    clear = Estimate(1.0, 0.5, 1.5)
    assert decide(clear, p=0.01, adjusted_p=0.2, margin=0.2, pairs=10) is V.UNDECIDED
    assert decide(clear, p=0.01, adjusted_p=0.2, margin=0.2, pairs=9) is V.SUGGESTIVE_BETTER


def test_the_same_difference_is_better_alone_and_undecided_in_a_crowd():
    rng = np.random.default_rng(0)
    planted = np.array([1.2, 0.9, 1.1, 0.3, 0.8, 1.4, -0.1, 0.6, 1.0, 0.7])
    crowd = [rng.normal(0, 1, 10) for _ in range(30)]
    assert judge_family([planted], ACCURACY_MARGIN)[0].verdict is V.BETTER
    assert judge_family([planted, *crowd], ACCURACY_MARGIN)[0].verdict is V.UNDECIDED


def test_verdicts_alone_are_those_of_the_judgements():
    rng = np.random.default_rng(3)
    family = [rng.normal(mean, 0.01, n) for mean in (-0.02, 0, 0.01) for n in (3, 8, 12)] + [np.array([])]
    assert family_verdicts(family, 0.002) == [j.verdict for j in judge_family(family, 0.002)]


def test_no_pair_is_not_measured_and_does_not_burden_the_family():
    with_blank = judge_family([np.ones(10), np.array([])], ACCURACY_MARGIN)
    assert with_blank[1].verdict is V.NOT_MEASURED
    assert with_blank[0].family == 1
    assert with_blank[0].adjusted_p == with_blank[0].p


def test_a_family_too_large_for_its_pairs_says_so():
    small, large = ([np.ones(10)] * n for n in (25, 26))
    assert judge_family(small, 0.1)[0].could_pass
    assert not judge_family(large, 0.1)[0].could_pass


def test_identical_runs_are_equivalent():
    found = judge_family([np.zeros(10)], ACCURACY_MARGIN)[0]
    assert (found.verdict, found.p, found.superiority.value) == (V.EQUIVALENT, 1.0, 0.5)


@pytest.mark.parametrize(
    ("verdicts", "cell"),
    [
        ([V.BETTER, V.EQUIVALENT], V.BETTER),
        ([V.WORSE, V.EQUIVALENT], V.WORSE),
        ([V.BETTER, V.WORSE], V.UNDECIDED),
        ([V.BETTER, V.UNDECIDED], V.UNDECIDED),
        ([V.EQUIVALENT, V.EQUIVALENT], V.EQUIVALENT),
        ([V.BETTER, V.SUGGESTIVE_BETTER], V.SUGGESTIVE_BETTER),
        ([V.BETTER, V.NOT_ENOUGH_SEEDS], V.BETTER),
        ([V.NOT_ENOUGH_SEEDS, V.NOT_MEASURED], V.NOT_ENOUGH_SEEDS),
        ([V.SUGGESTIVE_BETTER, V.WORSE], V.UNDECIDED),
        ([], V.NOT_MEASURED),
    ],
)
def test_a_cell_over_several_workloads(verdicts, cell):
    assert combine(verdicts) is cell


@pytest.mark.parametrize("table", [COMPARISON, CELL])
def test_every_verdict_has_a_sentence_of_its_own(table):
    assert set(table) == set(Verdict)
    assert len(set(table.values())) == len(Verdict)


@pytest.mark.parametrize("table", [COMPARISON, CELL])
def test_a_sentence_says_what_its_verdict_says(table):
    words = {V.BETTER: "better than", V.WORSE: "worse than", V.EQUIVALENT: "equivalent"}
    for verdict, sentence in table.items():
        for other, word in words.items():
            if verdict.direction in words:
                assert (word in sentence) == (verdict.direction is other)
    assert all("suggest" in COMPARISON[v] and "no verdict" in COMPARISON[v] for v in Verdict if v.is_suggestive)

"""False alarms of a whole family stay below its level; a planted difference is found as often as theory says.

benchmarks/comparison_calibration.py runs the same at full size.
"""

import numpy as np
import pytest
from scipy import stats

from service.comparison.protocol import ACCURACY_MARGIN
from service.comparison.verdicts import Verdict, family_verdicts

SD = 0.005


def families_with_a_false_alarm(experiments: int, arms: int, workloads: int, pairs: int, seed: int) -> int:
    """Backprop against itself under other names: all arms share its scores in a workload, as in a real experiment."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(experiments):
        reference = rng.normal(0.97, SD, (workloads, 1, pairs))
        scores = rng.normal(0.97, SD, (workloads, arms, pairs))
        family = list((scores - reference).reshape(-1, pairs))
        alarms += any(v in (Verdict.BETTER, Verdict.WORSE) for v in family_verdicts(family, ACCURACY_MARGIN))
    return alarms


@pytest.mark.parametrize(("arms", "workloads", "pairs"), [(1, 1, 10), (5, 4, 10), (5, 1, 12)])
def test_backprop_against_itself_is_rarely_called_better_or_worse(arms, workloads, pairs):
    alarms = families_with_a_false_alarm(100, arms, workloads, pairs, seed=11)
    # At a true rate of 5 %, more than 11 of 100 has a probability below 0.5 %.
    assert stats.binom.sf(11, 100, 0.05) < 0.005
    assert alarms <= 11


def found_share(experiments: int, pairs: int, extra: int, seed: int) -> float:
    """How often a difference of one standard deviation is called better, among so many comparisons without one."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(experiments):
        planted = rng.normal(SD, SD, pairs)
        crowd = list(rng.normal(0, SD, (extra, pairs)))
        found += family_verdicts([planted, *crowd], ACCURACY_MARGIN)[0] is Verdict.BETTER
    return found / experiments


def test_one_standard_deviation_is_found_at_ten_pairs_as_often_as_the_noncentral_t_says():
    critical = stats.t.ppf(0.975, 9)
    theory = stats.nct.sf(critical, 9, np.sqrt(10))
    assert theory == pytest.approx(0.803, abs=0.002)
    # 600 experiments: three standard errors are 0.05. Both tests must agree, which costs a little and adds nothing.
    assert theory - 0.07 < found_share(600, 10, 0, seed=5) < theory + 0.05


def test_among_twenty_it_is_found_exactly_when_all_ten_pairs_agree_in_sign():
    # 0.05 / 20 leaves p = 2/1024 alone, which the sign-flip test gives if and only if no pair disagrees: the power is
    # Phi(1)^10, 17.8 %, and that is why a large family needs more seeds.
    rng = np.random.default_rng(6)
    agreed = 0
    for _ in range(100):
        planted = rng.normal(SD, SD, 10)
        crowd = list(rng.normal(0, SD, (19, 10)))
        found = family_verdicts([planted, *crowd], ACCURACY_MARGIN)[0] is Verdict.BETTER
        assert found == (planted > 0).all()
        agreed += found
    assert 5 <= agreed <= 35

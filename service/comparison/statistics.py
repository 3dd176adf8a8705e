"""Paired statistics over seeds (rules 3, 4 and 7 of docs/explanation/protocol.md).

Every function takes `differences`, shape (pairs,): candidate minus reference, oriented so that positive is better for
the candidate, and NaN-free. A number comes with its interval. scipy and statsmodels do the work where they can.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from statsmodels.stats.proportion import proportion_confint

from service.comparison.errors import ComparisonError
from service.comparison.protocol import (
    CONFIDENCE,
    LARGEST_ENUMERATION,
    MONTE_CARLO_DRAWS,
    MONTE_CARLO_SEED,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; `low` and `high` are None where no interval exists (one pair, say)."""

    value: float
    low: float | None
    high: float | None

    def map(self, function: np.ufunc) -> "Estimate":
        """The estimate on another, monotone scale; a falling function swaps the ends."""
        ends = [None if end is None else float(function(end)) for end in (self.low, self.high)]
        if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
            ends.reverse()
        return Estimate(float(function(self.value)), ends[0], ends[1])


@dataclass(frozen=True)
class SignFlip:
    """The sign-flip test's answer. `exact` is False if patterns were drawn at random."""

    p: float
    exact: bool
    patterns: int


def checked(differences: ArrayLike, field: str = "differences") -> Floats:
    """The differences as float64; refuses other shapes and anything that is not finite."""
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1:
        raise ComparisonError(field, values.shape, "one dimension, (pairs,)")
    if not np.isfinite(values).all():
        raise ComparisonError(field, values[~np.isfinite(values)].tolist(), "finite numbers")
    return values


def mean_interval(differences: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Mean and Student-t interval. One pair has a mean and no interval; equal differences have one of no width."""
    d = checked(differences)
    if d.size == 0:
        raise ComparisonError("differences", [], "at least one pair")
    mean = float(d.mean())
    if d.size == 1:
        return Estimate(mean, None, None)
    half = float(special.stdtrit(d.size - 1, (1 + confidence) / 2)) * _standard_error(d)
    return Estimate(mean, mean - half, mean + half)


def _standard_error(d: Floats) -> float:
    """Of the mean; scipy's own spends most of its time on looking at its arguments."""
    return float(d.std(ddof=1)) / math.sqrt(d.size)


@lru_cache(maxsize=32)
def _all_signs(pairs: int) -> Floats:
    """(2^(pairs-1), pairs): every pattern with the first sign +; the other half mirrors it, and the test is two-
    sided.
    """
    codes = np.arange(2 ** (pairs - 1), dtype=np.int64)
    bits = (codes[:, None] >> np.arange(pairs - 1, dtype=np.int64)) & 1
    signs = np.concatenate([np.ones((codes.size, 1)), 1.0 - 2.0 * bits], axis=1)
    signs.flags.writeable = False
    return signs


@lru_cache(maxsize=2)
def _drawn_signs(pairs: int) -> Floats:
    """(draws, pairs): the same seeded patterns for every test of that size; drawing them anew would cost most of it."""
    bits = np.random.default_rng(MONTE_CARLO_SEED).integers(0, 2, (MONTE_CARLO_DRAWS, pairs), dtype=np.int8)
    signs: Floats = np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
    signs.flags.writeable = False
    return signs


def sign_flip_test(differences: ArrayLike) -> SignFlip:
    """Two-sided test that the differences are symmetric about zero, by the size of their sum.

    All 2^n sign patterns up to 2^16; above, 65,536 seeded random ones with p = (1 + hits) / (1 + draws), never 0.
    """
    d = checked(differences)
    if d.size == 0:
        raise ComparisonError("differences", [], "at least one pair")
    # Sums of the same numbers in another order differ in the last bits; without slack a tie would count as smaller.
    threshold = abs(d.sum()) - 1e-12 * np.abs(d).sum()
    if 2**d.size <= LARGEST_ENUMERATION:
        sums = _all_signs(d.size) @ d
        return SignFlip(float(np.mean(np.abs(sums) >= threshold)), True, 2**d.size)
    hits = int((np.abs(_drawn_signs(d.size) @ d) >= threshold).sum())
    return SignFlip((1 + hits) / (1 + MONTE_CARLO_DRAWS), False, MONTE_CARLO_DRAWS)


def smallest_p(pairs: int) -> float:
    """The smallest p that the sign-flip test can give with so many pairs."""
    return 2 / 2**pairs if 2**pairs <= LARGEST_ENUMERATION else 1 / (1 + MONTE_CARLO_DRAWS)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm-adjusted p-values, in the order given; an empty family stays empty.

    The same numbers as statsmodels' multipletests (tested), which runs a full garbage collection at each call: 40 ms in
    a process with torch or Django loaded, thirty times a scorecard.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)) if p.size else p
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(adjusted.tolist())


def effect_size(differences: ArrayLike, confidence: float = CONFIDENCE) -> Estimate | None:
    """Hedges' g of paired differences: mean / sd, corrected for small samples, interval by the noncentral t.

    None where the sd is zero (nothing to standardise by) or there are fewer than three pairs (no correction exists).
    """
    d = checked(differences)
    # "Zero" to the last bits: the mean of equal numbers need not equal them.
    if d.size < 3 or d.std(ddof=1) <= 1e-12 * np.abs(d).max(initial=0.0):
        return None
    df = d.size - 1
    correction = float(np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2))
    t = float(d.mean()) / _standard_error(d)
    low, high = (_noncentrality(t, df, q) for q in ((1 + confidence) / 2, (1 - confidence) / 2))
    scale = correction / np.sqrt(d.size)
    return Estimate(t * scale, low * scale, high * scale)


@lru_cache(maxsize=64)
def _scaled_chi(df: int) -> tuple[Floats, Floats]:
    """Nodes of sqrt(chi2 / df) and their weights: Gauss-Legendre over its probabilities."""
    places, weights = np.polynomial.legendre.leggauss(400)
    return np.sqrt(stats.chi2.ppf((places + 1) / 2, df) / df), weights / 2


def _noncentrality(t: float, df: int, probability: float) -> float:
    """The noncentrality at which `t` is the given quantile of the noncentral t.

    scipy's own distribution function gives NaN in the tails that a large effect reaches; the expectation of the normal
    one over the chi distribution is smooth everywhere.
    """
    nodes, weights = _scaled_chi(df)

    def gap(noncentrality: float) -> float:
        return float(weights @ special.ndtr(t * nodes - noncentrality)) - probability

    # The noncentrality's standard error is about sqrt(1 + t^2 / 2 df); 12 of them hold any quantile used here.
    reach = 12 * np.sqrt(1 + t * t / (2 * df)) + 5
    return float(optimize.brentq(gap, t - reach, t + reach))


def superiority(differences: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Probability that the candidate beats the reference on one seed; ties count one half. Wilson interval."""
    d = checked(differences)
    if d.size == 0:
        raise ComparisonError("differences", [], "at least one pair")
    wins = float((d > 0).sum() + 0.5 * (d == 0).sum())
    low, high = proportion_confint(wins, d.size, alpha=1 - confidence, method="wilson")
    return Estimate(wins / d.size, float(low), float(high))

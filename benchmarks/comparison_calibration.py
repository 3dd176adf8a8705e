"""How often the scorecard's verdicts are wrong, and how often they find what is there.

    python -m benchmarks.comparison_calibration [--experiments 400] [--out benchmarks/results]

False alarms: backprop against itself under other names; a family counts if any of its comparisons is called better or
worse (5 % at most are promised). Power: a planted difference of so many standard deviations, against the noncentral t
and, for 20 comparisons at 10 pairs, against the closed form. Coverage: how often an interval holds the true difference.
Accuracies are drawn normal, heavy-tailed, skewed, in the steps of a small test set, and with a diverging seed now and
then, since no real score is exactly normal.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from service.comparison.protocol import ACCURACY_MARGIN
from service.comparison.statistics import mean_interval
from service.comparison.verdicts import Verdict, family_verdicts

SD = 0.005
MEAN = 0.97
TEST_IMAGES = 360

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.normal(MEAN, SD, shape)


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return MEAN + SD * rng.standard_t(3, shape) / np.sqrt(3)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return MEAN + SD * (1 - rng.exponential(1, shape))


def in_steps(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Whole images of a test set of 360: ties are common."""
    return rng.binomial(TEST_IMAGES, MEAN, shape) / TEST_IMAGES


def sometimes_diverging(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """One run in twenty at chance level."""
    return np.where(rng.random(shape) < 0.05, 0.1, rng.normal(MEAN, SD, shape))


SCORES: dict[str, Draw] = {
    "normal": normal,
    "heavy-tailed (t, 3 df)": heavy_tailed,
    "skewed (exponential)": skewed,
    "steps of 1/360": in_steps,
    "5 % diverge": sometimes_diverging,
}


def share(hits: int, of: int) -> dict[str, float]:
    """With its exact (Clopper-Pearson) interval."""
    low, high = proportion_confint(hits, of, method="beta")
    return {"hits": hits, "of": of, "share": hits / of, "low": float(low), "high": float(high)}


def false_alarms(draw: Draw, experiments: int, arms: int, workloads: int, pairs: int, seed: int) -> dict[str, Any]:
    """All arms are compared with one backprop per workload, as in a real experiment."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(experiments):
        reference, scores = draw(rng, (workloads, 1, pairs)), draw(rng, (workloads, arms, pairs))
        judged = family_verdicts(list((scores - reference).reshape(-1, pairs)), ACCURACY_MARGIN)
        alarms += any(v in (Verdict.BETTER, Verdict.WORSE) for v in judged)
    return {"arms": arms, "workloads": workloads, "pairs": pairs, **share(alarms, experiments)}


def power(experiments: int, pairs: int, others: int, effect: float, seed: int) -> dict[str, Any]:
    """A difference of `effect` standard deviations among `others` comparisons without one."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(experiments):
        planted = rng.normal(effect * SD, SD, pairs)
        crowd = list(rng.normal(0, SD, (others, pairs)))
        found += family_verdicts([planted, *crowd], ACCURACY_MARGIN)[0] is Verdict.BETTER
    return {
        "pairs": pairs,
        "family": others + 1,
        "effect": effect,
        "theory": theoretical_power(pairs, others + 1, effect),
        **share(found, experiments),
    }


def theoretical_power(pairs: int, family: int, effect: float) -> dict[str, Any]:
    """Two-sided t at the level that Holm's first step leaves; the closed form Phi(effect)^n where that level allows the
    sign-flip test nothing but equal signs."""
    level = 0.05 / family
    if 2 / 2**pairs <= level < 4 / 2**pairs:
        return {"by": "all signs agree: Phi(effect)^n", "power": float(stats.norm.cdf(effect) ** pairs)}
    critical = stats.t.ppf(1 - level / 2, pairs - 1)
    return {"by": "noncentral t", "power": float(stats.nct.sf(critical, pairs - 1, effect * np.sqrt(pairs)))}


def coverage(draw: Draw, experiments: int, pairs: int, seed: int) -> dict[str, Any]:
    """Of the 95 % interval of paired differences; the truth is zero. The percentile bootstrap stands beside it."""
    rng = np.random.default_rng(seed)
    covered = bootstrapped = 0
    for _ in range(experiments):
        d = draw(rng, (pairs,)) - draw(rng, (pairs,))
        interval = mean_interval(d)
        covered += interval.low is not None and interval.high is not None and interval.low <= 0 <= interval.high
        low, high = np.quantile(d[rng.integers(0, pairs, (1000, pairs))].mean(axis=1), [0.025, 0.975])
        bootstrapped += bool(low <= 0 <= high)
    return {"pairs": pairs, "t": share(covered, experiments), "bootstrap": share(bootstrapped, experiments)}


def measure(experiments: int) -> dict[str, Any]:
    sizes = [(1, 1, 10), (5, 1, 10), (5, 4, 10), (5, 1, 20)]
    return {
        "false_alarms": [
            # More than asked for, since 400 alone leave 5 % uncertain by two points; drawn sign patterns are slower.
            {"scores": name, **false_alarms(draw, experiments * (10 if size[2] <= 16 else 4), *size, seed=i)}
            for i, (name, draw) in enumerate(SCORES.items())
            for size in sizes
        ],
        "power": [
            power(experiments, pairs, others, effect, seed=100)
            for effect in (0.5, 1.0, 2.0)
            for pairs, others in ((10, 0), (10, 4), (10, 19), (14, 19), (20, 0), (20, 4))
        ],
        "coverage": [
            {"scores": name, **coverage(SCORES[name], 10 * experiments, pairs, seed=200)}
            for name in ("normal", "skewed (exponential)", "steps of 1/360")
            for pairs in (3, 5, 10)
        ],
    }


def environment() -> dict[str, Any]:
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": git.stdout.strip() or None,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {name: version(name) for name in ("numpy", "scipy", "statsmodels")},
    }


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval(found: dict[str, Any]) -> str:
    return f"{percent(found['share'])} ({percent(found['low'])} to {percent(found['high'])})"


def as_markdown(result: dict[str, Any]) -> str:
    n = result["experiments"]
    lines = [
        "# How often the verdicts are wrong, and how often they find what is there",
        "",
        f"`{result['command']}`, {result['seconds']:.0f} s, commit {result['environment']['commit']}.",
        f"{result['environment']['machine']}. Intervals: Clopper-Pearson, 95 %.",
        "",
        "## False alarms of a whole family (promised: at most 5 %)",
        "",
        "Backprop against itself under other names; a family counts if anything in it is called better or worse.",
        f"{10 * n} experiments a row; {4 * n} at 20 pairs, where patterns are drawn.",
        "",
        "| scores | arms x workloads | pairs | families with a false alarm |",
        "|---|---|---|---|",
        *(
            f"| {r['scores']} | {r['arms']} x {r['workloads']} | {r['pairs']} | {interval(r)} |"
            for r in result["false_alarms"]
        ),
        "",
        "## Power",
        "",
        "How often a planted difference is called better. Theory: the noncentral t at the level that Holm's first step",
        "leaves, or Phi(effect)^n where only equal signs can pass. Holm's later steps, and that both tests must agree,",
        "move the measured share a little.",
        "",
        "| difference (SD) | pairs | comparisons | found | theory |",
        "|---|---|---|---|---|",
        *(
            f"| {r['effect']} | {r['pairs']} | {r['family']} | {interval(r)} | {percent(r['theory']['power'])}, "
            f"{r['theory']['by']} |"
            for r in result["power"]
        ),
        "",
        "## Coverage of the 95 % interval of paired differences",
        "",
        "| scores | pairs | Student-t | percentile bootstrap |",
        "|---|---|---|---|",
        *(
            f"| {r['scores']} | {r['pairs']} | {interval(r['t'])} | {interval(r['bootstrap'])} |"
            for r in result["coverage"]
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure false alarms, power and coverage of the verdicts.")
    parser.add_argument("--experiments", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    started = time.perf_counter()
    result = {
        "command": f"python -m benchmarks.comparison_calibration --experiments {arguments.experiments}",
        "experiments": arguments.experiments,
        "environment": environment(),
        **measure(arguments.experiments),
    }
    result["seconds"] = time.perf_counter() - started
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "comparison_calibration.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    text = as_markdown(result)
    (arguments.out / "comparison_calibration.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

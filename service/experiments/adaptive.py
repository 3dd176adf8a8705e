"""Adaptive seeds: more seeds for all arms until every difference to the reference is known well enough.

A look is made once all jobs are done. It ends the experiment if, for every arm on every workload, the 95 % interval of
the paired differences in final accuracy has a half-width below the one asked for. The interval is that of the report
(rule 3 of docs/explanation/protocol.md), with failed runs at chance (rule 8); in a tuned experiment it is that of the
tuned table. The rule looks at how wide intervals are and never at where they lie, and was fixed before the data.
"""

import math
from typing import Any

from django.utils import timezone

from service.comparison.protocol import REFERENCE
from service.experiments.lifecycle import seeds_of, train_seeds
from service.experiments.models import Experiment
from service.experiments.rules import LARGEST_SEED, AdaptiveSeeds
from service.jobs.presentation import time_text


def look(experiment: Experiment, rule: AdaptiveSeeds) -> bool:
    """Look at the intervals; whether seeds were added. All jobs have ended and the row is locked."""
    seeds = seeds_of(experiment)
    widths = half_widths(experiment)
    narrow = bool(widths) and all(width["half_width"] is not None for width in widths)
    narrow = narrow and all(width["half_width"] < rule.half_width for width in widths)
    added = [] if narrow and len(seeds) >= rule.least else _next_seeds(experiment, seeds, rule)
    train_seeds(experiment, added)
    seen = {
        "at": time_text(timezone.now()),
        "seeds": len(seeds),
        "half_widths": widths,
        "narrow": narrow,
        "added": added,
    }
    experiment.looks = [*experiment.looks, seen]
    experiment.save(update_fields=["looks", "phase"])
    return bool(added)


def half_widths(experiment: Experiment) -> list[dict[str, Any]]:
    """By arm and workload: pairs, and half the width of the interval; None where fewer than two pairs have one."""
    from service.comparison.measures import final_score
    from service.comparison.statistics import mean_interval
    from service.experiments.collecting import plain_runs

    scores: dict[tuple[str, str], dict[int, float | None]] = {}
    for run in plain_runs(experiment, tuned=bool((experiment.tuning or {}).get("best"))):
        scores.setdefault((run.arm, run.workload.key), {})[run.seed] = final_score(run)
    found = []
    for (arm, workload), mine in scores.items():
        theirs = scores.get((REFERENCE, workload), {})
        if arm == REFERENCE:
            continue
        pairs = [(mine[seed], theirs.get(seed)) for seed in mine]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        width = None
        if len(differences) >= 2:
            interval = mean_interval(differences)
            assert interval.low is not None
            assert interval.high is not None
            width = (interval.high - interval.low) / 2
        finite = width is not None and math.isfinite(width)
        found.append(
            {"arm": arm, "workload": workload, "pairs": len(differences), "half_width": width if finite else None}
        )
    return found


def _next_seeds(experiment: Experiment, seeds: list[int], rule: AdaptiveSeeds) -> list[int]:
    """The next step of seeds, or as many as there is room for: those after the largest so far."""
    used = set(experiment.places.values_list("seed", flat=True))
    room = min(rule.step, rule.most - len(seeds))
    found: list[int] = []
    candidate = max(seeds, default=-1)
    while len(found) < room:
        candidate = (candidate + 1) % (LARGEST_SEED + 1)
        if candidate not in used:
            found.append(candidate)
            used.add(candidate)
    return found

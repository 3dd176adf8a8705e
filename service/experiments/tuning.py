"""The end of the search: each trial's score on validation data, the best of each arm and workload, and their price.

A trial counts once every algorithm has finished it on every workload, so that each had the same number however the
search ended. One whose run failed or diverged scores chance; a lost run says nothing, and its trial counts for nobody
unless the job is tried again.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from service.comparison.runs import RunState, run_state
from service.experiments.lifecycle import JobMaker, asked_for, tuned_cells
from service.experiments.models import Experiment, Phase, Place
from service.jobs.states import TERMINAL
from trainers.spec import parse_spec

SCORE = "validation_accuracy"

Cell = tuple[str, int]
Scores = dict[Cell, dict[int, list[float | None]]]


def choose(experiment: Experiment) -> None:
    """Write what the search has found and what it cost. All its jobs have ended; the row is locked."""
    asked = asked_for(experiment)
    assert asked.tune is not None
    scores, settings, seconds = _read(experiment)
    seeds = len(asked.tune.seed_list())
    cells = [(cell["arm"], cell["workload"]) for cell in experiment.cells]
    counted = [
        number
        for number in range(asked.tune.trials)
        if all(_whole(scores[cell].get(number, []), seeds) for cell in cells)
    ]
    experiment.tuning = {
        "asked": asked.tune.trials,
        "counted": counted,
        "seconds": round(sum(seconds.values()), 3),
        "best": [_best(cell, counted, scores[cell], settings, seconds[cell]) for cell in cells] if counted else [],
    }
    experiment.save(update_fields=["tuning"])


def begin_main(experiment: Experiment) -> None:
    """Queue the comparison with what was found, beside the one with the defaults that is trained already."""
    maker = JobMaker(experiment)
    main = experiment.places.filter(phase=Phase.MAIN, tuned=False).order_by("job_id")
    seeds: dict[Cell, list[int]] = defaultdict(list)
    for arm, workload, seed in main.values_list("arm", "workload", "seed"):
        if seed not in seeds[arm, workload]:
            seeds[arm, workload].append(seed)
    cells = tuned_cells(experiment)
    for seed in dict.fromkeys(seed for mine in seeds.values() for seed in mine):
        for arm, workload, spec in cells:
            mine = seeds[arm, workload]
            if seed in mine:
                maker.make(spec, seed, Phase.MAIN, arm, workload, tuned=True, first=seed == mine[0])
    extra = experiment.places.filter(phase=Phase.EXTRA_SEEDS, tuned=False).order_by("job_id")
    for seed in dict.fromkeys(extra.values_list("seed", flat=True)):  # added by the owner while the search went on
        for arm, workload, spec in cells:
            maker.make(spec, seed, Phase.EXTRA_SEEDS, arm, workload, tuned=True)
    experiment.phase = Phase.MAIN
    experiment.save(update_fields=["phase"])
    maker.finish()


def _read(experiment: Experiment) -> tuple[Scores, dict[tuple[Cell, int], dict[str, Any]], dict[Cell, float]]:
    """Scores by cell, trial and seed (None: lost), settings by cell and trial, and seconds by cell."""
    runs: dict[Cell, dict[int, dict[int, float | None]]] = defaultdict(lambda: defaultdict(dict))
    settings: dict[tuple[Cell, int], dict[str, Any]] = {}
    seconds: dict[Cell, float] = defaultdict(float)
    places = experiment.places.filter(phase=Phase.TUNING, job__state__in=TERMINAL).order_by("job_id")
    for place in places.select_related("job"):
        cell = (place.arm, place.workload)
        assert place.trial is not None
        settings.setdefault((cell, place.trial), parse_spec(place.job.spec).hyperparameters)
        seconds[cell] += place.job.seconds_trained
        known = runs[cell][place.trial]
        if known.get(place.seed) is None:  # a job tried again counts where the first was lost
            known[place.seed] = _score(place, experiment.workloads[place.workload]["chance"])
    scores: Scores = defaultdict(dict)
    for cell, trials in runs.items():
        scores[cell] = {number: list(known.values()) for number, known in trials.items()}
    return scores, settings, seconds


def _score(place: Place, chance: float) -> float | None:
    match run_state(place.job.state, place.job.reason):
        case RunState.LOST:
            return None
        case RunState.SUCCEEDED:
            found = (place.job.result or {}).get(SCORE)
            return float(found) if isinstance(found, float) and math.isfinite(found) else chance
    return chance


def _whole(scores: list[float | None], seeds: int) -> bool:
    return len(scores) == seeds and None not in scores


def _best(
    cell: Cell,
    counted: list[int],
    scores: Mapping[int, list[float | None]],
    settings: Mapping[tuple[Cell, int], dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    means = {number: sum(each or 0.0 for each in scores[number]) / len(scores[number]) for number in counted}
    best = max(counted, key=lambda number: means[number])  # the first of equals
    return {
        "arm": cell[0],
        "workload": cell[1],
        "trial": best,
        "score": means[best],
        "hyperparameters": settings[cell, best],
        "scores": [means[number] for number in counted],
        "seconds": round(seconds, 3),
    }


def price(experiment: Experiment) -> dict[str, Any] | None:
    """For people and programs: what was searched, at what price, and what was found; None without a search."""
    if experiment.request.get("tune") is None:
        return None
    tune = asked_for(experiment).tune
    assert tune is not None
    found = experiment.tuning or {}
    return {
        "trials": tune.trials,
        "seeds": tune.seed_list(),
        "counted": found.get("counted"),
        "seconds": found.get("seconds"),
        "best": [
            {
                **{key: each[key] for key in ("arm", "trial", "score", "hyperparameters", "seconds")},
                "dataset": experiment.workloads[each["workload"]]["dataset"],
                "label": experiment.workloads[each["workload"]]["label"],
            }
            for each in found.get("best", [])
        ],
    }

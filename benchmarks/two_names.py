"""Backprop against itself: 20 real experiments through a running service. Is anything called better or worse?

    make up                                                          # in another terminal
    PYTHONPATH=. .venv/bin/python benchmarks/two_names.py [--experiments 20]

Each experiment trains backprop under two names on digits, ten seeds each. Two questions are asked of the same runs:

- As the service pairs them, by seed: whatever its report says of accuracy must be exactly nothing, since equal specs
  train equal weights; of seconds it says what the machine's noise makes of it.
- Paired anew, so that the seeds differ: each experiment's backprop against the second names of the next ones. Accuracy
  then varies as between two algorithms that are equally good, and a family with a verdict is a false alarm.

What was posted once is found again by its name, so the script may be stopped and started at will. It writes
results/two_names.{json,md}. comparison_calibration.py asks the second question of thousands of simulated experiments.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dethrone import credential
from statsmodels.stats.proportion import proportion_confint

from client import Client
from service.comparison.comparisons import compare
from service.comparison.experiment_json import experiment_from_json
from service.comparison.measures import ACCURACY
from service.comparison.runs import Experiment, Run
from service.comparison.scorecard import MEASURES

RESULTS = Path(__file__).parent / "results"
TITLE = "Backprop under two names, {}"
AGAIN = "backprop again"
SEEDS = 10
EPOCHS = 5
DIFFERENT = ("better", "worse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=20)
    parser.add_argument("--url", help="of the service; default: the one that `make up` started here")
    parser.add_argument("--token", help="of an account there")
    options = parser.parse_args()
    if options.experiments < 6:
        sys.exit("--experiments: at least 6, so that each has five others to be paired with.")
    with Client(options.url or credential("url"), options.token or credential("token"), timeout=120) as client:
        known = {made["name"]: made for made in client.experiments.list() if made["state"] != "cancelled"}
        names = [TITLE.format(number) for number in range(options.experiments)]
        posted = [known.get(name) or client.experiments.start(request(name, i)) for i, name in enumerate(names)]
        for name, made in zip(names, posted, strict=True):
            client.experiments.follow(made["id"], lambda _: None, every=2)
            print(time.strftime("%H:%M:%S"), name, "ended", flush=True)
        experiments = [fetched(client, made["id"]) for made in posted]
    keep(measured(experiments))


def request(name: str, number: int) -> dict[str, Any]:
    """Twenty runs; no two experiments share a seed."""
    training = {"epochs": EPOCHS, "threads": 1, "device": "cpu"}
    return {
        "name": name,
        "jobs": [
            {"arm": arm, "algorithm": "backprop", "dataset": "digits", "training": training, "seed": seed}
            for seed in range(1000 * number, 1000 * number + SEEDS)
            for arm in ("backprop", AGAIN)
        ],
    }


def fetched(client: Client, experiment_id: str) -> Experiment:
    """The runs as the service's own report was made from them."""
    with tempfile.TemporaryDirectory() as folder:
        path = client.experiments.save_bundle(experiment_id, Path(folder) / "bundle.zip")
        with zipfile.ZipFile(path) as archive:
            (name,) = [each for each in archive.namelist() if each.endswith("/experiment.json")]
            return experiment_from_json(json.loads(archive.read(name)))


def measured(experiments: Sequence[Experiment]) -> dict[str, Any]:
    as_paired = {
        measure.name: dict(Counter(c.verdict.value for e in experiments for c in compare(e, measure)))
        for measure in MEASURES
    }
    accuracy = "test_accuracy"
    pairs = [
        (run_of(e, "backprop", seed).metrics[accuracy], run_of(e, AGAIN, seed).metrics[accuracy])
        for e in experiments
        for seed in seeds(e)
    ]
    return {
        "experiments": len(experiments),
        "runs": sum(len(experiment.runs) for experiment in experiments),
        "pairs_with_other_scores": sum(one != other for one, other in pairs),
        "paired_by_seed": as_paired,
        "paired_anew": [false_alarms(experiments, others) for others in (1, 5)],
        accuracy: [[run_of(e, "backprop", seed).metrics[accuracy] for seed in seeds(e)] for e in experiments],
        "commit": " ".join(sorted({each["commit"] for e in experiments for each in e.provenance["software"]})),
    }


def false_alarms(experiments: Sequence[Experiment], others: int) -> dict[str, Any]:
    """Families of `others` comparisons of accuracy with a verdict, each arm from an experiment of its own.

    Twenty experiments make twenty families that share no reference; turned on and on they make more, which share runs
    and so say less than their number.
    """
    count = len(experiments)
    turns = [[wrong(paired_anew(experiments, n, others, turn)) for n in range(count)] for turn in range(count - others)]
    first, everywhere = sum(turns[0]), sum(map(sum, turns))
    low, high = proportion_confint(first, count, method="beta")
    return {
        "comparisons": others,
        "families": count,
        "hits": first,
        "low": float(low),
        "high": float(high),
        "all_turns": {"families": count * len(turns), "hits": everywhere},
    }


def wrong(experiment: Experiment) -> bool:
    return any(comparison.verdict.value in DIFFERENT for comparison in compare(experiment, ACCURACY))


def paired_anew(experiments: Sequence[Experiment], number: int, others: int, turn: int) -> Experiment:
    """One experiment's backprop beside second names of others, the first `turn` after it left out; seeds are replaced
    by their places.
    """
    arms = [("backprop", "backprop", experiments[number])]
    arms += [(f"{AGAIN} {k}", AGAIN, experiments[(number + turn + k) % len(experiments)]) for k in range(1, others + 1)]
    runs = [
        dataclasses.replace(run_of(experiment, arm, seed), arm=name, seed=place)
        for name, arm, experiment in arms
        for place, seed in enumerate(seeds(experiment))
    ]
    return Experiment(name=f"paired anew, {number}", runs=tuple(runs))


def run_of(experiment: Experiment, arm: str, seed: int) -> Run:
    return next(run for run in experiment.runs if (run.arm, run.seed) == (arm, seed))


def seeds(experiment: Experiment) -> list[int]:
    return sorted({run.seed for run in experiment.runs})


def counted(verdicts: dict[str, int]) -> str:
    """`12 equivalent, 8 undecided`."""
    return ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in sorted(verdicts.items()))


def keep(found: dict[str, Any]) -> None:
    (RESULTS / "two_names.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = [
        "# Backprop under two names",
        "",
        f"`python benchmarks/two_names.py`, commit {found['commit'][:12]}.",
        f"{found['experiments']} real experiments through",
        f"the service, {found['runs']} runs on digits, {SEEDS} seeds and {EPOCHS} epochs each. False alarms are",
        "promised to be at most 5 % of families.",
        "",
        "## Paired by seed, as the service does",
        "",
        f"Pairs of runs with different test accuracies: {found['pairs_with_other_scores']} of {found['runs'] // 2}.",
        "",
        "| measure | verdicts |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {counted(each)} |" for name, each in found["paired_by_seed"].items()),
        "",
        "## Paired anew: other seeds under the other name",
        "",
        "Every experiment's backprop against second names of the next ones; then of those after them, and so on round.",
        "Those families share runs, so that their share has no interval of its own.",
        "",
        "| comparisons of accuracy in a family | families | with a false alarm | all the way round |",
        "|---|---|---|---|",
        *(
            f"| {each['comparisons']} | {each['families']} | {each['hits']} ({100 * each['low']:.0f} to "
            f"{100 * each['high']:.0f} %) | {each['all_turns']['hits']} of {each['all_turns']['families']} |"
            for each in found["paired_anew"]
        ),
    ]
    (RESULTS / "two_names.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""What a report says of where its numbers come from: the request, its rules and what they did, data and machines."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from service.experiments import early_stop, tuning
from service.experiments.models import Experiment, Phase
from service.jobs.models import Job
from service.jobs.presentation import time_text
from service.jobs.software import software

SEQUENTIAL = (
    "Seeds were added until the intervals were narrow, by a rule fixed before the data that looks at how wide they are "
    "and never at where they lie. Intervals at which such a rule stops are a little too narrow: of 95 % intervals, 93 "
    "to 95 in 100 cover (92 where differences are skewed). docs/how-to/compare-algorithms.md has the simulation."
)


def provenance_of(experiment: Experiment, jobs: Sequence[Job], total: int, *, tuned: bool) -> dict[str, Any]:
    """What is needed to judge and to repeat it. `jobs`: those that have ended, of `total`."""
    results = [job.result for job in jobs if job.result]
    datasets = {
        result["dataset"]["name"]: result["dataset"].get("sha256") for result in results if result.get("dataset")
    }
    return {
        "experiment": str(experiment.pk),
        "created_at": time_text(experiment.created_at),
        "jobs": total,
        "jobs_ended": len(jobs),
        "hyperparameters": "tuned" if tuned else "as in the request, else the algorithms' defaults",
        "request": experiment.request,
        **rules_of(experiment, tuned=tuned),
        "datasets_sha256": datasets,
        "machines": _distinct(result["machine"] for result in results if "machine" in result),
        "software": _distinct(result["software"] for result in results if "software" in result),
        "report_software": software(),
        "specs": _specs(jobs),
    }


def rules_of(experiment: Experiment, *, tuned: bool = False) -> dict[str, Any]:
    """Each rule that was set, and what it did; those that were not set are left out."""
    request = experiment.request
    found: dict[str, Any] = {}
    if request.get("budget"):
        found["budget"] = {**request["budget"], "stopped": (experiment.stopped or {}).get("sentence")}
    if (price := tuning.price(experiment)) is not None:
        found["tuning"] = {key: value for key, value in price.items() if key != "best"}
        found["tuned_hyperparameters"] = price["best"]
    if request.get("adaptive_seeds"):
        found["adaptive_seeds"] = {**request["adaptive_seeds"], "note": SEQUENTIAL}
        found["looks_at_the_intervals"] = experiment.looks
    if request.get("early_stop"):
        found["early_stop"] = request["early_stop"]
        found["stopped_early"] = stopped_early(experiment, tuned=tuned)
    return found


def warnings_of(experiment: Experiment, *, tuned: bool) -> list[str]:
    """What a reader must know of the rules before the numbers; each stands in full further down."""
    said = []
    if experiment.stopped is not None:
        said.append(f"{experiment.stopped['sentence']} {experiment.stopped['jobs']} jobs never began.")
    if stopped := len(stopped_early(experiment, tuned=tuned)):
        said.append(
            f"Stopped early by the median rule, and counted as they stand, without a cost: {stopped} of the runs."
        )
    if any(look["added"] for look in experiment.looks):
        said.append("Seeds were added by a rule that looks at the intervals; those are a little too narrow for it.")
    return said


def stopped_early(experiment: Experiment, *, tuned: bool) -> list[dict[str, Any]]:
    """Runs that the median rule ended; each counts as it stands, without a cost that could be compared."""
    places = experiment.places.exclude(phase=Phase.TUNING).filter(tuned=tuned, stopped__rule=early_stop.RULE)
    return [
        {
            "job": str(place.pk),
            "arm": place.arm,
            "dataset": experiment.workloads[place.workload]["dataset"],
            "network": experiment.workloads[place.workload]["label"],
            "seed": place.seed,
            **{key: (place.stopped or {}).get(key) for key in ("epoch", "best", "median")},
        }
        for place in places.order_by("job_id")
    ]


def _distinct(stamps: Iterable[Any]) -> list[Any]:
    return [json.loads(each) for each in sorted({json.dumps(stamp, sort_keys=True) for stamp in stamps})]


def _specs(jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """Every spec once, with all the seeds that it was trained with instead of its own."""
    seeds: dict[str, set[int]] = {}
    for job in jobs:
        training = {key: value for key, value in job.spec["training"].items() if key != "seed"}
        seeds.setdefault(json.dumps({**job.spec, "training": training}), set()).add(job.spec["training"]["seed"])
    return [{**json.loads(spec), "seeds": sorted(found)} for spec, found in seeds.items()]

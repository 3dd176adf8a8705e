"""The README of a bundle: what is in it, and how to repeat its numbers with and without the service."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.experiments.models import Experiment
from service.jobs.presentation import time_text


def readme(experiment: Experiment, stamp: Mapping[str, Any], names: Sequence[str], *, has_report: bool) -> str:
    """Plain text. `stamp`: its environment.json; `names`: of the files of its jobs."""
    folder, example = folder_of(experiment), names[0] if names else "NAME"
    report = (
        "report.*            the report: HTML (open it in a browser), Markdown, JSON, CSV and a LaTeX table\n"
        "plots/              its figures\n"
        "experiment.json     the runs as the report was made from them: `python -m service.comparison.report\n"
        "                    experiment.json DIR` makes it again\n"
        "default_hyperparameters/   where hyperparameters were tuned: the same without what the search found\n"
        if has_report
        else "(There is no report yet: no job of the reference, backprop, had ended when this was made.)\n"
    )
    return f"""\
{" ".join(experiment.name.split())}
Experiment {experiment.pk}, made {time_text(experiment.created_at)}, {len(names)} jobs.

WHAT IS HERE

request.json        what was asked for
specs/              the spec of every job, every default filled in
results/            how every job ended, and what it measured
curves/             every point of its curves
diagnostics/        health of its layers at the diagnosed steps, one a line
environment.json    versions, commit, machines, and the SHA-256 of the data
requirements.lock   every package of the service that made this archive
{report}
TO REPEAT A RUN

Without the service: no database, no Redis.

1. Take Altprop{_commit(stamp)}, and install what it needs:{_changes(stamp)}

       pip install -r requirements.lock

2. In its folder, with this archive unpacked there, train a spec:

       python -m trainers run {folder}/specs/{example}.json --output runs/{example}

   The data are fetched where they are missing (ALTPROP_DATA_DIR says where they lie).

3. Compare runs/{example}/result.json with "result" in results/{example}.json of this archive.
   With the same versions, device and instruction set (environment.json), every score and weights_sha256 are the same
   to the last bit; seconds are not.

All of them:

       for spec in {folder}/specs/*.json; do
           python -m trainers run "$spec" --output "runs/$(basename "$spec" .json)"
       done

TO REPEAT THE EXPERIMENT

In a service ($api is its address with /api/v1, $auth the header "Authorization: Token …"):

       curl -X POST $api/experiments -H "$auth" -H "Content-Type: application/json" -d @request.json

and in the one that made this archive: POST /api/v1/experiments/{experiment.pk}/rerun.
"""


def folder_of(experiment: Experiment) -> str:
    """The one folder that a bundle unpacks into."""
    return f"experiment-{experiment.pk}"


def _commit(stamp: Mapping[str, Any]) -> str:
    """Of the jobs, and where they tell none, of the report."""
    commits = [each["commit"] for each in stamp.get("software", ()) if each.get("commit")]
    known = list(dict.fromkeys(commits)) or [stamp["report_software"].get("commit")]
    if known[0] is None:
        return ""
    return f" at commit {known[0]}" if len(known) == 1 else f" at one of the commits {', '.join(known)}"


def _changes(stamp: Mapping[str, Any]) -> str:
    """A warning where jobs were trained by files that their commit does not have."""
    if not any(each.get("modified") for each in stamp.get("software", ())):
        return ""
    return "\n   (Files had been changed since that commit. What was changed is not known here.)"

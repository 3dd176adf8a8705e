"""The bundle: whole, the same bytes each time, never whole in memory, and a run out of it repeats to the last bit."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from service.comparison.experiment_json import experiment_from_json
from service.comparison.report import report_csv
from service.comparison.scorecard import score
from service.experiments.bundle import BLOCK, bundle
from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.experiments.reporting import Report, report_of
from service.jobs import lifecycle
from service.jobs.models import MetricSummary
from service.jobs.supervisor import train_next
from service.jobs.worker import ThisWorker
from tests.service.api.work import claim_next

REQUEST: dict[str, Any] = {
    "name": "two arms",
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [16]},
    "training": {"epochs": 2, "device": "cpu", "threads": 1, "diagnose_every_steps": 10},
    "seeds": 1,
}
PROJECT = Path(__file__).parents[3]


def report(experiment: Experiment) -> Report:
    return report_of(experiment, lambda job: f"/api/v1/jobs/{job}", "/api/v1/experiments/x")


def opened(content: bytes) -> tuple[dict[str, bytes], zipfile.ZipFile]:
    """Files by name, without the folder that holds them all."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert len({name.partition("/")[0] for name in archive.namelist()}) == 1
    return files, archive


@pytest.mark.django_db(transaction=True)
def test_a_run_out_of_the_bundle_repeats_to_the_last_bit(
    worker: ThisWorker, user: Any, redis_server: str, tmp_path: Path
) -> None:
    experiment = create_experiment(user, REQUEST)
    while train_next(worker):
        pass
    content = b"".join(bundle(experiment, report(experiment)))
    assert b"".join(bundle(experiment, report(experiment))) == content, "the same bytes, nothing having changed"
    files, archive = opened(content)
    (top,) = {name.partition("/")[0] for name in archive.namelist()}
    archive.extractall(tmp_path)
    _check_files(files, experiment)
    _check_that_a_spec_repeats(tmp_path / top)
    _check_that_the_report_is_made_again(files)


def _check_files(files: dict[str, bytes], experiment: Experiment) -> None:
    names = ["0001-backprop-digits-seed-0", "0002-frozen-digits-seed-0"]
    for folder, ending in (("specs", "json"), ("results", "json"), ("curves", "csv"), ("diagnostics", "jsonl")):
        assert [name for name in files if name.startswith(folder)] == [f"{folder}/{name}.{ending}" for name in names]
    assert json.loads(files["request.json"]) == experiment.request
    environment = json.loads(files["environment.json"])
    (stamp,) = environment["software"]
    assert stamp["torch"] == environment["machines"][0]["torch"]
    assert stamp["requirements_lock_sha256"] == environment["report_software"]["requirements_lock_sha256"]
    assert environment["datasets_sha256"]["digits"]
    assert files["requirements.lock"] == (PROJECT / "requirements.lock").read_bytes()
    assert {f"report.{ending}" for ending in ("html", "md", "json", "csv", "tex")} <= files.keys()
    plots = json.loads(files["report.json"])["plots"]
    assert {f"plots/{name}.{kind}" for name in plots for kind in ("svg", "png")} <= files.keys()
    for job, name in zip(experiment.jobs, names, strict=True):
        assert json.loads(files[f"specs/{name}.json"]) == job.spec
        assert json.loads(files[f"results/{name}.json"])["result"] == job.result
        header, *lines = files[f"curves/{name}.csv"].decode().splitlines()
        assert header == "metric,step,epoch,passes,samples,seconds,value"
        assert len(lines) == sum(summary.count for summary in job.summaries.all())
        final = [line.split(",") for line in lines if line.startswith("test_accuracy,")][-1]
        assert float(final[-1]) == job.result["test_accuracy"]
        steps = [json.loads(line)["step"] for line in files[f"diagnostics/{name}.jsonl"].splitlines()]
        assert steps == list(job.diagnostics.order_by("step").values_list("step", flat=True))


def _check_that_a_spec_repeats(folder: Path) -> None:
    """By the command that the README gives."""
    text = (folder / "README.txt").read_text()
    command = f"python -m trainers run {folder.name}/specs/0001-backprop-digits-seed-0.json --output"
    assert command in text
    output = folder / "runs" / "once"
    subprocess.run(
        [sys.executable, *command.split()[1:], str(output)],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    again = json.loads((output / "result.json").read_text())
    recorded = json.loads((folder / "results/0001-backprop-digits-seed-0.json").read_text())["result"]
    for name in ("test_accuracy", "test_loss", "validation_accuracy", "weights_sha256"):
        assert again[name] == recorded[name], name


def _check_that_the_report_is_made_again(files: dict[str, bytes]) -> None:
    """By `python -m service.comparison.report`, which begins like this."""
    found = experiment_from_json(json.loads(files["experiment.json"]))
    assert report_csv(score(found)).encode() == files["report.csv"]


def test_without_a_report_the_rest_is_there_and_the_readme_says_so(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "name": "line\nbreak"})
    files, _ = opened(b"".join(bundle(experiment, None)))
    text = files["README.txt"].decode()
    assert text.startswith("line break\n")
    assert "There is no report yet" in text
    assert "report.html" not in files
    result = json.loads(files["results/0001-backprop-digits-seed-0.json"])
    assert (result["state"], result["result"]) == ("queued", None)
    assert files["diagnostics/0001-backprop-digits-seed-0.jsonl"] == b""


def test_a_job_that_ends_changes_its_own_files_alone(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    before, _ = opened(b"".join(bundle(experiment, None)))
    lifecycle.succeed(claim_next(), {"test_accuracy": 0.5}, progress={"fraction": 1.0}, seconds_trained=1.0)
    after, _ = opened(b"".join(bundle(experiment, None)))
    changed = {name for name in after if before[name] != after[name]}
    assert changed == {"results/0001-backprop-digits-seed-0.json"}


def test_long_curves_are_never_whole_in_memory(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    series = MetricSummary.objects.create(job=experiment.jobs[0], name="train_loss", count=60_000)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_metricpoint (series_id, step, samples, seconds, value, epoch, passes) "
            "SELECT %s, n, n * 128, n / 7.0, NULLIF(sin(n), 0), n / 100, n / 100 FROM generate_series(0, 59999) AS n",
            [series.pk],
        )
    largest, total = 0, io.BytesIO()
    tracemalloc.start()
    try:
        for piece in bundle(experiment, None):
            largest = max(largest, len(piece))
            total.write(piece)
        peak = tracemalloc.get_traced_memory()[1] - 2 * total.tell()
    finally:
        tracemalloc.stop()
    files, _ = opened(total.getvalue())
    curve = files["curves/0001-backprop-digits-seed-0.csv"]
    rows = curve.decode().splitlines()
    assert (len(rows), rows[1]) == (60_001, "train_loss,0,0,0,0,0.0,")
    assert [int(row.split(",")[1]) for row in rows[1:]] == list(range(60_000))
    assert largest <= 4 * BLOCK
    assert peak < len(curve) / 2


def test_a_tuned_experiments_second_table_has_a_folder_of_its_own(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    for accuracy in (0.9, 0.5):
        result = {"test_accuracy": accuracy}
        lifecycle.succeed(claim_next(), result, progress={"fraction": 1.0}, seconds_trained=1.0)
    first = report(experiment)
    both = Report(first.experiment, first.scorecard, second=Report(first.experiment, first.scorecard))
    files, _ = opened(b"".join(bundle(experiment, both)))
    for name in ("experiment.json", "report.html", "report.csv", "plots/seeds.svg"):
        assert f"default_hyperparameters/{name}" in files
        assert name in files

"""All that is needed to judge and to repeat an experiment, as one zip that is made while it is sent.

Nothing of it is held whole: each file is made when its turn comes, curves a page of points at a time, and a piece is
handed on as soon as it is compressed. Order and timestamps follow the experiment alone, so that the bytes stay the
same until something in it changes.
"""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from service.comparison.experiment_json import experiment_to_json
from service.experiments.models import Experiment
from service.experiments.readme import folder_of, readme
from service.experiments.reporting import Report
from service.jobs.models import Diagnostic, Job, MetricPoint
from service.jobs.presentation import present_summary, time_text
from service.jobs.software import LOCK, software

BLOCK = 1 << 16
PAGE = 2_000
"""Points read at once: no query stays open while a slow reader takes its time."""

BYTES_A_POINT = 120
LARGEST_PLAIN = 1 << 31
"""Bytes from which a file of a zip needs the larger format, which older programs do not read."""

CURVE = ("metric", "step", "epoch", "passes", "samples", "seconds", "value")
MOMENT = ("step", "epoch", "passes", "samples", "seconds", "layers", "verdict")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a bundle; `blocks` makes its bytes when they are asked for."""

    name: str
    blocks: Iterable[bytes]
    large: bool = False


def bundle(experiment: Experiment, report: Report | None) -> Iterator[bytes]:
    """The zip, piece by piece. `report`: None while there is none, as the README then says."""
    folder = folder_of(experiment)
    made_at = experiment.created_at.utctimetuple()[:6]
    out = _Outlet()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(experiment, report):
            entry = zipfile.ZipInfo(f"{folder}/{file.name}", made_at)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            with archive.open(entry, "w", force_zip64=file.large) as writer:
                for block in file.blocks:
                    writer.write(block)
                    yield from out.taken()
            yield from out.taken()
    yield from out.taken()


class _Outlet(io.RawIOBase):
    """Takes what the zip writes until it is handed on. It cannot seek, so sizes follow each file's content."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def taken(self) -> Iterator[bytes]:
        """What has come since the last call, as one piece."""
        if self._pieces:
            together = b"".join(self._pieces)
            self._pieces.clear()
            yield together


def _files(experiment: Experiment, report: Report | None) -> Iterator[File]:
    jobs = list(experiment.jobs.only("id", "spec", "algorithm", "dataset"))
    names = {job.pk: _name_of(place, job) for place, job in enumerate(jobs, 1)}
    stamp = _environment(report)
    yield File("README.txt", _text(readme(experiment, stamp, list(names.values()), has_report=report is not None)))
    yield File("request.json", _json(experiment.request))
    yield File("environment.json", _json(stamp))
    if LOCK.exists():
        yield File("requirements.lock", _cut(LOCK.read_bytes()))
    for job in jobs:
        yield File(f"specs/{names[job.pk]}.json", _json(job.spec))
    for id, name in names.items():
        job = Job.objects.prefetch_related("summaries").get(pk=id)
        yield File(f"results/{name}.json", _json(_result(job)))
        points = job.summaries.aggregate(points=Sum("count"))["points"] or 0
        yield File(f"curves/{name}.csv", _curves(job), large=points * BYTES_A_POINT > LARGEST_PLAIN)
        yield File(f"diagnostics/{name}.jsonl", _moments(job))
    if report is not None:
        yield from _report_files(report)


def _report_files(report: Report, folder: str = "") -> Iterator[File]:
    """A tuned experiment's second table has a folder of its own, since its runs and figures are others."""
    yield File(f"{folder}experiment.json", _json(experiment_to_json(report.experiment)))
    yield File(f"{folder}report.json", _json(report.json()))
    for ending, make in (("html", report.html), ("md", report.markdown), ("csv", report.csv), ("tex", report.latex)):
        yield File(f"{folder}report.{ending}", _text(make()))
    for plot in report.plots():
        yield File(f"{folder}plots/{plot.name}.svg", _text(plot.svg))
        yield File(f"{folder}plots/{plot.name}.png", _cut(plot.png))
    if report.second is not None:
        yield from _report_files(report.second, "default_hyperparameters/")


def _name_of(place: int, job: Job) -> str:
    """Sorts as the jobs were made, and says what it is."""
    said = f"{job.algorithm}-{job.dataset}-seed-{job.spec['training']['seed']}"
    return f"{place:04d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', said)}"


def _environment(report: Report | None) -> dict[str, Any]:
    if report is None:
        return {"report_software": software()}
    kept = ("software", "report_software", "machines", "datasets_sha256")
    return {name: report.experiment.provenance[name] for name in kept}


def _result(job: Job) -> dict[str, Any]:
    return {
        "id": str(job.pk),
        "name": job.name,
        "state": job.state,
        "reason": job.reason,
        "sentence": job.sentence,
        "attempt": job.attempt,
        "failures": job.failures,
        "worker": job.worker_name or None,
        "seconds_trained": job.seconds_trained,
        "created_at": time_text(job.created_at),
        "started_at": time_text(job.started_at),
        "finished_at": time_text(job.finished_at),
        "result": job.result,
        "failure": job.failure,
        "metrics": {summary.name: present_summary(summary) for summary in job.summaries.all()},
    }


def _curves(job: Job) -> Iterator[bytes]:
    """All points of all curves, curve by curve; a value that was not finite is left blank."""
    yield (",".join(CURVE) + "\n").encode()
    for series, name in job.summaries.order_by("id").values_list("id", "name"):
        last = -1
        while rows := list(
            MetricPoint.objects.filter(series_id=series, step__gt=last).order_by("step").values_list(*CURVE[1:])[:PAGE]
        ):
            page = io.StringIO()
            # csv writes floats as repr does, by which they come back to the last bit.
            csv.writer(page, lineterminator="\n").writerows((name, *row) for row in rows)
            yield page.getvalue().encode()
            last = rows[-1][0]


def _moments(job: Job) -> Iterator[bytes]:
    """One diagnosed step a line."""
    last = -1
    while rows := list(Diagnostic.objects.filter(job=job, step__gt=last).order_by("step").values(*MOMENT)[:PAGE]):
        for row in rows:
            yield (json.dumps(row, ensure_ascii=False) + "\n").encode()
        last = rows[-1]["step"]


def _json(value: Any) -> Iterator[bytes]:
    return _text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _text(text: str) -> Iterator[bytes]:
    return _cut(text.encode())


def _cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), BLOCK):
        yield content[start : start + BLOCK]

"""Points of curves, written by COPY with a summary of each curve, read as numpy arrays.

A point counts once: of one metric only steps past the last one stored are taken. So a write may be repeated after
a lost connection, and an evaluation that falls on the end of an epoch gives one point, not two.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import numpy as np
from django.db import connection, transaction

from service.jobs.history import announce
from service.jobs.lease import Lease, lock
from service.jobs.models import Diagnostic, MetricSummary
from trainers import events

_LOWER_IS_BETTER = ("loss", "error", "perplexity", "bits_per_character")


def lower_is_better(metric: str) -> bool:
    """Whether the best value of this metric is its smallest."""
    return metric.endswith(_LOWER_IS_BETTER)


@dataclass(slots=True)
class Summary:
    """What is known of a curve without its points."""

    name: str
    count: int = 0
    finite: int = 0
    total: float = 0.0
    last: float | None = None
    last_step: int = -1
    best: float | None = None
    best_step: int | None = None
    minimum: float | None = None
    maximum: float | None = None

    def add(self, step: int, value: float | None) -> None:
        """Take in the next point; `value` is None where it was no finite number."""
        self.count += 1
        self.last, self.last_step = value, step
        if value is None:
            return
        self.finite += 1
        self.total += value
        self.minimum = value if self.minimum is None else min(self.minimum, value)
        self.maximum = value if self.maximum is None else max(self.maximum, value)
        best = self.minimum if lower_is_better(self.name) else self.maximum
        if best != self.best:
            self.best, self.best_step = best, step


def store_metrics(lease: Lease, batch: Iterable[events.Metrics]) -> None:
    """Write the points of these events, oldest first, in one transaction. Raises LeaseLost."""
    batch = list(batch)
    if not batch:
        return
    with transaction.atomic():
        lock(lease)
        summaries = {summary.name: summary for summary in read_summaries(lease.job)}
        points: list[tuple[str, events.Metrics, float | None]] = []
        for event in batch:
            for name, value in event.values.items():
                summary = summaries.setdefault(name, Summary(name))
                if event.step > summary.last_step:
                    number = value if value is not None and math.isfinite(value) else None
                    summary.add(event.step, number)
                    points.append((name, event, number))
        if not points:
            return
        changed = dict.fromkeys(name for name, _, _ in points)  # in the order in which curves begin
        series = write_summaries(lease.job, [summaries[name] for name in changed])
        _copy(series, points)
        newest = batch[-1]
        announce(
            lease.job, "metrics", json.dumps({"step": newest.step, "epoch": newest.epoch, "values": newest.values})
        )


def read_summaries(job: UUID) -> list[Summary]:
    """All curves of a job, in the order in which they began."""
    rows = MetricSummary.objects.filter(job_id=job).order_by("id").values(*Summary.__slots__)
    return [Summary(**row) for row in rows]


def write_summaries(job: UUID, summaries: Iterable[Summary]) -> dict[str, int]:
    """Insert or replace; returns name → series."""
    columns = Summary.__slots__
    updates = ", ".join(f"{column} = EXCLUDED.{column}" for column in columns if column != "name")
    rows = [tuple(asdict(summary).values()) for summary in summaries]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO jobs_metricsummary (job_id, {", ".join(columns)})
            SELECT %s, * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::float8[], %s::float8[], %s::bigint[],
                                     %s::float8[], %s::bigint[], %s::float8[], %s::float8[])
            ON CONFLICT (job_id, name) DO UPDATE SET {updates}
            RETURNING name, id
            """,
            [job, *(list(column) for column in zip(*rows, strict=True))],
        )
        return dict(cursor.fetchall())


def _copy(series: Mapping[str, int], points: Iterable[tuple[str, events.Metrics, float | None]]) -> None:
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY jobs_metricpoint (series_id, step, samples, seconds, value, epoch, passes) FROM STDIN (FORMAT BINARY)"
        ) as copy,
    ):
        copy.set_types(["int8", "int8", "int8", "float8", "float8", "int4", "int4"])
        for name, at, value in points:
            copy.write_row((series[name], at.step, at.samples, at.seconds, value, at.epoch, at.passes))


def rewind_metrics(job: UUID, kept: Iterable[Mapping[str, Any]]) -> None:
    """Remove every point past the summaries `kept` (those of a checkpoint), and restore these. Within a transaction."""
    summaries = {row["name"]: Summary(**row) for row in kept}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM jobs_metricpoint AS point USING jobs_metricsummary AS summary
            WHERE summary.job_id = %s AND point.series_id = summary.id
              AND point.step > COALESCE((SELECT step FROM unnest(%s::text[], %s::bigint[]) AS kept (name, step)
                                         WHERE kept.name = summary.name), -1)
            """,
            [job, list(summaries), [summary.last_step for summary in summaries.values()]],
        )
    MetricSummary.objects.filter(job_id=job).exclude(name__in=summaries).delete()
    if summaries:
        write_summaries(job, summaries.values())


def delete_points(job: UUID) -> None:
    """All points of a job; their summaries go with the job."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM jobs_metricpoint WHERE series_id IN (SELECT id FROM jobs_metricsummary WHERE job_id = %s)",
            [job],
        )


def store_diagnostics(lease: Lease, batch: Iterable[events.Diagnostics]) -> None:
    """Write these events; one already there is left as it is. Raises LeaseLost."""
    rows = [
        Diagnostic(
            job_id=lease.job,
            step=event.step,
            epoch=event.epoch,
            passes=event.passes,
            samples=event.samples,
            seconds=event.seconds,
            layers=finite(event.layers),
            verdict=event.verdict,
        )
        for event in batch
    ]
    if rows:
        with transaction.atomic():
            lock(lease)
            Diagnostic.objects.bulk_create(rows, ignore_conflicts=True)


def finite(value: Any) -> Any:
    """JSON as PostgreSQL takes it: numbers that are not finite become null, NUL characters go."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return value.replace("\0", "")
        case dict():
            return {finite(str(key)): finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
    return value


# Reading -------------------------------------------------------------------------------------------------------------

# A row of binary COPY: number of fields, then each with its length; no field is null, so all rows are alike.
_FIELDS = {"step": ">i8", "epoch": ">i4", "passes": ">i4", "samples": ">i8", "seconds": ">f8", "value": ">f8"}
_ROW = np.dtype(
    [("fields", ">i2")] + [part for name, kind in _FIELDS.items() for part in ((f"{name} length", ">i4"), (name, kind))]
)
_HEADER, _TRAILER = 19, 2
COLUMNS = tuple(_FIELDS)


def read_points(series: int, *, after_step: int = -1) -> dict[str, np.ndarray]:
    """A curve's points past a step, as arrays by column name; a value that was not finite is NaN."""
    sql = (
        "COPY (SELECT step, epoch, passes, samples, seconds, COALESCE(value, 'NaN') FROM jobs_metricpoint"
        f" WHERE series_id = {int(series)} AND step > {int(after_step)} ORDER BY step) TO STDOUT (FORMAT BINARY)"
    )
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(sql) as copy:
        content = b"".join(copy)
    count = (len(content) - _HEADER - _TRAILER) // _ROW.itemsize
    rows = np.frombuffer(content, _ROW, count, offset=_HEADER)
    return {name: rows[name].astype(_ROW[name].newbyteorder("=")) for name in COLUMNS}


def sampled(points: Mapping[str, np.ndarray], limit: int) -> dict[str, np.ndarray]:
    """At most `limit` (2 or more) of the points: first, last, and the smallest and largest of each stretch between."""
    count = len(points["step"])
    if count <= limit:
        return dict(points)
    from tsdownsample import MinMaxDownsampler

    finite_ones = np.flatnonzero(np.isfinite(points["value"]))
    chosen, budget = finite_ones, (limit - 2) // 2 * 2
    if len(finite_ones) > budget:
        values = np.ascontiguousarray(points["value"][finite_ones])
        chosen = finite_ones[MinMaxDownsampler().downsample(values, n_out=budget)] if budget else finite_ones[:0]
    kept = np.unique(np.concatenate([[0], chosen, [count - 1]]).astype(np.intp))
    return {name: column[kept] for name, column in points.items()}

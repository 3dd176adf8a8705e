"""Points of curves, their summaries, and what of them is shown."""

import math
from typing import Any

import numpy as np
import pytest
from django.db import transaction

from service.jobs.lease import Lease
from service.jobs.metrics import (
    Summary,
    finite,
    lower_is_better,
    read_points,
    read_summaries,
    rewind_metrics,
    sampled,
    store_metrics,
)
from service.jobs.models import MetricPoint, MetricSummary
from service.jobs.presence import Identity
from service.jobs.queue import claim
from trainers.events import Metrics


@pytest.fixture
def lease(make_job: Any) -> Lease:
    make_job()
    found = claim(Identity.new("cpu-1", cores=2).capacity)
    assert found is not None
    return found[1]


def at(step: int, **values: float | None) -> Metrics:
    return Metrics(step=step, epoch=step // 10, passes=step // 10, samples=step * 32, seconds=step / 100, values=values)


@pytest.mark.django_db
def test_points_are_stored_and_summed_up(lease: Lease) -> None:
    store_metrics(lease, [at(1, train_loss=3.0, test_accuracy=0.5), at(2, train_loss=1.0), at(3, train_loss=2.0)])
    loss, accuracy = read_summaries(lease.job)
    assert (loss.name, loss.count, loss.last, loss.best, loss.best_step) == ("train_loss", 3, 2.0, 1.0, 2)
    assert (loss.minimum, loss.maximum, loss.total, loss.last_step) == (1.0, 3.0, 6.0, 3)
    assert (accuracy.best, accuracy.count) == (0.5, 1)
    series = MetricSummary.objects.get(name="train_loss")
    assert series.mean == 2.0
    points = read_points(series.pk)
    assert points["step"].tolist() == [1, 2, 3]
    assert points["value"].tolist() == [3.0, 1.0, 2.0]
    assert points["samples"].tolist() == [32, 64, 96]
    assert read_points(series.pk, after_step=2)["step"].tolist() == [3]


@pytest.mark.django_db
def test_a_write_that_is_repeated_changes_nothing(lease: Lease) -> None:
    batch = [at(1, train_loss=3.0), at(2, train_loss=1.0)]
    store_metrics(lease, batch)
    before = read_summaries(lease.job)
    store_metrics(lease, batch)
    assert read_summaries(lease.job) == before
    assert MetricPoint.objects.count() == 2


@pytest.mark.django_db
def test_a_value_that_is_no_number_is_a_gap(lease: Lease) -> None:
    store_metrics(lease, [at(1, train_loss=math.nan), at(2, train_loss=None), at(3, train_loss=2.0)])
    (loss,) = read_summaries(lease.job)
    assert (loss.count, loss.finite, loss.best, loss.minimum) == (3, 1, 2.0, 2.0)
    values = read_points(MetricSummary.objects.get().pk)["value"]
    assert np.isnan(values).tolist() == [True, True, False]


@pytest.mark.django_db
def test_rewinding_gives_back_the_curves_of_that_moment(lease: Lease) -> None:
    store_metrics(lease, [at(1, train_loss=3.0), at(2, train_loss=2.0)])
    kept = [{name: getattr(s, name) for name in Summary.__slots__} for s in read_summaries(lease.job)]
    store_metrics(lease, [at(3, train_loss=1.0, late=1.0)])
    with transaction.atomic():
        rewind_metrics(lease.job, kept)
    assert [summary.name for summary in read_summaries(lease.job)] == ["train_loss"]
    assert read_summaries(lease.job)[0].best == 2.0
    assert MetricPoint.objects.count() == 2
    store_metrics(lease, [at(3, train_loss=1.5)])
    assert read_summaries(lease.job)[0].best == 1.5


@pytest.mark.parametrize("limit", [3, 4, 5, 100, 1000])
def test_a_sampled_curve_keeps_ends_and_spikes(limit: int) -> None:
    values = np.sin(np.arange(20_000) / 500)
    values[7_777] = 99.0
    values[100] = math.nan
    points = {"step": np.arange(20_000), "value": values}
    shown = sampled(points, limit)
    assert len(shown["step"]) <= limit
    assert shown["step"][[0, -1]].tolist() == [0, 19_999]
    assert (np.diff(shown["step"]) > 0).all()
    if limit > 3:
        assert 99.0 in shown["value"]


def test_a_short_curve_is_shown_whole() -> None:
    points = {"step": np.arange(5), "value": np.array([1.0, math.nan, 2.0, 3.0, 4.0])}
    assert sampled(points, 5)["step"].tolist() == [0, 1, 2, 3, 4]


def test_which_way_is_better() -> None:
    assert lower_is_better("validation_loss")
    assert lower_is_better("test_error")
    assert not lower_is_better("test_accuracy")


def test_json_as_postgres_takes_it() -> None:
    assert finite({"a": [math.inf, 1.5, "x\0y"], "b": {"c": math.nan}}) == {"a": [None, 1.5, "xy"], "b": {"c": None}}

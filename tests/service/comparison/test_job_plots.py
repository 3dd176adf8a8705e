"""Curves of any jobs in one figure: told in words, the same each time, whatever the jobs are called."""

import numpy as np
import pytest

from service.comparison.plots.jobs import JobCurve, job_curves


def curve(label: str, *values: float) -> JobCurve:
    return JobCurve(label, np.arange(1.0, len(values) + 1), np.array(values))


def test_it_says_in_words_where_each_line_ends() -> None:
    plot = job_curves("validation_accuracy", "seconds", [curve("one", 0.5, 0.9), curve("two", 0.4, np.nan)])
    assert (plot.name, plot.title) == ("validation_accuracy-seconds", "validation accuracy against seconds")
    assert plot.alt == (
        "Line chart of validation accuracy against seconds, one line a job. one ends at 0.9; two ends at 0.4."
    )


@pytest.mark.parametrize("values", [(np.nan, np.nan), (0.0, -1.0), (1e-9, 1e9)])
def test_values_that_a_logarithm_does_not_take_are_drawn_all_the_same(values: tuple[float, ...]) -> None:
    plot = job_curves("train_loss", "flops", [curve("one", *values)])
    assert plot.png.startswith(b"\x89PNG")
    assert ("has no finite value" in plot.alt) == bool(np.isnan(values).all())


def test_fifty_jobs_have_fifty_lines_and_the_same_bytes_each_time() -> None:
    many = [curve(f"job <{place}> $\\alpha$", 1.0, place) for place in range(50)]
    first, second = (job_curves("train_loss", "step", many) for _ in range(2))
    assert first.svg == second.svg
    assert first.png == second.png
    assert "job <49>" in first.alt


def test_numbers_beside_a_logarithmic_scale_are_numbers() -> None:
    """A comment in the SVG names each text that is drawn."""
    plot = job_curves("train_loss", "step", [curve("one", 1.0, 0.1, 1e-4)])
    assert "<!-- 0.001 -->" in plot.svg
    assert "mathdefault" not in plot.svg

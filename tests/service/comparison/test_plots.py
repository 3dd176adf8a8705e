"""Every figure: drawn where there are data, the same bytes each time, safe with any name, and told in words."""

import dataclasses
import struct
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from service.comparison.errors import ComparisonError
from service.comparison.plots import draw, plot_names
from service.comparison.plots.curves import band
from service.comparison.plots.seeds import pareto_front
from service.comparison.plots.style import arm_styles, label
from service.comparison.runs import Experiment

HOSTILE = ["</text><script>alert(1)</script>", "$\\frac{1}{0}$ & 100%", "_hidden", "名前", "a\x00b\nc", "x" * 300, ""]


def test_an_experiment_with_everything_has_every_figure_but_the_sweep(five_algorithms):
    assert plot_names(five_algorithms) == (
        "learning-curves-epoch",
        "learning-curves-passes",
        "learning-curves-step",
        "learning-curves-seconds",
        "learning-curves-flops",
        "seeds",
        "pareto",
        "signal-by-depth",
        "signal-over-time",
        "angle-to-backprop",
        "performance-profile",
    )


def test_a_sweep_has_its_figure(sweep):
    assert "depth-sweep" in plot_names(sweep)
    assert "20" in draw(sweep, "depth-sweep").svg


@pytest.fixture(scope="module")
def small(experiment_of, digits):
    return experiment_of(arms=("backprop", "synthetic_gradients", "frozen"), workloads=(digits,), seeds=3)


@pytest.mark.parametrize(
    "name", ["learning-curves-seconds", "seeds", "pareto", "signal-by-depth", "performance-profile"]
)
def test_the_same_data_give_the_same_bytes(small, name):
    first, second = draw(small, name), draw(small, name)
    assert first == second
    assert "<dc:date>" not in first.svg


@pytest.mark.parametrize(
    "name", ["learning-curves-epoch", "seeds", "pareto", "signal-by-depth", "signal-over-time", "angle-to-backprop"]
)
def test_each_figure_is_svg_and_png_with_words_that_name_every_arm(small, name):
    plot = draw(small, name)
    assert ElementTree.fromstring(plot.svg).tag.endswith("svg")
    assert plot.png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", plot.png[16:24])
    assert width > 600
    assert height > 250
    assert all(arm in plot.alt for arm in small.arms)


def test_alt_text_gives_the_numbers(small):
    assert "backprop 97." in draw(small, "seeds").alt or "backprop 96." in draw(small, "seeds").alt


def test_an_unknown_figure_is_refused_with_the_known_ones(small):
    with pytest.raises(ComparisonError, match=r"plot: got 'pie'; allowed: learning-curves-epoch, .*seeds"):
        draw(small, "pie")


def test_nothing_to_draw_is_said(run_of):
    with pytest.raises(ComparisonError, match="none: there are no runs"):
        draw(Experiment("x", ()), "seeds")


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_can_be_drawn(run_of, name):
    runs = [run_of("backprop", s) for s in range(2)]
    runs += [dataclasses.replace(run_of("other", s), arm=name or "backprop2") for s in range(2)]
    for figure in ("seeds", "learning-curves-epoch"):
        svg = draw(Experiment(name, runs), figure).svg
        tree = ElementTree.fromstring(svg)
        assert not [e for e in tree.iter() if e.tag.lower().endswith("script")]


def test_a_label_is_one_short_line():
    assert label("a\nb\tc") == "a b c"
    assert len(label("x" * 300)) == 32
    assert label("") == "(no name)"
    assert not label("_x").startswith("_")


def test_one_seed_failed_runs_and_missing_columns_are_drawn(run_of):
    runs = [run_of("backprop", 0), run_of("other", 0, state="diverged"), run_of("third", 0, state="failed")]
    runs[2] = dataclasses.replace(runs[2], curve=None, cost=None, diagnostics=None)
    experiment = Experiment("x", runs)
    for name in plot_names(experiment):
        assert draw(experiment, name).png
    assert "1 of 1 went wrong" in draw(experiment, "seeds").alt


def test_a_diverged_run_pulls_its_band_to_chance(run_of):
    sound = band(tuple(run_of("backprop", s) for s in range(4)), "epoch")
    runs = tuple(run_of("backprop", s, state="diverged" if s == 0 else "succeeded") for s in range(4))
    pulled = band(runs, "epoch")
    assert pulled.runs == 4
    assert pulled.mean[-1] == pytest.approx((3 * sound.mean[-1] + 0.1) / 4, abs=0.01)


def test_the_band_is_the_t_interval_at_each_epoch(run_of):
    runs = tuple(run_of("backprop", s) for s in range(5))
    values = np.array([run.curve.validation_accuracy[2] for run in runs])
    half = 2.776445 * values.std(ddof=1) / 5**0.5
    found = band(runs, "epoch")
    assert found.high[2] - found.mean[2] == pytest.approx(half, rel=1e-5)


def test_the_pareto_front_leaves_out_whoever_is_beaten():
    points = {"fast": (1.0, 0.8), "good": (3.0, 0.9), "beaten": (3.5, 0.85), "twin": (3.0, 0.9)}
    assert pareto_front(points) == ["fast", "good", "twin"]


def test_no_two_arms_look_alike(five_algorithms):
    styles = list(arm_styles(five_algorithms).values())
    assert len({(s.colour, s.marker) for s in styles}) == len(styles)
    assert len({s.marker for s in styles}) == len(styles), "grey print has only shapes"

"""Every figure of an experiment, by name, as SVG and PNG with alt text."""

from collections.abc import Callable

from service.comparison.errors import ComparisonError
from service.comparison.plots.curves import depth_sweep, has_curves, has_depth_sweep, learning_curves
from service.comparison.plots.profile import performance_profile, profile_axis
from service.comparison.plots.seeds import has_times, pareto, seed_strips
from service.comparison.plots.signals import angles, has_angles, has_signals, signal_by_depth, signal_over_time
from service.comparison.plots.style import Plot
from service.comparison.runs import AXES, Experiment

__all__ = ["Plot", "draw", "draw_all", "plot_names"]

_Entry = tuple[Callable[[Experiment], bool], Callable[[Experiment], Plot]]


def _curve_entry(axis: str) -> _Entry:
    return (lambda experiment: has_curves(experiment, axis)), (lambda experiment: learning_curves(experiment, axis))


_FIGURES: dict[str, _Entry] = {
    **{f"learning-curves-{axis}": _curve_entry(axis) for axis in AXES},
    "seeds": ((lambda experiment: bool(experiment.runs)), seed_strips),
    "pareto": (has_times, pareto),
    "depth-sweep": (has_depth_sweep, depth_sweep),
    "signal-by-depth": (has_signals, signal_by_depth),
    "signal-over-time": (has_signals, signal_over_time),
    "angle-to-backprop": (has_angles, angles),
    "performance-profile": ((lambda experiment: profile_axis(experiment) is not None), performance_profile),
}


def plot_names(experiment: Experiment) -> tuple[str, ...]:
    """The figures for which this experiment has data."""
    return tuple(name for name, (has, _) in _FIGURES.items() if has(experiment))


def draw(experiment: Experiment, name: str) -> Plot:
    """One figure. Raises ComparisonError for a name that this experiment has no figure of."""
    if name not in _FIGURES or not _FIGURES[name][0](experiment):
        raise ComparisonError("plot", name, ", ".join(plot_names(experiment)) or "none: there are no runs")
    return _FIGURES[name][1](experiment)


def draw_all(experiment: Experiment) -> tuple[Plot, ...]:
    return tuple(draw(experiment, name) for name in plot_names(experiment))

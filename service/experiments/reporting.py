"""An experiment's report in every format, and its figures.

Numbers of an experiment that has not moved are the same, and take seconds: the newest few are kept in the process,
under a mark that changes whenever another of its jobs ends.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, Max

from service.comparison import report
from service.comparison.plots import Plot, draw, plot_names
from service.comparison.runs import Experiment as Compared
from service.comparison.scorecard import Scorecard, score
from service.experiments.collecting import Urls, collect
from service.experiments.models import Experiment
from service.jobs.states import TERMINAL

KEPT = 8


class NothingToReport(Exception):
    """No job of the reference has ended, so there is nothing to compare with."""


@dataclass(slots=True)
class Report:
    """The numbers, made once; each format and figure when it is asked for."""

    experiment: Compared
    scorecard: Scorecard
    _plots: dict[str, Plot] = field(default_factory=dict)
    _drawing: threading.Lock = field(default_factory=threading.Lock)

    def json(self) -> dict[str, Any]:
        return report.report_json(self.experiment, self.scorecard)

    def html(self) -> str:
        return report.report_html(self.experiment, self.scorecard, self.plots())

    def markdown(self) -> str:
        return report.report_markdown(self.experiment, self.scorecard, self.plots())

    def latex(self) -> str:
        return report.report_latex(self.experiment, self.scorecard)

    def csv(self) -> str:
        return report.report_csv(self.scorecard)

    def plots(self) -> tuple[Plot, ...]:
        """Every figure for which there are data."""
        return tuple(self.plot(name) for name in plot_names(self.experiment))

    def plot(self, name: str) -> Plot:
        """One figure. Raises ComparisonError for a name that this experiment has no figure of."""
        with self._drawing:
            if name not in self._plots:
                self._plots[name] = draw(self.experiment, name)
            return self._plots[name]


_reports: OrderedDict[tuple[Any, ...], Report] = OrderedDict()
_lock = threading.Lock()


def report_of(experiment: Experiment, job_url: Urls, url: str) -> Report:
    """The report of what has ended so far. Raises NothingToReport."""
    mark = _mark(experiment, url)
    with _lock:
        if mark in _reports:
            _reports.move_to_end(mark)
            return _reports[mark]
    found = collect(experiment, job_url, url)
    if not found.runs_of(found.reference):
        raise NothingToReport(
            f"No job with {found.reference}, the reference, has ended yet; the report begins with the first."
        )
    made = Report(found, score(found))
    with _lock:
        _reports[mark] = made
        while len(_reports) > KEPT:
            _reports.popitem(last=False)
    return made


def _mark(experiment: Experiment, url: str) -> tuple[Any, ...]:
    jobs = experiment.jobs.order_by()
    ended = jobs.filter(state__in=TERMINAL).aggregate(count=Count("id"), last=Max("finished_at"))
    return experiment.pk, url, jobs.count(), ended["count"], ended["last"]


FORMATS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "html": ("text/html; charset=utf-8", Report.html),
    "markdown": ("text/markdown; charset=utf-8", Report.markdown),
    "latex": ("application/x-latex; charset=utf-8", Report.latex),
}
"""Beside JSON: media type, and how it is made."""

"""An experiment's report in every format, and its figures.

Numbers of an experiment that has not moved are the same, and take seconds: the newest few are kept in the process,
under a mark that changes whenever another of its jobs ends.
"""

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db.models import Count, Max

from service.comparison import report
from service.comparison.plots import Plot, draw, plot_names
from service.comparison.protocol import REFERENCE
from service.comparison.runs import Experiment as Compared
from service.comparison.scorecard import Scorecard, score
from service.experiments import second_table
from service.experiments.collecting import Urls, collect
from service.experiments.models import Experiment
from service.experiments.provenance import warnings_of
from service.jobs.states import TERMINAL

KEPT = 8

Table = Literal["tuned", "default"]
"""Which of the two tables of an experiment whose hyperparameters were tuned."""


class NothingToReport(Exception):
    """No job of the reference has ended, so there is nothing to compare with."""


@dataclass(slots=True)
class Report:
    """The numbers, made once; each format and figure when it is asked for.

    After a search there are two tables that are never mixed (rule 15): with tuned hyperparameters, and with those that
    were asked for. The second stands behind the first in every format that can hold two, and by itself where it is
    asked for.
    """

    experiment: Compared
    scorecard: Scorecard
    second: "Report | None" = None
    _plots: dict[str, Plot] = field(default_factory=dict)
    _drawing: threading.Lock = field(default_factory=threading.Lock)

    def json(self) -> dict[str, Any]:
        found = report.report_json(self.experiment, self.scorecard)
        return found if self.second is None else {**found, "default_hyperparameters": self.second.json()}

    def html(self) -> str:
        page = report.report_html(self.experiment, self.scorecard, self.plots())
        if self.second is None:
            return page
        return second_table.into_html(page, self.second.experiment, self.second.scorecard)

    def markdown(self) -> str:
        text = report.report_markdown(self.experiment, self.scorecard, self.plots())
        if self.second is None:
            return text
        # Its figures have the same names and its provenance is the same: both stand in the first part.
        second = dataclasses.replace(self.second.experiment, provenance={})
        return f"{text}\n---\n\n{report.report_markdown(second, self.second.scorecard)}"

    def latex(self) -> str:
        table = report.report_latex(self.experiment, self.scorecard)
        return table if self.second is None else f"{table}\n{self.second.latex()}"

    def csv(self) -> str:
        """Every comparison; of a tuned experiment those with tuned hyperparameters alone, as a table has one header."""
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


def report_of(experiment: Experiment, job_url: Urls, url: str, *, table: Table | None = None) -> Report:
    """The report of what has ended so far. Raises NothingToReport.

    table: None for both, the tuned one first once there is one; "default" or "tuned" for one of them alone.
    """
    mark = (*_mark(experiment, url), table)
    with _lock:
        if mark in _reports:
            _reports.move_to_end(mark)
            return _reports[mark]
    made = _make(experiment, job_url, url, table)
    with _lock:
        _reports[mark] = made
        while len(_reports) > KEPT:
            _reports.popitem(last=False)
    return made


def _make(experiment: Experiment, job_url: Urls, url: str, table: Table | None) -> Report:
    if table == "tuned" or (table is None and _has_tuned_reference(experiment)):
        tuned = _scored(experiment, collect(experiment, job_url, url, tuned=True))
        if table is None:
            plain = collect(experiment, job_url, url)
            if plain.runs_of(plain.reference):
                name = f"{plain.name}: with the hyperparameters asked for, not tuned"
                tuned.second = _scored(experiment, dataclasses.replace(plain, name=name))
        return tuned
    return _scored(experiment, collect(experiment, job_url, url))


def _scored(experiment: Experiment, found: Compared) -> Report:
    if not found.runs_of(found.reference):
        raise NothingToReport(
            f"No job with {found.reference}, the reference, has ended yet; the report begins with the first."
            + (" Its search for hyperparameters comes first." if found.tuned else "")
        )
    scorecard = score(found)
    said = (*scorecard.warnings, *warnings_of(experiment, tuned=found.tuned))
    return Report(found, dataclasses.replace(scorecard, warnings=said))


def _has_tuned_reference(experiment: Experiment) -> bool:
    if not experiment.is_tuned:
        return False
    return experiment.places.filter(tuned=True, arm=REFERENCE, job__state__in=TERMINAL).exists()


def _mark(experiment: Experiment, url: str) -> tuple[Any, ...]:
    jobs = experiment.jobs.order_by()
    ended = jobs.filter(state__in=TERMINAL).aggregate(count=Count("id"), last=Max("finished_at"))
    decided = (experiment.is_tuned, len(experiment.looks), str(experiment.stopped))
    return experiment.pk, url, jobs.count(), ended["count"], ended["last"], *decided


FORMATS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "html": ("text/html; charset=utf-8", Report.html),
    "markdown": ("text/markdown; charset=utf-8", Report.markdown),
    "latex": ("application/x-latex; charset=utf-8", Report.latex),
}
"""Beside JSON: media type, and how it is made."""

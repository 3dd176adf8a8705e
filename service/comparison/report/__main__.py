"""`python -m service.comparison.report experiment.json DIR`: the whole report of a file that a bundle carries.

With `--reference` another arm becomes the one that all others are compared with.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from service.comparison.errors import ComparisonError
from service.comparison.experiment_json import experiment_from_json
from service.comparison.plots import draw_all
from service.comparison.report import report_csv, report_html, report_json, report_latex, report_markdown
from service.comparison.runs import Experiment
from service.comparison.scorecard import score


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one sentence for a file that cannot be used."""
    parser = argparse.ArgumentParser("python -m service.comparison.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", type=Path, help="experiment.json of a bundle")
    parser.add_argument("folder", type=Path, help="where to write report.* and plots/")
    parser.add_argument("--reference", help="the arm to compare with, instead of the file's own")
    options = parser.parse_args(arguments)
    try:
        found = experiment_from_json(json.loads(options.experiment.read_text(encoding="utf-8")))
        if options.reference is not None:
            found = _with_reference(found, options.reference)
    except (OSError, ValueError) as error:
        print(f"{options.experiment}: {error}", file=sys.stderr)
        return 2
    write_report(found, options.folder)
    return 0


def write_report(experiment: Experiment, folder: Path) -> None:
    """Every format and figure, under the names that they have in a bundle."""
    scorecard, plots = score(experiment), draw_all(experiment)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    texts = {
        "report.json": json.dumps(report_json(experiment, scorecard), indent=2, ensure_ascii=False) + "\n",
        "report.html": report_html(experiment, scorecard, plots),
        "report.md": report_markdown(experiment, scorecard, plots),
        "report.csv": report_csv(scorecard),
        "report.tex": report_latex(experiment, scorecard),
        **{f"plots/{plot.name}.svg": plot.svg for plot in plots},
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    for plot in plots:
        (folder / f"plots/{plot.name}.png").write_bytes(plot.png)


def _with_reference(experiment: Experiment, arm: str) -> Experiment:
    if arm not in experiment.arms:
        raise ComparisonError("reference", arm, ", ".join(experiment.arms))
    return replace(experiment, reference=arm, controls=tuple(each for each in experiment.controls if each != arm))


if __name__ == "__main__":
    sys.exit(main())

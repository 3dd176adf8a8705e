"""The second table of a tuned experiment's report: what the same arms score with the hyperparameters asked for."""

from service.comparison.report.escaping import for_html
from service.comparison.report.tables import Table, all_tables
from service.comparison.runs import Experiment
from service.comparison.scorecard import Scorecard

BEFORE = '<h2 id="provenance">'


def into_html(page: str, experiment: Experiment, scorecard: Scorecard) -> str:
    """The page of the tuned table with the other one before its provenance."""
    tables = "".join(_html(table) for table in all_tables(experiment, scorecard) if table.name in SHOWN)
    section = (
        '<h2 id="default-hyperparameters">With the hyperparameters asked for, not tuned</h2>'
        f'<p class="answer">{for_html(scorecard.answer)}</p>'
        '<p class="soft">Never mixed with the table above (rule 15).</p>'
        f"{tables}"
    )
    return page.replace(BEFORE, f"{section}{BEFORE}", 1)


SHOWN = ("scorecard", "accuracy", "training_seconds", "went-wrong")
"""The rest is in the JSON, and in the report with `?hyperparameters=default`."""


def _html(table: Table) -> str:
    head = "".join(f'<th scope="col">{for_html(cell)}</th>' for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{for_html(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f"<h3>{for_html(table.caption)}</h3>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{for_html(table.caption)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )

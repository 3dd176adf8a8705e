"""The report as Markdown, as CSV and as a LaTeX table."""

import csv
import io

from service.comparison.comparisons import Comparison
from service.comparison.measures import Scale
from service.comparison.plots import Plot
from service.comparison.report.escaping import for_csv, for_latex, for_markdown, one_line, safe_url
from service.comparison.report.provenance import provenance_tables
from service.comparison.report.tables import Table, all_tables
from service.comparison.runs import Experiment
from service.comparison.scorecard import Criterion, Scorecard
from service.comparison.wording import comparison_sentence

UNITS = {Scale.POINTS: "points", Scale.RATIO: "ratio to reference", Scale.DECADES: "powers of ten"}

CSV_HEADER = (
    "measure", "problem", "arm", "role", "verdict", "pairs", "difference", "low", "high", "unit", "p", "adjusted_p",
    "family", "exact", "effect_size", "effect_low", "effect_high", "superiority", "superiority_low", "superiority_high",
    "candidate_mean", "reference_mean", "candidate_went_wrong", "reference_went_wrong", "missing_seeds", "seeds",
    "sentence",
)  # fmt: skip


def report_markdown(experiment: Experiment, scorecard: Scorecard, plots: tuple[Plot, ...] = ()) -> str:
    """All of the report. Figures are linked as `plots/{name}.svg` beside it, with their alt text."""
    parts = [f"# {for_markdown(experiment.name)}", for_markdown(scorecard.answer)]
    parts += ["\n".join(f"- {for_markdown(s)}" for s in said) for said in (scorecard.why, scorecard.warnings) if said]
    for table in all_tables(experiment, scorecard):
        parts += [f"## {for_markdown(table.caption)}", _markdown_table(table)]
        if table.note:
            parts.append(for_markdown(table.note))
    if plots:
        parts.append("## Figures")
        parts += [f"![{for_markdown(plot.alt)}](plots/{plot.name}.svg)" for plot in plots]
    parts.append("## Verdicts in words")
    for arm in scorecard.arms:
        said = "\n".join(f"- {for_markdown(scorecard.cells[arm][c].sentence)}" for c in Criterion)
        parts += [f"### {for_markdown(arm)}", said]
    for place, table in enumerate(provenance_tables(experiment)):
        parts += ["## Provenance"] if place == 0 else []
        parts += [f"### {for_markdown(table.caption)}", _markdown_table(table)]
    url = safe_url(experiment.url)
    if url:
        parts.append(f"Raw data: <{url}>")
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    lines = [table.header, tuple("---" for _ in table.header), *table.rows]
    return "\n".join(
        "| " + " | ".join(cell if i == 1 else for_markdown(cell) for cell in row) + " |" for i, row in enumerate(lines)
    )


def report_csv(scorecard: Scorecard) -> str:
    """One row a comparison, numbers unrounded; text cells cannot run as formulas. Lines end in CR LF (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_HEADER)
    for comparisons in scorecard.comparisons.values():
        writer.writerows(_csv_row(c, scorecard.reference) for c in comparisons)
    return out.getvalue()


def _csv_row(c: Comparison, reference: str) -> list[object]:
    j = c.judgement
    values: list[object] = [c.measure.name, for_csv(c.problem), for_csv(c.arm), c.role.value, c.verdict.value, j.pairs]
    values += _ends(c.shown)
    values += [UNITS[c.measure.scale], _blank(j.p), _blank(j.adjusted_p), j.family, j.exact]
    values += _ends(j.effect) + _ends(j.superiority)
    values += [_blank(c.candidate_mean), _blank(c.reference_mean), c.pairs.candidate_wrong, c.pairs.reference_wrong]
    values += [" ".join(map(str, c.pairs.missing)), " ".join(map(str, c.pairs.seeds))]
    return [*values, for_csv(comparison_sentence(c, reference))]


def _ends(estimate: object) -> list[object]:
    return [_blank(getattr(estimate, name, None)) for name in ("value", "low", "high")]


def _blank(value: float | None) -> object:
    return "" if value is None else repr(float(value))


def report_latex(experiment: Experiment, scorecard: Scorecard) -> str:
    """The scorecard as a `table` for a paper; needs the booktabs and textcomp packages (and T1 fonts for quotes)."""
    columns = "l" + "l" * len(Criterion)
    head = " & ".join(for_latex(text) for text in (scorecard.reference, *Criterion))
    lines = [
        f"% {one_line(experiment.name)}: {one_line(scorecard.answer)}",
        r"% \usepackage[T1]{fontenc} \usepackage{booktabs,textcomp,graphicx}",
        r"\begin{table}",
        rf"\caption{{{for_latex(experiment.name)}: each arm against {for_latex(scorecard.reference)}.}}",
        r"\centering\small",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head.replace(for_latex(scorecard.reference), "arm", 1) + r" \\",
        r"\midrule",
    ]
    for arm in scorecard.arms:
        cells = [scorecard.cells[arm][c] for c in Criterion]
        lines.append(" & ".join([for_latex(arm), *(for_latex(cell.verdict) for cell in cells)]) + r" \\")
        numbers = [r"\footnotesize " + _stacked(cell.number) for cell in cells]
        lines.append(" & ".join(["", *numbers]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _stacked(text: str) -> str:
    """Parts between semicolons under each other."""
    parts = [for_latex(part) for part in text.split("; ")]
    return parts[0] if len(parts) == 1 else r"\begin{tabular}[t]{@{}l@{}}" + r" \\ ".join(parts) + r"\end{tabular}"

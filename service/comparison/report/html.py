"""The report as one HTML file: no script, no outside address, light and dark, on a phone and on paper."""

import base64

from service.comparison.plots import Plot
from service.comparison.report.escaping import for_html, safe_url
from service.comparison.report.provenance import provenance_tables
from service.comparison.report.tables import Table, all_tables
from service.comparison.runs import Experiment, Role
from service.comparison.scorecard import Cell, Criterion, Scorecard
from service.comparison.verdicts import Verdict

MARKS: dict[Verdict, tuple[str, str]] = {
    Verdict.BETTER: ("better", "▲"),
    Verdict.EQUIVALENT: ("same", "="),
    Verdict.WORSE: ("worse", "▼"),
    Verdict.UNDECIDED: ("open", "?"),
    Verdict.SUGGESTIVE_BETTER: ("better weak", "△"),
    Verdict.SUGGESTIVE_EQUIVALENT: ("same weak", "≈"),
    Verdict.SUGGESTIVE_WORSE: ("worse weak", "▽"),
    Verdict.NOT_ENOUGH_SEEDS: ("blank", "…"),
    Verdict.NOT_MEASURED: ("blank", "–"),
}
"""Class and sign of each verdict: the word always stands beside, so that colour carries nothing alone."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #565656; --paper: #ffffff; --line: #d4d4d4; --shade: #f4f5f7;
  --better: #00614a; --worse: #a33b00; --same: #00568a; --open: #565656; --link: #00568a; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --soft: #b4b4b4; --paper: #16181b; --line: #3b3f45;
  --shade: #22252a; --better: #4fd1a8; --worse: #ff9d66; --same: #7cc4f2; --open: #b4b4b4; --link: #7cc4f2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 3vw, 2.5rem) 4rem; max-width: 78rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere; font-variant-ligatures: none; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .8rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
h3 { font-size: 1.02rem; margin: 1.8rem 0 .4rem; } a { color: var(--link); }
.answer { font-size: 1.1rem; border-left: .3rem solid var(--same); padding: .2rem 0 .2rem 1rem; margin: 0; }
.warnings { color: var(--worse); } .soft { color: var(--soft); font-size: .9rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid var(--line); }
thead th { background: var(--shade); } .scroll td, .scroll th { overflow-wrap: normal; min-width: 4.5rem; }
.scroll td:last-child { min-width: 9rem; }
.card td { min-width: 7rem; } .card td, .card th { padding: .45rem .4rem; }
.number { display: block; color: var(--soft); font-size: .82rem; }
.badge { font-weight: 600; white-space: nowrap; } .better { color: var(--better); } .worse { color: var(--worse); }
.same { color: var(--same); } .open, .blank { color: var(--open); } .weak { font-style: italic; }
.role { display: block; font-weight: 400; color: var(--soft); font-size: .8rem; }
details summary { cursor: pointer; color: var(--link); font-size: .8rem; }
details ul { padding-left: 1.1rem; margin: .3rem 0; }
figure { margin: 1.2rem 0 2rem; } figure img { display: block; max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: .4rem; padding: .4rem; }
@media (max-width: 46rem) { figure img { max-width: none; width: 42rem; }
  .scroll table:not(.card) { width: max-content; max-width: none; } .scroll table:not(.card) td { max-width: 17rem; }
  .card thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  .card, .card tbody, .card tr, .card th, .card td { display: block; min-width: 0; border: 0; }
  .card tr { border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 .9rem; padding: .3rem .2rem; }
  .card td::before { content: attr(data-label); display: block; font-size: .76rem; color: var(--soft); } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --paper: #fff; --line: #999; --shade: #eee;
  --better: #00614a; --worse: #a33b00; --same: #00568a; --open: #444; --link: #000; }
  body { max-width: none; padding: 0; font-size: 9.5pt; } nav, details { display: none; } .scroll { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: 2pt 3pt; }
  .scroll td, .scroll th, .card td { min-width: 0; overflow-wrap: break-word; }
  .number, .role { font-size: 6.5pt; }
  tr, figure { break-inside: avoid; } h2, h3 { break-after: avoid; } thead { display: table-header-group; }
  @page { size: A4 landscape; margin: 12mm; } }
"""

LEGEND = (
    '<p class="soft">▲ better, = equivalent, ▼ worse, ? undecided; hollow and italic: suggestive, 6 to 9 pairs. '
    "Better and worse always mean: for the arm. Test, margins and family were fixed before the data.</p>"
)


def report_html(experiment: Experiment, scorecard: Scorecard, plots: tuple[Plot, ...] = ()) -> str:
    """A whole page. Figures are embedded as SVG images with their alt text; nothing is fetched."""
    tables = all_tables(experiment, scorecard)[1:]
    name = for_html(experiment.name)
    body = [
        f"<header><h1>{name}</h1>",
        f'<p class="answer">{for_html(scorecard.answer)}</p>',
        _list(scorecard.why, "why"),
        _list(scorecard.warnings, "warnings"),
        _navigation(bool(plots)),
        "</header><main>",
        f'<h2 id="scorecard">Scorecard: each arm against {for_html(scorecard.reference)}</h2>',
        _scorecard(scorecard),
        LEGEND,
        '<h2 id="words">Verdicts in words</h2>',
        _words(scorecard),
    ]
    if plots:
        body.append('<h2 id="figures">Figures</h2>')
        body += [_figure(plot) for plot in plots]
    body.append('<h2 id="tables">Tables</h2>')
    body += [_table(table) for table in tables]
    body.append('<h2 id="provenance">Provenance</h2>')
    body.append(_provenance(experiment))
    body.append("</main>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # An empty icon of our own keeps browsers from asking the site for one.
        '<link rel="icon" href="data:,">'
        f"<title>{name}</title><style>{STYLE}</style></head>\n<body>" + "\n".join(body) + "</body></html>\n"
    )


def _list(sentences: tuple[str, ...], style: str) -> str:
    items = "".join(f"<li>{for_html(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{style}">{items}</ul>' if items else ""


def _navigation(figures: bool) -> str:
    places = ["scorecard", "words", *(["figures"] if figures else []), "tables", "provenance"]
    titles = {"words": "verdicts in words"}
    items = "".join(f'<li><a href="#{place}">{titles.get(place, place).capitalize()}</a></li>' for place in places)
    return f'<nav aria-label="Parts of this report"><ul>{items}</ul></nav>'


def _scorecard(scorecard: Scorecard) -> str:
    if not scorecard.arms:
        return "<p>No arm to compare.</p>"
    head = "".join(f'<th scope="col">{for_html(c.capitalize())}</th>' for c in Criterion)
    rows = []
    for arm in scorecard.arms:
        cells = scorecard.cells[arm]
        role = "control" if cells[Criterion.ACCURACY].role is Role.CONTROL else "algorithm"
        inside = "".join(_cell(cells[c]) for c in Criterion)
        rows.append(f'<tr><th scope="row">{_breakable(arm)}<span class="role">{role}</span></th>{inside}</tr>')
    return _scrolled(
        f'<table class="card"><thead><tr><th scope="col">Arm</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
        "Scorecard",
    )


def _cell(cell: Cell) -> str:
    style, mark = MARKS[cell.verdict]
    label = for_html(cell.criterion.capitalize())
    numbers = "".join(f'<span class="number">{for_html(part)}</span>' for part in cell.number.split("; "))
    return (
        f'<td data-label="{label}"><span class="badge {style}"><span aria-hidden="true">{mark}</span> '
        f"{for_html(cell.verdict)}</span>{numbers}{_links(cell.links)}</td>"
    )


def _links(urls: tuple[str, ...]) -> str:
    safe = [url for url in map(safe_url, urls) if url]
    if not safe:
        return ""
    items = "".join(f'<li><a href="{for_html(u)}">{for_html(u.rstrip("/").rsplit("/", 1)[-1])}</a></li>' for u in safe)
    return f"<details><summary>{len(safe)} raw jobs</summary><ul>{items}</ul></details>"


def _words(scorecard: Scorecard) -> str:
    parts = []
    for arm in scorecard.arms:
        said = "".join(f"<li>{for_html(scorecard.cells[arm][c].sentence)}</li>" for c in Criterion)
        parts.append(f"<h3>{for_html(arm)}</h3><ul>{said}</ul>")
    return "".join(parts)


def _figure(plot: Plot) -> str:
    data = base64.b64encode(plot.svg.encode()).decode()
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{for_html(plot.alt)}">'
    return (
        f'<figure id="figure-{for_html(plot.name)}"><figcaption><h3>{for_html(plot.title)}</h3></figcaption>'
        f"{_scrolled(image, plot.title)}"
        f"<details><summary>This figure in words</summary><p>{for_html(plot.alt)}</p></details></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{for_html(cell)}</th>' for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{_linked(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    note = f'<p class="soft">{for_html(table.note)}</p>' if table.note else ""
    inside = _scrolled(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", table.caption)
    return f'<h3 id="table-{for_html(table.name)}">{for_html(table.caption)}</h3>{inside}{note}'


def _linked(cell: str) -> str:
    url = safe_url(cell) if cell.startswith(("/", "http")) else None
    return f'<a href="{for_html(url)}">{for_html(url.rsplit("/", 1)[-1])}</a>' if url else _breakable(cell)


def _breakable(text: str) -> str:
    """A name of several words, such as an algorithm's, may go on in the next line: else it takes all the width."""
    return for_html(text).replace("_", "_<wbr>")


def _scrolled(inside: str, name: str) -> str:
    """A wide table scrolls by itself; it can be reached and scrolled with the keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{for_html(name)}">{inside}</div>'


def _provenance(experiment: Experiment) -> str:
    url = safe_url(experiment.url)
    link = f'<p>Raw data: <a href="{for_html(url)}">{for_html(url)}</a></p>' if url else ""
    return link + "".join(_table(table) for table in provenance_tables(experiment))

"""The report in five formats: complete, and safe with whatever a user called things."""

import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import pytest

from service.comparison.plots import draw
from service.comparison.report import report_csv, report_html, report_json, report_latex, report_markdown
from service.comparison.report.escaping import for_csv, for_latex, for_markdown, safe_url
from service.comparison.runs import Experiment, Workload
from service.comparison.scorecard import Criterion, score

EVIL = '<img src=x onerror="alert(1)">|=cmd()|\\input{x}$%&_#`*\n# head'


class Page(HTMLParser):
    """Tags with attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def card(five_algorithms):
    return score(five_algorithms)


@pytest.fixture(scope="module")
def evil(run_of):
    workload = Workload(EVIL, EVIL, 0.1)
    runs = [run_of("backprop", s, workload) for s in range(10)]
    runs += [
        dataclasses.replace(run_of("other", s, workload), arm=EVIL, url="javascript:alert(1)", reason=EVIL)
        for s in range(10)
    ]
    runs.append(dataclasses.replace(run_of("third", 0, workload, state="failed"), reason=EVIL))
    return Experiment(EVIL, runs, provenance={EVIL: EVIL}, url="javascript:alert(1)")


def test_the_page_holds_answer_scorecard_and_tables(five_algorithms, card):
    page = Page(report_html(five_algorithms, card))
    assert card.answer in page.text
    for criterion in Criterion:
        assert criterion.capitalize() in page.text
    assert "Holm over 8" in page.text
    assert "0123abcd" in page.text


def test_the_page_needs_nothing_from_elsewhere(five_algorithms, card):
    plots = (draw(five_algorithms, "seeds"),)
    page = Page(report_html(five_algorithms, card, plots))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed"}
    for tag, attributes in page.tags:
        for key in ("src", "href"):
            value = attributes.get(key) or ""
            allowed = ("data:", "#", "/api/") if tag in ("img", "link", "a") else ()
            assert not value or value.startswith(allowed), (tag, value)
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["alt"] == plots[0].alt


def test_the_page_is_ready_for_phone_print_and_dark(five_algorithms, card):
    html = report_html(five_algorithms, card)
    assert 'name="viewport" content="width=device-width' in html
    for query in ("@media print", "prefers-color-scheme: dark", "max-width: 46rem"):
        assert query in html
    page = Page(html)
    headers = [attributes for tag, attributes in page.tags if tag == "th"]
    assert all(attributes.get("scope") in ("col", "row") for attributes in headers)


def test_a_hostile_name_stays_text_in_html(evil):
    html = report_html(evil, score(evil), (draw(evil, "seeds"),))
    page = Page(html)
    assert not [a for tag, a in page.tags if tag == "img" and not (a.get("src") or "").startswith("data:image/svg")]
    assert not [a for _, a in page.tags if any(key.startswith("on") for key in a)]
    assert not [a for _, a in page.tags if "javascript" in (a.get("href") or "")]
    assert "onerror" in page.text, "the name itself is shown"


def test_a_hostile_name_opens_no_row_heading_or_tag_in_markdown(evil):
    text = report_markdown(evil, score(evil))
    assert not re.search(r"(?<!\\)<img", text)
    assert not re.search(r"^# head", text, flags=re.M)
    for block in text.split("\n\n"):
        if block.startswith("|"):
            columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(columns) == 1, block[:200]


def test_a_hostile_name_is_no_formula_in_csv(five_algorithms, evil, card):
    rows = list(csv.reader(io.StringIO(report_csv(score(evil)))))
    assert {len(row) for row in rows} == {len(rows[0])}
    for row in rows[1:]:
        assert not any(cell.startswith(("=", "@", "+")) for cell in row)
    assert for_csv("=1+1") == "'=1+1"
    assert for_csv("-2 points") == "'-2 points"


def test_csv_numbers_are_whole(card):
    rows = list(csv.DictReader(io.StringIO(report_csv(card))))
    row = next(
        r for r in rows if r["measure"] == "accuracy" and r["arm"] == "hsic_bottleneck" and "digits" in r["problem"]
    )
    found = next(
        c for c in card.comparisons["accuracy"] if c.arm == "hsic_bottleneck" and c.problem.startswith("digits")
    )
    assert float(row["difference"]) == found.shown.value
    assert float(row["adjusted_p"]) == found.judgement.adjusted_p
    assert row["seeds"] == "0 1 2 3 4 5 6 7 8 9"
    assert len(rows) == sum(len(found) for found in card.comparisons.values())


def test_latex_is_balanced_and_escaped(five_algorithms, card, evil):
    for experiment, scored in ((five_algorithms, card), (evil, score(evil))):
        text = report_latex(experiment, scored)
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}")
        body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        assert "\\input{" not in body
        assert re.findall(r"begin\{(\w+)\}", body).count("table") == 1
        for line in body.splitlines():
            outside = re.sub(r"\\begin\{tabular\}\[t\].*?\\end\{tabular\}", "", line)
            if outside.endswith(r"\\"):
                assert len(re.findall(r"(?<!\\)&", outside)) == len(Criterion)


def test_every_special_character_is_spelled_in_latex():
    assert for_latex("a_b & 50% $x$ {y} #1 ^ ~ \\") == (
        r"a\_b \& 50\% \$x\$ \{y\} \#1 \textasciicircum{} \textasciitilde{} \textbackslash{}"
    )


def test_the_json_report_is_strict_json_with_every_cell(five_algorithms, card):
    data = json.loads(json.dumps(report_json(five_algorithms, card), allow_nan=False))
    assert set(data["scorecard"]) == set(card.arms)
    cell = data["scorecard"]["frozen"]["accuracy"]
    assert cell["verdict"] == "worse"
    assert data["comparisons"]["accuracy"][0]["judgement"]["family"] == 8
    assert data["plots"][0] == "learning-curves-epoch"


def test_an_empty_experiment_has_a_report_in_every_format():
    nothing = Experiment("nothing", ())
    card = score(nothing)
    assert "nothing to answer" in report_html(nothing, card)
    assert "nothing to answer" in report_markdown(nothing, card)
    assert report_csv(card).count("\n") == 1
    assert report_latex(nothing, card)
    assert json.dumps(report_json(nothing, card), allow_nan=False)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("/api/v1/jobs/1", True),
        ("https://example.org/jobs/1", True),
        ("http://localhost:8000/x", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        ("data:text/html,x", False),
        ("//evil.example/x", False),
        ("/\\evil.example", False),
        ("https://[broken", False),
        ("java\nscript:alert(1)", False),
        ("jobs/1", False),
        ("", False),
        (None, False),
    ],
)
def test_only_plain_addresses_become_links(url, kept):
    assert safe_url(url) == (url if kept else None)


def test_markdown_escapes_what_would_be_markup():
    assert for_markdown("a*b_[c](d)|<e>") == r"a\*b\_\[c\]\(d\)\|\<e\>"

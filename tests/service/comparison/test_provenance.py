"""Where an experiment comes from, in every format that people read."""

from service.comparison.report import report_html, report_markdown
from service.comparison.report.provenance import provenance_tables
from service.comparison.runs import Experiment
from service.comparison.scorecard import score
from tests.service.comparison.conftest import make_run

SPEC = {"algorithm": "backprop", "network": {"hidden": [8, 8]}, "training": {"epochs": 2, "patience": None}}
PROVENANCE = {
    "jobs": 20,
    "software": [{"commit": "0123abcd", "modified": True}, {"commit": "89ef", "modified": False, "torch": "2.13"}],
    "datasets_sha256": {"digits": "e34d"},
    "request": {"seeds": [0, 1, 2, 3], "training": {"epochs": 2}, "name": ""},
    "specs": [{**SPEC, "seeds": [0, 1]}, {**SPEC, "algorithm": "frozen", "step": 0.5, "seeds": [0, 1]}],
    "empty": [],
}


def experiment() -> Experiment:
    return Experiment("small", tuple(make_run(arm, 0) for arm in ("backprop", "frozen")), provenance=PROVENANCE)


def rows(name: str) -> tuple[tuple[str, ...], ...]:
    return {table.name: table.rows for table in provenance_tables(experiment())}[f"provenance-{name}"]


def test_stamps_stand_side_by_side() -> None:
    assert rows("software") == (("commit", "0123abcd", "89ef"), ("modified", "yes", "no"), ("torch", "none", "2.13"))


def test_specs_are_told_once_where_they_are_alike_and_apart_where_they_differ() -> None:
    assert rows("specs-alike") == (
        ("network/hidden", "8, 8"),
        ("training/epochs", "2"),
        ("training/patience", "none"),
        ("seeds", "0, 1"),
    )
    assert rows("specs") == (("1", "algorithm backprop"), ("2", "algorithm frozen; step 0.5"))


def test_nested_values_are_named_by_their_place_and_runs_of_seeds_by_their_ends() -> None:
    assert rows("request") == (("seeds", "0 to 3"), ("training/epochs", "2"), ("name", ""))
    assert rows("provenance") == (("jobs", "20"),)


def test_people_read_it_in_html_and_markdown() -> None:
    card = score(experiment())
    for text in (report_html(experiment(), card), report_markdown(experiment(), card)):
        plain = text.replace("\\", "").replace("<wbr>", "")
        for said in ("0123abcd", "e34d", "network/hidden", "algorithm frozen; step 0.5"):
            assert said in plain
    assert 'href="network' not in report_html(experiment(), card)


def test_what_users_named_stays_text() -> None:
    evil = {"<script>alert(1)</script>": {"a|b": "<b>x</b> | `y`"}, "list": ["<i>z</i>", "/etc/passwd"]}
    found = Experiment("small", experiment().runs, provenance=evil)
    page = report_html(found, score(found))
    assert "<script>" not in page
    assert "<b>x</b>" not in page
    assert "<i>" not in page

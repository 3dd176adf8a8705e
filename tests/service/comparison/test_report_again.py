"""`python -m service.comparison.report`: the whole report of a bundle's experiment.json, made again by anyone."""

import json
from pathlib import Path

import pytest

from service.comparison.experiment_json import experiment_to_json
from service.comparison.plots import plot_names
from service.comparison.report.__main__ import main
from service.comparison.runs import Experiment
from tests.service.comparison.conftest import make_run


@pytest.fixture
def experiment() -> Experiment:
    runs = [make_run(arm, seed) for arm in ("backprop", "frozen", "hsic_bottleneck") for seed in range(3)]
    return Experiment("small", tuple(runs))


@pytest.fixture
def file(experiment: Experiment, tmp_path: Path) -> Path:
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(experiment_to_json(experiment), allow_nan=False))
    return path


def test_every_format_and_figure_is_written(file: Path, experiment: Experiment, tmp_path: Path) -> None:
    assert main([str(file), str(tmp_path / "out")]) == 0
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    formats = {f"report.{ending}" for ending in ("json", "html", "md", "csv", "tex")}
    figures = {f"plots/{name}.{kind}" for name in plot_names(experiment) for kind in ("svg", "png")}
    assert found == formats | figures


def test_another_arm_can_be_the_one_to_compare_with(file: Path, tmp_path: Path) -> None:
    assert main([str(file), str(tmp_path / "out"), "--reference", "frozen"]) == 0
    made = json.loads((tmp_path / "out" / "report.json").read_text())
    assert made["reference"] == "frozen"
    assert set(made["scorecard"]) == {"backprop", "hsic_bottleneck"}


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "Expecting"), ('{"format": "other"}', "format: got 'other'"), (None, "No such file")],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / "wrong.json"
    if content is not None:
        path.write_text(content)
    assert main([str(path), str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_an_arm_that_is_not_there_is_named_with_those_that_are(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(file), str(tmp_path / "out"), "--reference", "nobody"]) == 2
    assert "allowed: backprop, hsic_bottleneck, frozen" in capsys.readouterr().err

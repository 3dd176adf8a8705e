"""Best, target and patience."""

from typing import Any

from trainers.scores import Scores
from trainers.spec import Training


def follow(values: list[float], **training: Any) -> Scores:
    scores = Scores(Training(**training))
    for epoch, value in enumerate(values, 1):
        measured = {scores.metric: value}
        scores.add(measured, epoch=epoch, step=10 * epoch, seconds=float(epoch))
        scores.is_best_now(measured, epoch=epoch, step=10 * epoch)
        if scores.should_stop:
            break
    return scores


def test_the_best_epoch_is_the_first_with_the_highest_accuracy() -> None:
    best = follow([0.5, 0.9, 0.9, 0.8]).summary()["best"]
    assert (best["epoch"], best["validation_accuracy"]) == (2, 0.9)


def test_a_loss_is_better_when_it_is_lower() -> None:
    assert follow([0.5, 0.2, 0.3], target_metric="validation_loss").summary()["best"]["epoch"] == 2


def test_the_run_ends_once_the_target_is_reached() -> None:
    summary = follow([0.5, 0.97, 0.99], target_value=0.97).summary()
    assert summary["stopped_early"] == "target"
    assert summary["target"]["reached"]["epoch"] == 2


def test_a_target_that_is_never_reached_is_told_as_such() -> None:
    summary = follow([0.5, 0.6], target_value=0.97).summary()
    assert summary["target"]["reached"] is None
    assert summary["stopped_early"] is None


def test_a_target_reached_within_an_epoch_keeps_its_first_moment() -> None:
    scores = Scores(Training(target_value=0.9))
    scores.see({"validation_accuracy": 0.91}, epoch=0, step=7, seconds=0.5)
    scores.add({"validation_accuracy": 0.95}, epoch=1, step=10, seconds=1.0)
    assert scores.summary()["target"]["reached"]["step"] == 7


def test_patience_ends_a_run_that_no_longer_improves() -> None:
    assert follow([0.5, 0.6, 0.6, 0.55, 0.9], patience=2).summary()["stopped_early"] == "patience"


def test_patience_starts_anew_with_every_improvement() -> None:
    assert follow([0.5, 0.4, 0.6, 0.5, 0.7, 0.6], patience=2).summary()["stopped_early"] is None


def test_restored_scores_stop_where_the_unbroken_ones_do() -> None:
    first = follow([0.5, 0.6, 0.6], patience=2)
    second = Scores(Training(patience=2))
    second.load_state_dict(first.state_dict())
    second.add({"validation_accuracy": 0.6}, epoch=4, step=40, seconds=4.0)
    assert second.stop_reason == "patience"

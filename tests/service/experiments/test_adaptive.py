"""Adaptive seeds: added for all arms until intervals are narrow, by a rule that was fixed beforehand."""

from typing import Any

import numpy as np
import pytest

from service.comparison.statistics import mean_interval
from service.experiments.collecting import collect
from service.experiments.lifecycle import create_experiment, request_cancel
from service.experiments.models import Experiment, Place
from service.experiments.presentation import present
from service.experiments.reporting import report_of
from tests.service.experiments.by_hand import advanced, end_all
from trainers.errors import SpecError

RULE = {"half_width": 0.01, "most": 12, "least": 4, "step": 3}
REQUEST: dict[str, Any] = {
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8]},
    "training": {"epochs": 1},
    "seeds": 4,
    "adaptive_seeds": RULE,
}


def wide(place: Place) -> float:
    """Differences of 0.4 give or take 0.1 in turn: no interval of a dozen is narrow."""
    return 0.9 if place.arm == "backprop" else 0.5 + 0.1 * (-1) ** place.seed


def narrow(place: Place) -> float:
    return 0.9 if place.arm == "backprop" else 0.5 + 0.001 * (-1) ** place.seed


def seeds_of(experiment: Experiment, arm: str) -> list[int]:
    return list(experiment.places.filter(arm=arm).order_by("job_id").values_list("seed", flat=True))


def test_nothing_is_added_before_all_have_ended(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    assert advanced(experiment).jobs.count() == 8
    assert Experiment.objects.get(pk=experiment.pk).looks == []


def test_narrow_intervals_end_it_at_the_first_look(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, narrow)
    told = present(experiment, lambda _: {})
    assert (told["state"], told["sentence"]) == ("running", "8 of 8 jobs have ended. What follows is decided next.")
    experiment = advanced(experiment)
    (look,) = experiment.looks
    assert (look["seeds"], look["narrow"], look["added"]) == (4, True, [])
    assert [width["arm"] for width in look["half_widths"]] == ["frozen"]
    assert present(experiment, lambda _: {})["state"] == "finished"


def test_seeds_are_added_to_every_arm_until_there_are_as_many_as_may_be(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    for seeds in (4, 7, 10, 12):
        assert seeds_of(experiment, "backprop") == seeds_of(experiment, "frozen") == list(range(seeds))
        end_all(experiment, wide)
        experiment = advanced(experiment)
    assert [look["added"] for look in experiment.looks] == [[4, 5, 6], [7, 8, 9], [10, 11], []]
    assert experiment.looks[-1]["narrow"] is False
    told = present(experiment, lambda _: {})
    assert (told["state"], told["phase"], told["progress"]["jobs"]) == ("finished", "extra_seeds", 24)
    assert experiment.request["seeds"] == 4, "posted again, it takes its own looks"


def test_the_half_width_is_that_of_the_report(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, wide)
    (width,) = advanced(experiment).looks[0]["half_widths"]
    interval = mean_interval([wide_difference(seed) for seed in range(4)])
    assert interval.low is not None
    assert interval.high is not None
    assert width["half_width"] == pytest.approx((interval.high - interval.low) / 2)


def wide_difference(seed: int) -> float:
    return 0.5 + 0.1 * (-1) ** seed - 0.9


def test_a_few_narrow_pairs_do_not_end_it(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "seeds": 2})
    end_all(experiment, narrow)
    experiment = advanced(experiment)
    assert experiment.looks[0]["added"] == [2, 3, 4]
    end_all(experiment, narrow)
    assert advanced(experiment).looks[-1]["narrow"] is True


def test_a_diverged_run_counts_at_chance(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, lambda place: None if (place.arm, place.seed) == ("frozen", 0) else 0.5)
    (width,) = advanced(experiment).looks[0]["half_widths"]
    assert width["pairs"] == 4
    interval = mean_interval([0.1 - 0.5, 0, 0, 0])
    assert interval.low is not None
    assert width["half_width"] == pytest.approx(interval.value - interval.low)


def test_a_look_that_was_made_is_not_made_again(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, wide)
    for _ in range(3):
        experiment = advanced(experiment)
    assert (len(experiment.looks), experiment.jobs.count()) == (1, 14)


def test_a_cancelled_experiment_takes_no_further_look(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, wide)
    request_cancel(experiment, by=user)
    experiment = advanced(experiment)
    assert experiment.looks == []
    assert experiment.jobs.count() == 8


def test_the_report_warns_where_seeds_were_added(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, wide)
    report = report_of(experiment, str, "x").json()
    assert not any("Seeds were added" in warning for warning in report["warnings"])
    experiment = advanced(experiment)
    report = report_of(experiment, str, "x").json()
    assert any("Seeds were added" in warning for warning in report["warnings"])


def test_the_rule_and_its_looks_stand_in_the_report(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, narrow)
    said = collect(advanced(experiment), str).provenance
    assert said["adaptive_seeds"].items() >= RULE.items()
    assert "a little too narrow" in said["adaptive_seeds"]["note"]
    assert said["looks_at_the_intervals"][0]["seeds"] == 4


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({**RULE, "most": 4}, "#/adaptive_seeds/most"),
        ({**RULE, "least": 13}, "#/adaptive_seeds/least"),
        ({**RULE, "half_width": 0}, "#/adaptive_seeds/half_width"),
        ({**RULE, "most": 900}, "#/adaptive_seeds/most"),
        ({"most": 20}, "#/adaptive_seeds/half_width"),
        ({**RULE, "stpe": 3}, "#/adaptive_seeds/stpe"),
    ],
)
def test_a_wrong_rule_is_pointed_at(user: Any, rule: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as refused:
        create_experiment(user, {**REQUEST, "adaptive_seeds": rule})
    assert [error.pointer for error in refused.value.errors] == [pointer]


SHAPES = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "uniform": lambda random, shape: random.uniform(-1, 1, shape) * np.sqrt(3),
    "skewed": lambda random, shape: random.gamma(4.0, 0.5, shape) - 2.0,
}


@pytest.mark.parametrize(("shape", "least_covered"), [("normal", 0.925), ("uniform", 0.925), ("skewed", 0.90)])
def test_intervals_at_which_it_stops_still_cover_nearly_as_often_as_they_say(shape: str, least_covered: float) -> None:
    """The price of looking: docs/how-to/compare-algorithms.md states it. Differences have mean 0 and deviation 1."""
    draws = SHAPES[shape](np.random.default_rng(7), (4_000, 40))
    for half_width in (0.35, 0.5, 0.65):
        covered = [_covers_zero(row, half_width) for row in draws]
        assert least_covered <= np.mean(covered) <= 0.96, (half_width, np.mean(covered))


def _covers_zero(differences: Any, half_width: float) -> bool:
    """Ten seeds, then five more at each look, forty at most."""
    for seeds in range(10, 41, 5):
        interval = mean_interval(differences[:seeds])
        assert interval.low is not None
        assert interval.high is not None
        if interval.high - interval.low < 2 * half_width:
            break
    return interval.low <= 0 <= interval.high

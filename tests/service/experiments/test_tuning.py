"""The search: the same number of trials for each algorithm, judged on validation data, its price shown, two tables."""

from typing import Any

import pytest

from service.experiments.collecting import collect
from service.experiments.lifecycle import add_seeds, create_experiment, request_cancel, request_pause, resume
from service.experiments.models import Experiment, Phase, Place
from service.experiments.presentation import present
from service.experiments.reporting import report_of
from service.jobs import descent, lifecycle
from service.jobs.models import Job
from service.jobs.states import State
from tests.service.api.work import claim_next
from tests.service.experiments.by_hand import advanced, end_all, end_next
from trainers.errors import SpecError

REQUEST: dict[str, Any] = {
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8]},
    "training": {"epochs": 1},
    "seeds": 2,
    "tune": {"trials": 3, "seeds": 2},
}


def score(place: Place) -> float:
    """Trial 1 is the best of backprop, trial 2 of frozen; what is tuned scores more."""
    if place.phase == Phase.TUNING:
        best = 1 if place.arm == "backprop" else 2
        return 0.8 + (0.05 if place.trial == best else 0.0) + place.seed % 2 / 1000
    return (0.9 if place.arm == "backprop" else 0.6) + (0.02 if place.tuned else 0.0) + place.seed / 1000


def searched(user: Any, **changes: Any) -> Experiment:
    experiment = create_experiment(user, {**REQUEST, **changes})
    end_all(experiment, score)
    return advanced(experiment)


def test_trials_come_first_as_many_for_each_algorithm_on_seeds_of_their_own(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    places = list(experiment.places.order_by("job_id"))
    assert [place.phase for place in places] == [Phase.TUNING] * 12 + [Phase.MAIN] * 4
    trials = {(place.arm, place.trial, place.seed) for place in places[:12]}
    assert trials == {
        (arm, trial, seed) for arm in ("backprop", "frozen") for trial in range(3) for seed in (1_000_000, 1_000_001)
    }
    rates = {place.job.spec["hyperparameters"]["learning_rate"] for place in places[:12] if place.arm == "frozen"}
    assert len(rates) == 3
    told = present(experiment, lambda _: {})
    assert (told["phase"], told["progress"]["jobs"], told["progress"]["planned"]) == ("tuning", 16, 20)
    assert (told["tuning"]["jobs"], told["tuning"]["counted"], told["tuning"]["best"]) == (12, None, [])


def test_the_best_on_validation_data_goes_into_the_comparison_with_the_same_seeds(user: Any) -> None:
    experiment = searched(user)
    best = {each["arm"]: each["trial"] for each in (experiment.tuning or {})["best"]}
    assert best == {"backprop": 1, "frozen": 2}
    tuned = list(experiment.places.filter(tuned=True).order_by("job_id"))
    assert [(place.arm, place.seed) for place in tuned] == [
        ("backprop", 0),
        ("frozen", 0),
        ("backprop", 1),
        ("frozen", 1),
    ]
    trial = experiment.places.filter(arm="frozen", trial=2).first()
    plain = experiment.places.filter(arm="frozen", phase=Phase.MAIN, tuned=False, seed=0).first()
    assert trial is not None
    assert plain is not None
    mine = tuned[1].job.spec
    assert mine["hyperparameters"] == trial.job.spec["hyperparameters"] != plain.job.spec["hyperparameters"]
    assert {key: mine["training"][key] for key in ("epochs", "seed", "diagnose_every_steps")} == {
        "epochs": 1,
        "seed": 0,
        "diagnose_every_steps": 100,
    }
    assert mine["network"] == plain.job.spec["network"]
    told = present(experiment, lambda _: {})
    assert (told["state"], told["phase"], told["progress"]["planned"]) == ("running", "main", 20)


def test_test_data_play_no_part_in_the_choice(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "tune": {"trials": 3}})
    for _ in range(6):
        lease = claim_next()
        place = Place.objects.get(pk=lease.job)
        result = {"validation_accuracy": 0.5 + (place.trial or 0) / 10, "test_accuracy": 0.9 - (place.trial or 0) / 10}
        lifecycle.succeed(lease, result, progress={}, seconds_trained=1.0)
    experiment = advanced(experiment)
    assert [each["trial"] for each in (experiment.tuning or {})["best"]] == [2, 2]


def test_it_is_chosen_once_however_often_one_looks(user: Any) -> None:
    experiment = searched(user)
    before = experiment.tuning
    experiment = advanced(advanced(experiment))
    assert (experiment.tuning, experiment.jobs.count()) == (before, 20)


def test_both_tables_stand_in_the_report_and_are_never_mixed(user: Any) -> None:
    experiment = searched(user)
    end_all(experiment, score)
    experiment = advanced(experiment)
    assert present(experiment, lambda _: {})["state"] == "finished"
    report = report_of(experiment, str, "x")
    data = report.json()
    assert (data["tuned"], data["default_hyperparameters"]["tuned"]) == (True, False)
    means = [
        {each["arm"]: each["candidate_mean"] for each in table["comparisons"]["accuracy"]}["frozen"]
        for table in (data, data["default_hyperparameters"])
    ]
    assert means == [pytest.approx(0.6205), pytest.approx(0.6005)]
    page = report.html()
    assert 'id="default-hyperparameters"' in page
    assert page.index("default-hyperparameters") < page.index('id="provenance"')
    assert "60.05" in page
    assert "62.05" in page
    text = report.markdown()
    assert "not tuned" in text
    assert text.count("plots/seeds.svg") == 1, "the figures of the tuned table alone, which its links lead to"
    assert report.latex().count("\\begin{table}") == 2
    alone = report_of(experiment, str, "x", table="default").json()
    assert alone["tuned"] is False
    assert "default_hyperparameters" not in alone


def test_its_price_stands_beside_what_it_found(user: Any) -> None:
    experiment = searched(user)
    price = present(experiment, lambda _: {})["tuning"]
    assert (price["seconds"], price["jobs"], price["counted"]) == (12.0, 12, [0, 1, 2])
    assert price["best"][0]["score"] == pytest.approx(0.8505)
    assert price["best"][0]["seconds"] == 6.0
    compared = collect(experiment, str)
    assert compared.provenance["tuning"]["seconds"] == 12.0
    assert [(each.arm, len(each.scores), each.seconds) for each in compared.tuning] == [
        ("backprop", 3, 6.0),
        ("frozen", 3, 6.0),
    ]


def test_a_diverged_trial_scores_chance_and_counts(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, lambda place: None if place.trial == 1 else score(place))
    best = (advanced(experiment).tuning or {})["best"]
    assert [each["trial"] for each in best] == [0, 2]
    assert best[0]["scores"][1] == 0.1


def test_a_lost_trial_counts_for_nobody(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    lost = experiment.places.filter(arm="frozen", trial=2).first()
    assert lost is not None
    lifecycle.request_cancel(lost.job, by=user)
    end_all(experiment, score)
    experiment = advanced(experiment)
    found = experiment.tuning or {}
    assert found["counted"] == [0, 1]
    assert {len(each["scores"]) for each in found["best"]} == {2}


def test_a_lost_trial_that_was_tried_again_in_time_counts(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    lost = experiment.places.filter(arm="frozen", trial=2).first()
    assert lost is not None
    lifecycle.request_cancel(lost.job, by=user)
    descent.retry(Job.objects.get(pk=lost.pk), by=user)
    end_all(experiment, score)
    assert (advanced(experiment).tuning or {})["counted"] == [0, 1, 2]


def test_seconds_end_a_search_at_trials_that_all_have_finished(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "tune": {"trials": 3, "seconds": 4.5}})
    for _ in range(5):
        end_of_next()
    experiment = advanced(experiment)
    assert experiment.places.filter(phase=Phase.TUNING, job__state=State.CANCELLED).count() == 1
    found = experiment.tuning or {}
    assert (found["asked"], found["counted"]) == (3, [0, 1])
    assert experiment.stopped is None
    assert experiment.phase == Phase.MAIN


def end_of_next() -> None:
    lifecycle.succeed(claim_next(), {"validation_accuracy": 0.5}, progress={}, seconds_trained=1.0)


def test_where_no_trial_counts_only_the_defaults_are_compared(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    for place in experiment.places.filter(phase=Phase.TUNING, arm="frozen"):
        lifecycle.request_cancel(place.job, by=user)
    end_all(experiment, score)
    experiment = advanced(advanced(experiment))
    assert (experiment.tuning or {})["best"] == []
    assert present(experiment, lambda _: {})["state"] == "finished"
    assert report_of(experiment, str, "x").json()["tuned"] is False


def test_added_seeds_are_trained_for_both_tables(user: Any) -> None:
    experiment = searched(user)
    end_all(experiment, score)
    experiment = add_seeds(advanced(experiment), {"seeds": [7]})
    added = experiment.places.filter(phase=Phase.EXTRA_SEEDS).order_by("job_id")
    assert [(place.arm, place.tuned) for place in added] == [
        ("backprop", False),
        ("frozen", False),
        ("backprop", True),
        ("frozen", True),
    ]


def test_seeds_added_while_the_search_goes_on_are_trained_for_both_tables_too(user: Any) -> None:
    experiment = add_seeds(create_experiment(user, REQUEST), {"seeds": [7]})
    end_all(experiment, score)
    experiment = advanced(experiment)
    assert experiment.places.filter(tuned=True, seed=7).count() == 2


def test_a_search_that_was_cancelled_begins_no_comparison(user: Any) -> None:
    experiment = create_experiment(user, REQUEST)
    request_cancel(experiment, by=user)
    experiment = advanced(experiment)
    assert (experiment.jobs.count(), experiment.tuning) == (16, None)


def test_a_paused_search_begins_no_comparison_until_it_is_resumed(user: Any, redis_server: str) -> None:
    experiment = create_experiment(user, REQUEST)
    for _ in range(12):
        end_next(score)
    request_pause(experiment, by=user)
    experiment = advanced(experiment)
    assert (experiment.phase, experiment.jobs.count()) == (Phase.TUNING, 16)
    resume(experiment, by=user)
    experiment = advanced(experiment)
    assert (experiment.phase, experiment.jobs.count()) == (Phase.MAIN, 20)


def test_what_the_request_fixes_is_not_searched(user: Any) -> None:
    experiment = create_experiment(user, {**REQUEST, "hyperparameters": {"frozen": {"learning_rate": 0.25}}})
    rates = {place.job.spec["hyperparameters"]["learning_rate"] for place in experiment.places.filter(arm="frozen")}
    assert rates == {0.25}


def test_a_space_of_ones_own_is_searched(user: Any) -> None:
    spaces = {"frozen": {"learning_rate": {"low": 0.5, "high": 0.6}}}
    experiment = create_experiment(user, {**REQUEST, "tune": {"trials": 2, "search_spaces": spaces}})
    tried = experiment.places.filter(arm="frozen", phase=Phase.TUNING)
    assert all(0.5 <= place.job.spec["hyperparameters"]["learning_rate"] <= 0.6 for place in tried)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"tune": {"trials": 1}}, "#/tune/trials"),
        ({"tune": {"trials": 3, "seeds": [1, 5]}}, "#/tune/seeds"),
        ({"tune": {"trials": 3, "seeds": []}}, "#/tune/seeds"),
        ({"tune": {"trials": 3, "trails": 3}}, "#/tune/trails"),
        ({"tune": {"trials": 500}}, "#/tune/trials"),
        ({"tune": {"trials": 3, "search_spaces": {"nobody": {}}}}, "#/tune/search_spaces/nobody"),
        (
            {"tune": {"trials": 3, "search_spaces": {"frozen": {"learning_rat": {"low": 0.1, "high": 0.2}}}}},
            "#/tune/search_spaces/frozen/learning_rat",
        ),
        (
            {"tune": {"trials": 3, "search_spaces": {"frozen": {"learning_rate": {"low": 0.2, "high": 0.1}}}}},
            "#/tune/search_spaces/frozen/learning_rate",
        ),
        (
            {"tune": {"trials": 3, "search_spaces": {"frozen": {"learning_rate": {"low": -2.0, "high": -1.0}}}}},
            "#/tune/search_spaces/frozen/learning_rate",
        ),
        ({"hyperparameter_values": {"frozen": {"learning_rate": [0.1]}}}, "#/tune"),
    ],
)
def test_a_wrong_search_is_pointed_at(user: Any, change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as refused:
        create_experiment(user, {**REQUEST, **change})
    assert {error.pointer for error in refused.value.errors} == {pointer}

"""The page of an experiment: where it stands arm by arm, what its rules did, and buttons that fit its state."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from service.experiments.follow_ups import advance_all
from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment, Phase, Place
from service.jobs.states import State
from tests.service.experiments.by_hand import end_next

REQUEST: dict[str, Any] = {
    "name": "<b>first</b>",
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8]},
    "training": {"epochs": 1},
    "seeds": 2,
}
RULES = {
    "tune": {"trials": 2},
    "adaptive_seeds": {"half_width": 0.001, "most": 3, "least": 2, "step": 1},
    "budget": {"seconds": 1000.0},
}


def page_of(experiment: Experiment) -> str:
    return reverse("admin:experiments_experiment_change", args=[experiment.pk])


def action(experiment: Experiment, name: str) -> str:
    return reverse("admin:experiments_experiment_steer", args=[experiment.pk, name])


@pytest.fixture
def experiment(staff: Any) -> Experiment:
    return create_experiment(staff, REQUEST)


def words(page: str) -> str:
    """The text that people see, its spaces made one."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def score(place: Place) -> float:
    """Backprop scatters little and frozen much, so that no interval is narrow."""
    return 0.9 + place.seed / 100 if place.arm == "backprop" else 0.6 + place.seed % 2 / 10


def test_every_arm_is_shown_with_what_it_has_scored(browser: Client, experiment: Experiment) -> None:
    for _ in range(3):
        end_next(score)
    text = words(browser.get(page_of(experiment)).content.decode())
    assert "75 %, 3 of 4 jobs have ended" in text
    assert re.search(r"backprop digits mlp 8 relu 2 of 2 90\.50% ± 0\.71", text)
    assert re.search(r"frozen digits mlp 8 relu 1 of 2 60\.00%", text)
    assert "Looks at the intervals" not in text


def test_a_name_is_text_and_never_markup(browser: Client, experiment: Experiment) -> None:
    page = browser.get(page_of(experiment)).content.decode()
    assert "<b>first</b>" not in page
    assert "&lt;b&gt;first&lt;/b&gt;" in page


def test_the_live_part_reads_the_api(browser: Client, experiment: Experiment) -> None:
    page = browser.get(page_of(experiment)).content.decode()
    found = re.search(r'data-live="([^"]+)"', page)
    assert found is not None
    live = json.loads(found[1].replace("&quot;", '"'))
    assert browser.get(live["experiment"]).json()["progress"]["jobs"] == 4
    assert f'href="/api/v1/experiments/{experiment.pk}/report?format=html"' in page


def test_what_the_rules_did_is_shown(browser: Client, staff: Any) -> None:
    experiment = create_experiment(staff, {**REQUEST, **RULES})
    seen = []
    while experiment.jobs.filter(state=State.QUEUED).exists():
        end_next(lambda place: 0.7 + (place.trial or 0) / 10 if place.phase == Phase.TUNING else score(place))
        advance_all()
        seen.append(words(browser.get(page_of(experiment)).content.decode()))
    assert "search for hyperparameters" in seen[0]
    assert "and 4 to come" in seen[0]
    text = seen[-1]
    assert "2 trials of each algorithm on each workload, 4 of 4 jobs, 4.0 s of training: its price." in text
    assert re.search(r"frozen digits mlp 8 relu 1 0\.8000", text)
    assert "Seeds are added until every half-width is below 0.001, from 2 to 3 seeds." in text
    assert len(re.findall(r"frozen on digits / mlp 8 relu", text)) == 2
    assert re.search(r"frozen digits mlp 8 relu tuned 3 of 3", text)
    assert "Seconds of training 16.0 of 1,000" in text


def test_an_experiment_is_paused_resumed_and_cancelled(
    browser: Client, experiment: Experiment, redis_server: str
) -> None:
    for name, counts in (("pause", {"paused": 4}), ("resume", {"queued": 4}), ("cancel", {"cancelled": 4})):
        assert action(experiment, name) in browser.get(page_of(experiment)).content.decode()
        assert browser.post(action(experiment, name)).status_code == 302
        states = list(experiment.jobs.values_list("state", flat=True))
        assert {state: states.count(state) for state in states} == counts
    page = browser.get(page_of(experiment)).content.decode()
    assert not any(action(experiment, name) in page for name in ("pause", "resume", "cancel"))


def test_a_move_that_makes_no_sense_is_refused_in_words(browser: Client, experiment: Experiment) -> None:
    assert action(experiment, "resume") not in browser.get(page_of(experiment)).content.decode()
    text = browser.post(action(experiment, "resume"), follow=True).content.decode()
    assert "No job of this experiment is paused." in text
    assert browser.get(action(experiment, "pause")).status_code == 405
    assert browser.post(action(experiment, "explode")).status_code == 404


def test_seeds_are_added_from_the_page(browser: Client, experiment: Experiment, redis_server: str) -> None:
    url = reverse("admin:experiments_experiment_seeds", args=[experiment.pk])
    assert url in browser.get(page_of(experiment)).content.decode()
    assert "2 seeds more" in browser.post(url, {"seeds": "7, 8"}, follow=True).content.decode()
    assert set(experiment.places.values_list("seed", flat=True)) == {0, 1, 7, 8}


@pytest.mark.parametrize(
    ("typed", "said"),
    [("x", "whole numbers"), ("", "at least 1"), ("0", "already in"), ("-1", "greater than or equal to 0")],
)
def test_seeds_that_cannot_be_added_are_refused_in_words(
    browser: Client, experiment: Experiment, typed: str, said: str
) -> None:
    url = reverse("admin:experiments_experiment_seeds", args=[experiment.pk])
    assert said in browser.post(url, {"seeds": typed}, follow=True).content.decode()
    assert experiment.jobs.count() == 4


@pytest.mark.parametrize("pk", ["nonsense", "019a0000-0000-7000-8000-000000000000"])
def test_an_experiment_that_is_not_there_is_not_found(browser: Client, db: None, pk: str) -> None:
    assert browser.get(f"/admin/experiments/experiment/{pk}/change/").status_code == 404


def test_users_who_are_not_staff_do_not_get_in(client: Client, experiment: Experiment) -> None:
    client.force_login(get_user_model().objects.create_user("bob", password="x"))
    assert client.get(page_of(experiment)).status_code == 302
    assert client.post(action(experiment, "cancel")).status_code == 302
    assert not experiment.jobs.filter(state=State.CANCELLED).exists()

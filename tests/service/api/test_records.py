"""What a run leaves behind, over HTTP: curves, events, log, diagnostics, artefacts."""

import pytest

from service.jobs.logs import store_log
from service.jobs.metrics import store_diagnostics, store_metrics
from service.jobs.models import Artefact
from tests.service.api.conftest import Person
from tests.service.api.work import claim_next, measured
from trainers.events import Diagnostics

STEPS = 3_000
SPIKE = 1_234


@pytest.fixture
def path(alice: Person) -> str:
    """A job with two long curves, one with a spike, and one missing value."""
    job = alice.submit()
    values = [
        measured(step, {"train_loss": 100.0 if step == SPIKE else 1 / (1 + step), "train_accuracy": step / STEPS})
        for step in range(STEPS)
    ]
    store_metrics(claim_next(), [*values, measured(STEPS, {"train_loss": float("nan")})])
    return f"jobs/{job['id']}"


def test_a_curve_is_sampled_with_its_spikes_and_ends(alice: Person, path: str) -> None:
    curves = {curve["name"]: curve for curve in alice.get(f"{path}/metrics?points=100").json()["results"]}
    loss, accuracy = curves["train_loss"], curves["train_accuracy"]
    assert (loss["count"], loss["max"]) == (STEPS + 1, 100.0)
    assert len(loss["step"]) == len(loss["value"]) == len(loss["seconds"]) <= 100
    assert max(value for value in loss["value"] if value is not None) == 100.0
    assert (loss["step"][0], loss["step"][-1], loss["value"][-1]) == (0, STEPS, None)
    assert accuracy["step"][-1] == STEPS - 1


def test_a_curve_never_has_more_than_1000_points(alice: Person, path: str) -> None:
    assert all(len(curve["step"]) <= 1000 for curve in alice.get(f"{path}/metrics?points=1000").json()["results"])
    refusal = alice.get(f"{path}/metrics?points=1001")
    assert (refusal.status_code, refusal.json()["errors"][0]["parameter"]) == (400, "points")


def test_curves_are_chosen_by_name_and_followed_by_step(alice: Person, path: str) -> None:
    (curve,) = alice.get(f"{path}/metrics?name=train_accuracy&after_step={STEPS - 6}").json()["results"]
    assert curve["step"] == [STEPS - 5 + number for number in range(5)]
    refusal = alice.get(f"{path}/metrics?name=train_los").json()
    assert "Did you mean 'train_loss'?" in refusal["detail"]


def test_unchanged_curves_are_304(alice: Person, path: str) -> None:
    etag = alice.get(f"{path}/metrics").headers["ETag"]
    assert alice.get(f"{path}/metrics", if_none_match=etag).status_code == 304


def test_summaries_stand_in_the_job_itself(alice: Person, path: str) -> None:
    metric = alice.get(path).json()["metrics"]["train_accuracy"]
    assert (metric["count"], metric["best_step"], metric["best"]) == (STEPS, STEPS - 1, (STEPS - 1) / STEPS)


def test_a_job_that_has_measured_nothing_has_no_curves(alice: Person) -> None:
    job = alice.submit()
    assert alice.get(f"jobs/{job['id']}/metrics?name=train_loss").json() == {"results": []}


def test_events_are_read_on_from_the_last_one(alice: Person) -> None:
    path = f"jobs/{alice.submit()['id']}"
    alice.post(f"{path}/pause")
    first = alice.get(f"{path}/events?limit=1").json()
    assert [event["data"]["state"] for event in first["results"]] == ["queued"]
    rest = alice.get(f"{path}/events?after={first['next_after']}").json()
    assert [event["data"]["state"] for event in rest["results"]] == ["paused"]
    nothing = alice.get(f"{path}/events?after={rest['next_after']}").json()
    assert nothing == {"next_after": rest["next_after"], "results": []}


def test_the_log_is_read_from_its_start_or_its_end(alice: Person) -> None:
    path = f"jobs/{alice.submit()['id']}/logs"
    store_log(claim_next(), 1, [f"line {number}" for number in range(1, 8)])
    start = alice.get(f"{path}?limit=2").json()
    assert [line["text"] for line in start["results"]] == ["line 1", "line 2"]
    assert alice.get(f"{path}?limit=1&after={start['next_after']}").json()["results"][0]["number"] == 3
    end = alice.get(f"{path}?limit=2&end=last").json()
    assert [line["number"] for line in end["results"]] == [6, 7]


@pytest.mark.parametrize("query", ["after=-1", "after=9999999999999999999999", "limit=0", "limit=x", "end=middle"])
def test_wrong_parameters_of_a_log_are_named(alice: Person, query: str) -> None:
    answer = alice.get(f"jobs/{alice.submit()['id']}/logs?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == query.split("=")[0]


def test_diagnostics_are_thinned_evenly_and_keep_the_newest(alice: Person) -> None:
    path = f"jobs/{alice.submit()['id']}/diagnostics"
    point = {"epoch": 0, "passes": 0, "samples": 0, "seconds": 0.0}
    rows = [Diagnostics(step=step, layers=[{"layer": "layer1", "dead": 0.5}], **point) for step in range(0, 1000, 10)]
    store_diagnostics(claim_next(), rows)
    steps = [row["step"] for row in alice.get(f"{path}?points=4").json()["results"]]
    assert steps == [0, 330, 660, 990]
    (newest,) = alice.get(f"{path}?after_step=980").json()["results"]
    assert newest["layers"] == [{"layer": "layer1", "dead": 0.5}]


def test_artefacts_are_listed_and_fetched(alice: Person, bob: Person) -> None:
    job = alice.submit()
    for name, media_type, content in (("plots/a b.png", "image/png", b"\x89PNG"), ("x.html", "text/html", b"<script>")):
        Artefact.objects.create(job_id=job["id"], name=name, media_type=media_type, description="d", content=content)
    plot, page = alice.get(f"jobs/{job['id']}/artefacts").json()["results"]
    answer = alice.get(plot["content_url"])
    assert (answer.content, answer.headers["Content-Type"]) == (b"\x89PNG", "image/png")
    assert bob.get(plot["content_url"]).status_code == 404
    assert alice.get(f"jobs/{job['id']}/artefacts/none.png").status_code == 404
    script = alice.get(page["content_url"])
    assert script.headers["Content-Type"] == "application/octet-stream"
    assert script.headers["Content-Disposition"].startswith("attachment")

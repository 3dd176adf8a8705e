"""Any jobs side by side: what differs, their figures, their curves; and what cannot be compared is said."""

from typing import Any

import pytest

from service.jobs import lifecycle
from service.jobs.metrics import store_metrics
from service.jobs.states import Reason
from tests.service.api.conftest import Person
from tests.service.api.work import claim_next, measured

COST = {"training_seconds": 2.0, "training_flops": 2.56e6, "flops_per_sample": 100.0}


def train_next(accuracies: list[float | None], seconds: float = 2.0) -> None:
    """The next job, as a worker ends it: an evaluation every 100 steps."""
    lease = claim_next()
    points = [measured(100 * place, {"validation_accuracy": value}) for place, value in enumerate(accuracies, 1)]
    store_metrics(lease, points)
    result = {
        "samples": 128 * 100 * len(points),
        "parameters": 1210,
        "compute_cost": {**COST, "training_seconds": seconds},
    }
    lifecycle.succeed(lease, result, progress={"fraction": 1.0}, seconds_trained=seconds)


def compare(person: Person, *ids: str, more: str = "") -> dict[str, Any]:
    answer = person.get(f"comparisons?jobs={','.join(ids)}{more}")
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def test_jobs_stand_side_by_side(alice: Person) -> None:
    first = alice.submit(name="one", network={"hidden": [8]}, training={"seed": 1})["id"]
    second = alice.submit(name="two", network={"hidden": [8, 8]}, training={"seed": 1, "batch_size": 64})["id"]
    train_next([0.5, 0.8])
    train_next([0.6, 0.9, None], seconds=5.0)
    found = compare(alice, second, first)
    assert [(job["label"], job["state"]) for job in found["jobs"]] == [("two", "succeeded"), ("one", "succeeded")]
    assert alice.get(found["jobs"][0]["url"]).json()["id"] == second
    assert found["differences"] == [
        {"pointer": "/network/hidden", "values": {second: [8, 8], first: [8]}},
        {"pointer": "/training/batch_size", "values": {second: 64, first: 128}},
    ]
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert figures["validation_accuracy"]["values"] == {second: None, first: 0.8}
    assert figures["training_seconds"] == {
        "name": "training_seconds",
        "unit": "s",
        "better": "lower",
        "values": {second: 5.0, first: 2.0},
        "best": [first],
    }
    assert figures["parameters"]["best"] == []
    (curve,) = found["curves"]
    by_job = {series["job"]: series for series in curve["series"]}
    assert by_job[first] == {
        "job": first,
        "count": 2,
        "epoch": [1.0, 2.0],
        "step": [100, 200],
        "seconds": [10.0, 20.0],
        "flops": [1.28e6, 2.56e6],
        "value": [0.5, 0.8],
    }
    assert by_job[second]["value"] == [0.6, 0.9, None]
    assert found["notes"] == []


def test_jobs_that_have_not_ended_or_went_wrong_are_shown_as_such(alice: Person) -> None:
    running, failed, waiting = (alice.submit(name=name)["id"] for name in ("running", "failed", "waiting"))
    store_metrics(claim_next(), [measured(100, {"validation_accuracy": 0.4})])
    lifecycle.fail(claim_next(), Reason.DIVERGED, "It diverged at step 7.", seconds_trained=1.0)
    found = compare(alice, running, failed, waiting)
    assert [(job["state"], job["has_ended"]) for job in found["jobs"]] == [
        ("running", False),
        ("failed", True),
        ("queued", False),
    ]
    figures = {figure["name"]: figure["values"] for figure in found["figures"]}
    assert figures["validation_accuracy"] == {running: 0.4, failed: None, waiting: None}
    (curve,) = found["curves"]
    assert [(series["job"], series["flops"]) for series in curve["series"]] == [(running, None)]
    assert found["notes"] == [
        "running is running: its figures are those of its last evaluation so far.",
        "failed has failed: It diverged at step 7.",
        "waiting is queued and has measured nothing yet.",
    ]


def test_other_data_and_other_tasks_are_said_and_nothing_is_best(alice: Person) -> None:
    digits = alice.submit(name="a")["id"]
    mnist = alice.submit(name="b", dataset="mnist")["id"]
    store_metrics(claim_next(), [measured(100, {"validation_accuracy": 0.4})])
    store_metrics(claim_next(), [measured(100, {"validation_perplexity": 3.0})])
    found = compare(alice, digits, mnist)
    assert any("different data (digits, mnist)" in note for note in found["notes"])
    assert any("no curve in common" in note for note in found["notes"])
    assert all(figure["better"] is None and figure["best"] == [] for figure in found["figures"])


def test_labels_are_all_different(alice: Person) -> None:
    same = [alice.submit(name="same", training={"seed": seed})["id"] for seed in (1, 2, 2)]
    labels = [job["label"] for job in compare(alice, *same)["jobs"]]
    assert labels[0] == "same, seed 1"
    assert len(set(labels)) == 3
    assert labels[2].endswith(same[2][-6:])


def test_curves_are_chosen_and_sampled_with_their_spikes(alice: Person) -> None:
    ids = [alice.submit()["id"] for _ in range(2)]
    for _ in ids:
        lease = claim_next()
        spiky = [measured(step, {"train_loss": 99.0 if step == 250 else 1.0, "other": 0.0}) for step in range(1, 501)]
        store_metrics(lease, spiky)
    found = compare(alice, *ids, more="&name=train_loss&points=30")
    (curve,) = found["curves"]
    assert curve["name"] == "train_loss"
    for series in curve["series"]:
        assert (series["count"], max(series["value"])) == (500, 99.0)
        assert len(series["step"]) <= 30
        assert {len(series[axis]) for axis in ("epoch", "seconds", "value")} == {len(series["step"])}
    refused = alice.get(f"comparisons?jobs={','.join(ids)}&name=train_los")
    assert refused.status_code == 400
    assert "'train_loss'" in refused.json()["detail"]


def test_a_poll_that_brings_nothing_new_is_304(alice: Person) -> None:
    ids = ",".join(alice.submit()["id"] for _ in range(2))
    etag = alice.get(f"comparisons?jobs={ids}").headers["ETag"]
    assert alice.get(f"comparisons?jobs={ids}", if_none_match=etag).status_code == 304


UNKNOWN = "019a0000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("", "got 0"),
        ("{id}", "got 1"),
        ("{id},{id}", "twice"),
        ("{id},nonsense", "'nonsense' is no id"),
        ("{id}," + UNKNOWN, f"no job {UNKNOWN} that you may see"),
        (",".join([UNKNOWN] * 51), "got 51"),
    ],
)
def test_what_cannot_be_compared_is_refused(alice: Person, sent: str, said: str) -> None:
    answer = alice.get("comparisons?jobs=" + sent.replace("{id}", alice.submit()["id"]))
    assert answer.status_code == 400
    problem = answer.json()
    assert said in problem["detail"]
    assert {error["parameter"] for error in problem["errors"]} == {"jobs"}


def test_jobs_must_be_named(alice: Person) -> None:
    answer = alice.get("comparisons")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "jobs"


def test_somebody_elses_job_is_as_unknown_as_none(alice: Person, bob: Person, staff: Person, stranger: Person) -> None:
    mine, his = alice.submit()["id"], bob.submit()["id"]
    answer = alice.get(f"comparisons?jobs={mine},{his}")
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"There is no job {his} that you may see."
    assert len(compare(staff, mine, his)["jobs"]) == 2
    assert stranger.get(f"comparisons?jobs={mine},{his}").status_code == 401


def test_a_curve_of_all_jobs_is_drawn(alice: Person, bob: Person) -> None:
    ids = ",".join(alice.submit(name=name)["id"] for name in ("<b>one</b>", "two $x$"))
    train_next([0.5, 0.8])
    train_next([0.6, None])
    drawn = alice.get(f"comparisons/plots/validation_accuracy.svg?jobs={ids}&axis=flops")
    assert drawn.status_code == 200, drawn.content
    assert drawn.headers["Content-Type"] == "image/svg+xml"
    assert "default-src 'none'" in drawn.headers["Content-Security-Policy"]
    assert b"<b>" not in drawn.content
    assert alice.get(f"comparisons/plots/validation_accuracy.png?jobs={ids}").content.startswith(b"\x89PNG")
    for unknown in ("nothing.svg", "validation_accuracy.pdf", "validation_accuracy"):
        assert alice.get(f"comparisons/plots/{unknown}?jobs={ids}").status_code == 404, unknown
    assert alice.get(f"comparisons/plots/validation_accuracy.svg?jobs={ids}&axis=passes").status_code == 400
    assert bob.get(f"comparisons/plots/validation_accuracy.svg?jobs={ids}").status_code == 400


def test_what_no_job_knows_yet_is_not_drawn(alice: Person) -> None:
    ids = ",".join(alice.submit()["id"] for _ in range(2))
    store_metrics(claim_next(), [measured(100, {"validation_accuracy": 0.4})])
    assert alice.get(f"comparisons/plots/validation_accuracy.svg?jobs={ids}").status_code == 200
    refused = alice.get(f"comparisons/plots/validation_accuracy.svg?jobs={ids}&axis=flops")
    assert refused.status_code == 404
    assert "against flops" in refused.json()["detail"]

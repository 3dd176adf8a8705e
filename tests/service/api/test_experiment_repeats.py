"""An experiment once more, and as a file: over HTTP, for its owner alone."""

import io
import json
import zipfile
from typing import Any

from service.experiments.models import Experiment
from service.jobs import lifecycle
from tests.service.api.conftest import Person
from tests.service.api.work import claim_next

BODY: dict[str, Any] = {
    "name": "small",
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8]},
    "training": {"epochs": 1},
    "seeds": 1,
}


def start(person: Person) -> dict[str, Any]:
    answer = person.post("experiments", BODY)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def test_a_rerun_is_a_new_experiment_that_names_its_parent(alice: Person) -> None:
    origin = start(alice)
    assert origin["parent"] is None
    answer = alice.post(f"experiments/{origin['id']}/rerun")
    assert answer.status_code == 201
    again = answer.json()
    assert answer.headers["Location"] == again["url"]
    assert (again["parent"], again["request"], again["state"]) == (origin["id"], origin["request"], "running")
    assert alice.get(again["url"]).json()["parent"] == origin["id"]
    listed = {each["id"]: each["parent"] for each in alice.get("experiments").json()["results"]}
    assert listed == {origin["id"]: None, again["id"]: origin["id"]}
    jobs = alice.get(again["jobs_url"]).json()["results"]
    first = {job["id"] for job in alice.get(origin["jobs_url"]).json()["results"]}
    assert {job["parent"] for job in jobs} == first


def test_the_same_key_reruns_once(alice: Person) -> None:
    id = start(alice)["id"]
    first, second = (alice.post(f"experiments/{id}/rerun", idempotency_key="again") for _ in range(2))
    assert first.json() == second.json()
    assert Experiment.objects.count() == 2


def test_the_bundle_comes_piece_by_piece_as_one_zip(alice: Person) -> None:
    id = start(alice)["id"]
    answer = alice.get(f"experiments/{id}/bundle")
    assert answer.status_code == 200
    assert answer.streaming
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="experiment-{id}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.getvalue())) as archive:
        assert json.loads(archive.read(f"experiment-{id}/request.json")) == Experiment.objects.get(pk=id).request
        assert f"experiment-{id}/report.html" not in archive.namelist(), "nothing has ended yet"
    for accuracy in (0.9, 0.5):
        result = {"test_accuracy": accuracy, "validation_accuracy": accuracy}
        lifecycle.succeed(claim_next(), result, progress={"fraction": 1.0}, seconds_trained=1.0)
    with zipfile.ZipFile(io.BytesIO(alice.get(f"experiments/{id}/bundle").getvalue())) as archive:
        made = json.loads(archive.read(f"experiment-{id}/report.json"))
        assert made == alice.get(f"experiments/{id}/report").json()
    assert alice.send("HEAD", f"experiments/{id}/bundle").content == b""


def test_somebody_elses_is_as_unknown_as_none(alice: Person, bob: Person, stranger: Person) -> None:
    id = start(alice)["id"]
    assert bob.get(f"experiments/{id}/bundle").status_code == 404
    assert bob.post(f"experiments/{id}/rerun").status_code == 404
    assert stranger.post(f"experiments/{id}/rerun").status_code == 401
    assert alice.get("experiments/nonsense/bundle").status_code == 404


def test_staff_reruns_what_is_somebody_elses_as_its_own(alice: Person, staff: Person) -> None:
    id = start(alice)["id"]
    again = staff.post(f"experiments/{id}/rerun").json()
    assert (again["owner"], again["parent"]) == ("carol", id)
    assert alice.get(f"experiments/{again['id']}").status_code == 404


def test_the_report_says_by_which_code_and_specs_it_was_made(alice: Person) -> None:
    id = start(alice)["id"]
    stamp = {"altprop": "0.1.0", "commit": "0123abcd" * 5, "modified": False, "torch": "2.13.0"}
    for accuracy in (0.9, 0.5):
        result = {"test_accuracy": accuracy, "software": stamp, "machine": {"device": "cpu"}}
        result["dataset"] = {"name": "digits", "sha256": "e34d" * 16}
        lifecycle.succeed(claim_next(), result, progress={"fraction": 1.0}, seconds_trained=1.0)
    provenance = alice.get(f"experiments/{id}/report").json()["provenance"]
    assert provenance["software"] == [stamp]
    assert provenance["report_software"]["requirements_lock_sha256"]
    assert [(each["algorithm"], each["seeds"]) for each in provenance["specs"]] == [("backprop", [0]), ("frozen", [0])]
    assert "seed" not in provenance["specs"][0]["training"]
    for kind in ("html", "markdown"):
        text = alice.get(f"experiments/{id}/report?format={kind}").content.decode()
        for said in ("0123abcd" * 5, "e34d" * 16, "2.13.0"):
            assert said in text, (kind, said)

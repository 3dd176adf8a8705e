"""A 201 is durable: what the API has answered survives its death, and what it has not answered is all or nothing."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.contrib.auth import get_user_model

from service.accounts.tokens import make_token
from service.jobs.models import Job
from tests.chaos.conftest import SPEC, assert_same_run
from tests.chaos.engine import Engine
from tests.chaos.gates import MOMENTS, closed

pytestmark = pytest.mark.xdist_group("chaos")  # one engine, whatever the number of workers

PATIENCE = 60.0  # the first request waits while the registry of algorithms is loaded


class Caller:
    """Posts the usual spec, as a client does."""

    def __init__(self, engine: Engine, token: str) -> None:
        self.engine = engine
        self.headers = {"Authorization": f"Token {token}"}

    def post(self, **headers: str) -> httpx.Response:
        address = self.engine.serve() + "jobs"
        body: dict[str, Any] = SPEC.model_dump(mode="json")
        return httpx.post(address, json=body, headers={**self.headers, **headers}, timeout=PATIENCE, trust_env=False)


@pytest.fixture
def caller(engine: Engine) -> Iterator[Caller]:
    yield Caller(engine, make_token(get_user_model().objects.get())[1])
    engine.serve_no_more()


def posted(answer: httpx.Response) -> Job:
    assert answer.status_code == 201, answer.text
    return Job.objects.get(pk=answer.json()["id"])


@pytest.mark.parametrize(
    "moment", ["claimed", *(pytest.param(moment, marks=pytest.mark.slow) for moment in MOMENTS if moment != "claimed")]
)
def test_a_job_that_was_answered_with_201_ends_without_its_api(
    engine: Engine, caller: Caller, undisturbed: Job, moment: str
) -> None:
    with closed(moment, engine.postgres.url) as reached:
        job = posted(caller.post())
        reached()
        engine.kill("api")
    assert_same_run(engine.wait_for_end(job), undisturbed)


@pytest.mark.slow
def test_a_request_cut_off_before_its_answer_may_be_sent_again(
    engine: Engine, caller: Caller, undisturbed: Job
) -> None:
    before = Job.objects.count()
    key = {"Idempotency-Key": "sent-again"}
    engine.serve()
    with ThreadPoolExecutor(1) as other:
        with closed("posted", engine.postgres.url) as reached:
            answer: Future[httpx.Response] = other.submit(caller.post, **key)
            reached()
            engine.kill("api")
        with pytest.raises(httpx.TransportError):
            answer.result()
    job = posted(caller.post(**key))
    assert posted(caller.post(**key)) == job
    assert Job.objects.count() == before + 1
    assert_same_run(engine.wait_for_end(job), undisturbed)

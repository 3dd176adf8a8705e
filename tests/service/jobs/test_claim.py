"""Which job a worker gets, and that no other gets it too."""

import datetime
import re
import threading
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from service.jobs import dispatch
from service.jobs.models import Job
from service.jobs.presence import Identity
from service.jobs.queue import Capacity, claim, explain
from service.jobs.states import State

WORKER = Identity.new("cpu-1", cores=2)
HOUR = datetime.timedelta(hours=1)


def capacity(**changes: Any) -> Capacity:
    worker = WORKER.capacity
    return Capacity(**{name: changes.get(name, getattr(worker, name)) for name in Capacity.__slots__})


def claimed(**changes: Any) -> Job | None:
    found = claim(capacity(**changes))
    return found[0] if found else None


@pytest.mark.django_db
def test_a_claim_takes_the_job_and_says_so(make_job: Any) -> None:
    made = make_job(training={"threads": None, "device": "auto"})
    found = claim(capacity())
    assert found is not None
    job, lease = found
    stored = Job.objects.get(pk=made.pk)
    assert (stored.state, stored.attempt, stored.worker) == (State.RUNNING, 1, WORKER.id)
    assert (lease.job, lease.attempt, lease.worker) == (made.pk, 1, WORKER.id)
    assert (stored.device, stored.threads) == ("cpu", 2)
    assert stored.spec["training"]["device"] == "cpu"
    assert stored.spec["training"]["threads"] == 2
    assert job.spec == stored.spec
    assert [t.target for t in made.transitions.all()] == ["queued", "running"]
    assert made.events.order_by("-id")[0].data["sentence"] == "Training on worker cpu-1."
    assert claim(capacity()) is None


@pytest.mark.django_db
def test_priority_goes_before_age_and_age_before_chance(make_job: Any) -> None:
    late, early, urgent = make_job(), make_job(), make_job(priority=1)
    Job.objects.filter(pk=early.pk).update(queued_at=Now() - HOUR)
    assert [claimed().pk for _ in range(3)] == [urgent.pk, early.pk, late.pk]  # type: ignore[union-attr]


@pytest.mark.django_db
def test_of_several_queues_the_first_job_of_all_is_taken(make_job: Any) -> None:
    mine, other = make_job(queue="mine"), make_job(queue="other", priority=5)
    foreign = make_job(queue="foreign", priority=9)
    both = {"queues": ("mine", "other")}
    assert claimed(**both).pk == other.pk  # type: ignore[union-attr]
    assert claimed(**both).pk == mine.pk  # type: ignore[union-attr]
    assert claimed(**both) is None
    assert claimed(queues=("foreign",)).pk == foreign.pk  # type: ignore[union-attr]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("training", "options"),
    [({"device": "cuda"}, {"queue": "cpu"}), ({"threads": 8}, {}), ({}, {"not_before": datetime.datetime.max})],
)
def test_a_job_that_a_worker_cannot_honour_is_left_alone(make_job: Any, training: Any, options: Any) -> None:
    if "not_before" in options:
        options = {"not_before": datetime.datetime.now(datetime.UTC) + HOUR}
    job = make_job(training=training, **options)
    assert claimed() is None
    Job.objects.filter(pk=job.pk).update(not_before=Now() - HOUR)
    assert claimed(device=job.device or "cpu", cores=8).pk == job.pk  # type: ignore[union-attr]


@pytest.mark.django_db
def test_a_waiting_queue_is_rung_once_and_a_sleeping_job_is_not(make_job: Any) -> None:
    for queue in ("cpu", "cpu", "named"):
        make_job(queue=queue)
    make_job(queue="later", not_before=datetime.datetime.now(datetime.UTC) + HOUR)
    assert dispatch.waiting_queues() == ["cpu", "named"]


def multiply(job: Job, count: int) -> None:
    """So many jobs like this one, itself included."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO jobs_job (id, owner_id, name, tags, priority, queue, spec, algorithm, dataset, state, reason,
                                  sentence, attempt, failures, max_failures, worker_name, seconds_trained)
            SELECT gen_random_uuid(), owner_id, name, tags, priority, queue, spec, algorithm, dataset, state, reason,
                   sentence, attempt, failures, max_failures, worker_name, seconds_trained
            FROM jobs_job, generate_series(2, %s) WHERE id = %s
            """,
            [count, job.pk],
        )


@pytest.mark.django_db
def test_a_claim_reads_one_job_off_its_index_however_many_wait(make_job: Any) -> None:
    multiply(make_job(), 3_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_job")
    plan = explain(capacity())
    assert "jobs_job_claim" in plan
    assert "Seq Scan on jobs_job" not in plan
    assert not re.search(r"actual rows=\d{2,}", plan), plan  # at no place of the plan are there many
    assert Job.objects.filter(state="queued").count() == 3_000  # nothing was claimed by looking


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_race_never_get_the_same_job(make_job: Any) -> None:
    first = make_job()
    count = 1_000
    multiply(first, count)
    got: list[list[object]] = [[], []]
    start = threading.Barrier(2)

    def work(number: int) -> None:
        mine = Identity.new(f"cpu-{number}", cores=2).capacity
        start.wait()
        while (found := claim(mine)) is not None:
            got[number].append(found[0].pk)
        connection.close()

    workers = [threading.Thread(target=work, args=[number]) for number in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(got[0]) + len(got[1]) == count
    assert len({*got[0], *got[1]}) == count
    assert min(map(len, got)) > 0
    assert set(Job.objects.values_list("state", "attempt")) == {("running", 1)}

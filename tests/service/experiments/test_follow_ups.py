"""What follows is done once, by whoever comes first, and wholly or not at all."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from service.celery import app
from service.experiments import follow_ups, tasks, tuning
from service.experiments.follow_ups import advance, advance_all
from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.jobs import lifecycle
from tests.service.api.work import claim_next
from tests.service.experiments.by_hand import end_all
from tests.service.experiments.test_tuning import REQUEST, score

ROOT = Path(__file__).parents[3]
AFTER = 20
"""Jobs once the search has ended: 12 trials, and the comparison of 4 twice."""


def with_search_ended(user: Any) -> Experiment:
    experiment = create_experiment(user, REQUEST)
    end_all(experiment, score)
    return experiment


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_begin_the_next_phase_once(user: Any, redis_server: str) -> None:
    experiment = with_search_ended(user)
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5):
            advance(experiment.pk)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert experiment.jobs.count() == AFTER


@pytest.mark.django_db(transaction=True)
def test_one_that_somebody_else_holds_is_left_to_them(user: Any, redis_server: str) -> None:
    experiment = with_search_ended(user)
    answers = []
    with transaction.atomic():
        Experiment.objects.select_for_update(no_key=True).get(pk=experiment.pk)

        def try_it() -> None:
            answers.append(advance(experiment.pk))
            connections.close_all()

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join(timeout=20)
    assert answers == [False]
    assert advance(experiment.pk)
    assert experiment.jobs.count() == AFTER


KILLED_HALF_WAY = """
import os, signal, sys
import django
django.setup()
from service.experiments import lifecycle
from service.experiments.follow_ups import advance
made = lifecycle.JobMaker.make
def dies_at_the_second(self, *args, **keywords):
    if len(self.made) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(self, *args, **keywords)
lifecycle.JobMaker.make = dies_at_the_second
advance(sys.argv[1])
"""


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_half_way_has_changed_nothing(user: Any, service_environment: dict[str, str]) -> None:
    experiment = with_search_ended(user)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_HALF_WAY, str(experiment.pk)], cwd=ROOT, env=service_environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    row = Experiment.objects.get(pk=experiment.pk)
    assert (row.phase, row.tuning, row.jobs.count()) == ("tuning", None, 16)
    assert advance(experiment.pk)
    assert experiment.jobs.count() == AFTER


def test_the_others_go_on_where_one_cannot(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, whole = create_experiment(user, REQUEST), create_experiment(user, REQUEST)
    for experiment in (broken, whole):
        end_all(experiment, score)
    choose = tuning.choose

    def fails(experiment: Experiment) -> None:
        if experiment.pk == broken.pk:
            raise ValueError("a row that nobody foresaw")
        choose(experiment)

    monkeypatch.setattr(tuning, "choose", fails)
    advance_all()
    assert (broken.jobs.count(), whole.jobs.count()) == (16, AFTER)


def test_what_is_settled_is_not_looked_at_again(user: Any) -> None:
    plain = {key: value for key, value in REQUEST.items() if key != "tune"}
    experiment = create_experiment(user, plain)
    assert experiment.settled_at is not None
    with CaptureQueriesContext(connection) as queries:
        assert advance_all() == 0
    assert len(queries) == 1


def test_the_end_of_a_job_rings_the_maintenance_worker_once_it_is_committed(
    user: Any, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(app, "send_task", lambda name, **_: rung.append(name))
    with django_capture_on_commit_callbacks(execute=True):
        create_experiment(user, REQUEST)
    rung.clear()
    lease = claim_next()
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.succeed(lease, {"validation_accuracy": 0.5}, progress={}, seconds_trained=1.0)
        assert rung == []
    assert rung == [tasks.advance.name]


def test_many_jobs_that_end_together_ring_once(
    user: Any, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    experiment = create_experiment(user, REQUEST)
    with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
        for job in experiment.jobs:
            lifecycle.request_cancel(job, by=user)
    assert callbacks.count(tasks.ring) == 1


def test_a_broker_that_is_away_is_no_error(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(app, "send_task", away)
    assert tasks.ring() is False
    assert "connection refused" in caplog.text


def test_beat_rings_it_too() -> None:
    """In the process that runs beat, every module of tasks is loaded before the schedule is read."""
    code = (
        "from service.celery import app; app.loader.init_worker(); app.finalize();"
        "entry = app.conf.beat_schedule['advance experiments'];"
        "print(entry['task'], entry['options']['queue'], entry['options']['expires'] == entry['schedule']);"
        "import sys; print('torch' in sys.modules)"
    )
    environment = {**os.environ, "DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [tasks.advance.name, "maintenance", "True", "False"]


def test_a_database_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> int:
        raise OperationalError("it is away")

    monkeypatch.setattr(follow_ups, "advance_all", away)
    tasks.advance()
    assert "it is away" in caplog.text


def test_the_next_phases_need_neither_torch_nor_the_registry() -> None:
    """The maintenance worker never pays for it."""
    code = (
        "import os, sys; os.environ.update(DJANGO_SETTINGS_MODULE='service.settings', SECRET_KEY='x');"
        "import django; django.setup();"
        "import service.experiments.follow_ups, service.experiments.collecting;"
        "from service.comparison.measures import final_score; from service.comparison.statistics import mean_interval;"
        "print('torch' in sys.modules, 'trainers.registry' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]

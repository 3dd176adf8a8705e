"""What the stack starts: which queues and devices the workers serve, and how light a Celery process is."""

import os
import subprocess
import sys

import pytest

from service.local_stack import devices, programs

from .conftest import PROJECT

GPUS = ["GPU-aaaa", "GPU-abbb", "GPU-cccc"]


def test_cpu_workers_serve_the_cpu_queue_and_see_no_gpu() -> None:
    first, second = programs.workers(2, [])
    assert (first.name, second.name) == ("cpu-1", "cpu-2")
    for worker in (first, second):
        assert worker.command[worker.command.index("-Q") + 1] == "cpu"
        assert worker.environment["ALTPROP_WORKER_NAME"] == worker.name
        assert worker.environment["ALTPROP_WORKERS_ON_MACHINE"] == "2"
        assert worker.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_gpu_workers_are_spread_over_the_gpus_by_uuid() -> None:
    workers = programs.workers(4, GPUS)
    assert [worker.name for worker in workers] == ["gpu-1", "gpu-2", "gpu-3", "gpu-4"]
    assert [worker.environment["CUDA_VISIBLE_DEVICES"] for worker in workers] == [*GPUS, GPUS[0]]
    assert all(worker.command[worker.command.index("-Q") + 1] == "gpu" for worker in workers)


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        (None, GPUS),
        ("", []),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-ab", ["GPU-abbb"]),
        ("0,7,1", ["GPU-aaaa"]),
        ("-1", []),
    ],
)
def test_cuda_visible_devices_narrows_the_gpus_as_it_does_for_cuda(visible: str | None, left: list[str]) -> None:
    assert devices.visible_devices(GPUS, visible) == left


def test_a_celery_process_loads_neither_torch_nor_the_urlconf() -> None:
    script = (
        "import sys, django; from service.celery import app; django.setup(); app.loader.import_default_modules();"
        "print([name for name in ('torch', 'service.urls') if name in sys.modules])"
    )
    environment = {**os.environ, **programs.python_environment(), **programs.maintenance().environment}
    loaded = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=PROJECT, capture_output=True, text=True
    )
    assert loaded.stdout == "[]\n", loaded.stderr


def test_a_periodic_message_is_worthless_once_the_next_is_due() -> None:
    script = (
        "from service.celery import app\n"
        "for entry in app.conf.beat_schedule.values():\n"
        "    assert entry['options'] == {'queue': 'maintenance', 'expires': entry['schedule']}, entry\n"
        "print(*app.conf.beat_schedule)"
    )
    environment = {**os.environ, **programs.python_environment()}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, cwd=PROJECT, capture_output=True, text=True)
    assert {"dispatch", "reap", "retain"} <= set(shown.stdout.split()), shown.stderr

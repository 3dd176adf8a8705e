"""`make demo`: the whole service, started, used as a user would over HTTP, and stopped.

Three jobs (three seeds) are posted, followed live, and shown as a table; then a checkpoint is fetched over HTTP and
scored outside the service by `python -m trainers evaluate`. Everything lies in a temporary folder.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from client import Client
from service.local_stack.folders import temporary_folder
from service.local_stack.ports import free_port
from service.local_stack.stack import LocalStack

SEEDS = (1, 2, 3)
MNIST_EPOCHS, DIGITS_EPOCHS = 5, 30
FOLLOW_SECONDS = 600


class DemoFailed(Exception):
    """Something did not come out as it should; the message says what."""


def run_demo(console: Console) -> None:
    """All of it. Raises DemoFailed, StackError."""
    with temporary_folder("altprop-demo-") as folder:
        console.print("Starting PostgreSQL, Redis, API, workers …")
        log: list[str] = []
        with LocalStack(folder / "stack", port=free_port(None), workers=2, device="auto", write=log.append) as stack:
            console.print(f"Ready: {stack.url}/api/v1/docs and {stack.url}/admin/ while this runs.")
            with Client(stack.url, stack.credentials["token"]) as client:
                jobs = train(client, console)
                show(jobs, console)
                check_checkpoint(client, jobs[0], folder, console)
            console.print("Stopping …")
    console.print("Everything is stopped. `make up` starts a service that stays.")


def train(client: Client, console: Console) -> list[dict[str, Any]]:
    """The jobs of all seeds on MNIST, or on digits where MNIST cannot be had, in their final states."""
    jobs = train_on(client, console, "mnist", MNIST_EPOCHS, SEEDS[:1])
    if jobs[0]["reason"] == "dataset_unavailable":
        console.print(f"MNIST is not here: {jobs[0]['sentence']}", highlight=False)
        console.print("Training on [bold]digits[/bold] instead: 1,797 real images that come with the installation.")
        jobs = train_on(client, console, "digits", DIGITS_EPOCHS, SEEDS)
    else:
        jobs += train_on(client, console, "mnist", MNIST_EPOCHS, SEEDS[1:])
    for job in jobs:
        if job["state"] != "succeeded":
            raise DemoFailed(f"Job {job['id']} ended as {job['state']}: {job['sentence']}")
    return jobs


def train_on(
    client: Client, console: Console, dataset: str, epochs: int, seeds: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Post one job a seed and follow them with a bar each."""
    posted = [client.submit(spec_of(dataset, epochs, seed)) for seed in seeds]
    with bars(console) as progress:
        tasks = {
            job["id"]: progress.add_task(f"{dataset}, seed {seed}", total=1.0, note="queued")
            for job, seed in zip(posted, seeds, strict=True)
        }

        def shown(job: dict[str, Any]) -> None:
            done = 1.0 if job["state"] == "succeeded" else (job["progress"] or {}).get("fraction", 0.0)
            accuracy = job["metrics"].get("test_accuracy", {}).get("last")
            note = job["state"] if accuracy is None else f"{job['state']}, {accuracy:.2%} of test images right"
            progress.update(tasks[job["id"]], completed=done, note=note)

        return client.follow([job["id"] for job in posted], shown, timeout=FOLLOW_SECONDS)


def spec_of(dataset: str, epochs: int, seed: int) -> dict[str, Any]:
    return {
        "name": f"demo, seed {seed}",
        "tags": ["demo"],
        "algorithm": "backprop",
        "dataset": dataset,
        "network": {"kind": "mlp", "hidden": [256, 256]},
        "hyperparameters": {"optimizer": "adam", "learning_rate": 0.001, "schedule": "cosine"},
        "training": {"epochs": epochs, "seed": seed},
    }


def show(jobs: list[dict[str, Any]], console: Console) -> None:
    """The table of results."""
    first = jobs[0]
    hidden = "-".join(map(str, first["network"]["hidden"]))
    table = Table(title=f"{first['algorithm']} on {first['dataset']}, hidden layers {hidden}")
    for column in ("seed", "epochs", "test accuracy", "test loss", "seconds", "samples/s", "worker"):
        table.add_column(column, justify="right")
    for job in jobs:
        result = job["result"]
        table.add_row(
            str(job["training"]["seed"]),
            str(result["epochs"]),
            f"{result['test_accuracy']:.2%}",
            f"{result['test_loss']:.4f}",
            f"{result['seconds']['training'] + result['seconds']['data']:.1f}",
            f"{result['samples_per_second']:,.0f}",
            job["worker"] or "–",
        )
    console.print(table)


def check_checkpoint(client: Client, job: dict[str, Any], folder: Path, console: Console) -> None:
    """Fetch the job's last checkpoint and score it in a process that knows nothing of the service."""
    last = next(each for each in client.checkpoints(job["id"]) if "last" in each["kinds"])
    file = client.download(last["id"], folder / "last.safetensors")
    scored = subprocess.run(
        [sys.executable, "-m", "trainers", "evaluate", str(file)], capture_output=True, text=True, check=False
    )
    if scored.returncode != 0:
        raise DemoFailed(f"The fetched checkpoint could not be scored: {scored.stderr.strip()}")
    accuracy = json.loads(scored.stdout)["test_accuracy"]
    if accuracy != job["result"]["test_accuracy"]:
        raise DemoFailed(f"The checkpoint scores {accuracy}, the job says {job['result']['test_accuracy']}.")
    console.print(
        f"Fetched the checkpoint ({file.stat().st_size:,} bytes), loaded it outside the service, "
        f"scored the same: {accuracy:.2%}."
    )


@contextmanager
def bars(console: Console) -> Iterator[Progress]:
    """A progress bar for each job."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        yield progress

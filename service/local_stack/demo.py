"""`make demo`: the whole service, started, used as a user would over HTTP, and stopped.

The product's question is asked on real data: five learning algorithms and the `frozen` control on `digits`, ten seeds
each, then one seed each on MNIST where that can be had. The scorecard is printed and the report left as report.html;
last a checkpoint is fetched over HTTP and scored outside the service by `python -m trainers evaluate`. Everything else
lies in a temporary folder.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from client import Client
from service.local_stack.folders import temporary_folder
from service.local_stack.ports import free_port
from service.local_stack.stack import LocalStack

ALGORITHMS = (
    "backprop",
    "frozen",
    "difference_target_propagation",
    "hsic_bottleneck",
    "alternating_minimization",
    "synthetic_gradients",
)
DIGITS: dict[str, Any] = {
    "name": "Does anything beat backprop on digits?",
    "algorithms": ALGORITHMS,
    "datasets": ["digits"],
    "training": {"epochs": 5},
    "seeds": 10,
}
MNIST: dict[str, Any] = {
    "name": "One seed each on MNIST",
    "algorithms": ALGORITHMS,
    "datasets": ["mnist"],
    "training": {"epochs": 2},
    "seeds": 1,
}
FOLLOW_SECONDS = 1200
REPORT = Path("report.html")


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
                digits = compare(client, DIGITS, console)
                mnist = compare_on_mnist(client, console)
                scorecard(client.experiments.report(digits["id"]), console)
                if mnist is not None:
                    accuracies(client, mnist, console)
                client.experiments.save_report(digits["id"], REPORT, kind="html")
                check_checkpoint(client, mnist or digits, folder, console)
            console.print(f"The report with its figures: [bold]{REPORT.resolve()}[/bold]", soft_wrap=True)
            console.print("Stopping …")
    console.print("Everything is stopped. `make up` starts a service that stays.")


def compare(client: Client, request: dict[str, Any], console: Console) -> dict[str, Any]:
    """Start an experiment and follow it with a bar; it and its jobs have ended well. Raises DemoFailed."""
    experiment = follow(client, client.experiments.start(request), console)
    for job in client.experiments.jobs(experiment["id"]):
        if job["state"] != "succeeded":
            raise DemoFailed(f"Job {job['id']} ({job['algorithm']}) ended as {job['state']}: {job['sentence']}")
    return experiment


def compare_on_mnist(client: Client, console: Console) -> dict[str, Any] | None:
    """The same on MNIST, or None where its files can be neither found nor fetched: one job finds out for all."""
    few = {"dataset": "mnist", "dataset_options": {"train_size": 1000}, "training": {"epochs": 1}}
    job = client.submit({"name": "is MNIST here?", "algorithm": "backprop", **few})
    job = client.follow([job["id"]], lambda _: None, timeout=FOLLOW_SECONDS)[0]
    if job["reason"] == "dataset_unavailable":
        console.print(f"MNIST is left out: {job['sentence']}", highlight=False)
        return None
    return compare(client, MNIST, console)


def follow(client: Client, experiment: dict[str, Any], console: Console) -> dict[str, Any]:
    """The experiment once it has ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task(experiment["name"], total=1.0, note="")

        def shown(now: dict[str, Any]) -> None:
            progress = now["progress"]
            note = f"{progress['ended']} of {progress['jobs']} jobs"
            bars.update(bar, completed=progress["ended"], total=progress["jobs"], note=note)

        return client.experiments.follow(experiment["id"], shown, every=0.5, timeout=FOLLOW_SECONDS)


def scorecard(report: dict[str, Any], console: Console) -> None:
    """Accuracy and the five criteria of every algorithm against backprop, and the answer."""
    table = Table(title=report["name"])
    for column in ("against backprop", "criterion", "verdict", "measured"):
        table.add_column(column)
    for arm, cells in report["scorecard"].items():
        for place, (criterion, cell) in enumerate(cells.items()):
            name = "" if place else arm.replace("_", " ")
            table.add_row(name, criterion, cell["verdict"].replace("_", " "), cell["number"])
        table.add_section()
    console.print(table, highlight=False)
    console.print(report["answer"], highlight=False)


def accuracies(client: Client, experiment: dict[str, Any], console: Console) -> None:
    """One row a job: what each algorithm reached, and in how many seconds of training."""
    table = Table(title=f"{experiment['name']}, {MNIST['training']['epochs']} epochs")
    for column in ("algorithm", "test accuracy", "test loss", "seconds", "samples/s"):
        table.add_column(column, justify="left" if column == "algorithm" else "right")
    jobs = {job["algorithm"]: job["result"] for job in client.experiments.jobs(experiment["id"])}
    for algorithm in ALGORITHMS:
        result = jobs[algorithm]
        table.add_row(
            algorithm.replace("_", " "),
            f"{result['test_accuracy']:.2%}",
            f"{result['test_loss']:.4f}",
            f"{result['seconds']['training'] + result['seconds']['data']:.1f}",
            f"{result['samples_per_second']:,.0f}",
        )
    console.print(table)
    console.print("One seed proves nothing; it shows that all of them train.")


def check_checkpoint(client: Client, experiment: dict[str, Any], folder: Path, console: Console) -> None:
    """Fetch backprop's last checkpoint of one seed and score it in a process that knows nothing of the service."""
    jobs = [job for job in client.experiments.jobs(experiment["id"]) if job["algorithm"] == "backprop"]
    job = min(jobs, key=lambda each: each["training"]["seed"])
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
        f"Fetched a checkpoint of backprop ({file.stat().st_size:,} bytes), loaded it outside the service, "
        f"scored the same: {accuracy:.2%}."
    )

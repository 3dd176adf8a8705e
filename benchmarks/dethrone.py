"""Does anything dethrone backprop? The five algorithms and the controls, tuned alike, through a running service.

    make up                                                          # in another terminal
    PYTHONPATH=. .venv/bin/python benchmarks/dethrone.py [--workload mnist] [--report]

Each workload is one experiment of the service: trials of each algorithm's hyperparameters on validation data, then ten
seeds each, paired. The service does the work and keeps it, so this script may be stopped and started at will: what was
posted once is found again by its name, and a service that was killed goes on where it stood. `--report` fetches what
has ended and writes results/dethrone/: the report of each workload as Markdown and JSON with its figures, and
dethrone.md over all of them.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from client import Client, Problem

RESULTS = Path(__file__).parent / "results" / "dethrone"
ALGORITHMS = (
    "backprop",
    "difference_target_propagation",
    "hsic_bottleneck",
    "alternating_minimization",
    "synthetic_gradients",
    "frozen",
    "backprop_checkpointed",
    "backprop_extra_heads",
)
MLP: dict[str, Any] = {"kind": "mlp", "hidden": [256, 256]}
TANH_20: dict[str, Any] = {"kind": "mlp", "hidden": [64] * 20, "activation": "tanh"}
PLOTS = ("seeds", "learning-curves-epoch", "pareto")
"""Figures that are kept with the report; the service draws them all."""


def workload(dataset: str, *, epochs: int, trials: int, **rest: Any) -> dict[str, Any]:
    """An experiment's request."""
    return {
        "algorithms": ALGORITHMS,
        "datasets": [dataset],
        "training": {"epochs": epochs, "threads": 1, "device": "cpu"},
        "seeds": 10,
        "tune": {"trials": trials},
        **rest,
    }


WORKLOADS: dict[str, dict[str, Any]] = {
    "digits": workload("digits", epochs=20, trials=6),
    "deep_tanh": workload("digits", epochs=20, trials=6, network=TANH_20),
    "mnist": workload("mnist", epochs=5, trials=6, dataset_options={"mnist": {"train_size": 5_000}}),
    "fashion_mnist": workload(
        "fashion_mnist", epochs=5, trials=6, dataset_options={"fashion_mnist": {"train_size": 5_000}}
    ),
    "cifar10": workload("cifar10", epochs=5, trials=6, network=MLP, dataset_options={"cifar10": {"train_size": 5_000}}),
}
TITLES = {
    "digits": "Digits",
    "deep_tanh": "Digits with 20 tanh layers",
    "mnist": "MNIST, 5,000 images",
    "fashion_mnist": "Fashion-MNIST, 5,000 images",
    "cifar10": "CIFAR-10 by a multilayer perceptron, 5,000 images",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, action="append", help="may be repeated; default: all")
    parser.add_argument("--url", help="of the service; default: the one that `make up` started here")
    parser.add_argument("--token", help="of an account there")
    parser.add_argument("--report", action="store_true", help="write what has ended, and wait for nothing")
    options = parser.parse_args()
    names = options.workload or list(WORKLOADS)
    with Client(options.url or credential("url"), options.token or credential("token"), timeout=120) as client:
        posted = {name: find(client, name) or (None if options.report else post(client, name)) for name in names}
        if not options.report:
            for name, experiment in posted.items():
                wait(client, name, experiment)
        for name, experiment in posted.items():
            if experiment is not None and client.experiments.get(experiment["id"])["state"] == "finished":
                keep(client, name, experiment)
    write_summary()


def credential(name: str) -> str:
    """Of the local stack."""
    found = subprocess.run(
        [sys.executable, "manage.py", "credentials", name], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        sys.exit(f"No service was found here: start one with `make up`, or give --url and --token. {found.stderr}")
    return found.stdout.strip()


def find(client: Client, name: str) -> dict[str, Any] | None:
    """The newest experiment of this workload that was not cancelled."""
    for experiment in client.experiments.list():
        if experiment["name"] == title(name) and experiment["state"] != "cancelled":
            return experiment
    return None


def post(client: Client, name: str) -> dict[str, Any]:
    experiment = client.experiments.start({"name": title(name), **WORKLOADS[name]})
    print(time.strftime("%H:%M:%S"), title(name), "posted as", experiment["id"], flush=True)
    return experiment


def title(name: str) -> str:
    return f"Can anything dethrone backprop? {TITLES[name]}"


def wait(client: Client, name: str, experiment: dict[str, Any] | None) -> None:
    """Until it has ended, with a line for every tenth of its jobs."""
    told = -1

    def shown(now: dict[str, Any]) -> None:
        nonlocal told
        progress = now["progress"]
        tenth = 10 * progress["ended"] // max(progress["planned"], 1)
        if tenth != told:
            told = tenth
            print(time.strftime("%H:%M:%S"), name, f"{progress['ended']} of {progress['planned']} jobs", flush=True)

    if experiment is not None:
        client.experiments.follow(experiment["id"], shown, every=5)


def keep(client: Client, name: str, experiment: dict[str, Any]) -> None:
    """Its report, beside the others."""
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    service = experiment["url"].partition("/experiments/")[0]  # links lead nowhere once the service has stopped
    report = json.dumps(client.experiments.report(experiment["id"]), ensure_ascii=False)
    (folder / "report.json").write_text(report.replace(service, "") + "\n")
    markdown = client.experiments.save_report(experiment["id"], folder / "report.md", kind="markdown")
    markdown.write_text(markdown.read_text().replace(service, ""))
    for plot in PLOTS:
        try:
            client.experiments.save_plot(experiment["id"], f"{plot}.svg", folder / f"{plot}.svg")
        except Problem as problem:
            print(f"{name}: no figure {plot}: {problem}", file=sys.stderr)


def write_summary() -> None:
    """dethrone.md: the answer of each workload, and the verdicts in one table."""
    lines = [
        "# Can anything dethrone backprop?",
        "",
        "`python benchmarks/dethrone.py`; verdicts as in docs/explanation/protocol.md.",
        "",
    ]
    reports = {name: RESULTS / name / "report.json" for name in WORKLOADS}
    measured = {name: json.loads(path.read_text()) for name, path in reports.items() if path.exists()}
    dethroned = {TITLES[name]: each["dethroned_by"] for name, each in measured.items() if each["dethroned_by"]}
    answers = [f"On {title} by {' and '.join(by)}." for title, by in dethroned.items()]
    lines += [" ".join(answers) or f"On none of {len(measured)} workloads is backprop dethroned.", ""]
    for name in WORKLOADS:
        if name not in measured:
            lines += [f"## {TITLES[name]}", "", "Not measured yet.", ""]
            continue
        report = measured[name]
        rows = report["scorecard"]
        criteria = list(next(iter(rows.values())))
        lines += [f"## {TITLES[name]}", "", report["answer"], "", f"[The whole report]({name}/report.md)", ""]
        lines += ["| against backprop | " + " | ".join(criteria) + " |", "|---" * (len(criteria) + 1) + "|"]
        for arm, cells in rows.items():
            shown = [f"{cells[each]['verdict'].replace('_', ' ')}: {cells[each]['number']}" for each in criteria]
            lines.append("| " + " | ".join([arm.replace("_", " "), *shown]) + " |")
        lines += [
            "",
            *(f"![{plot}]({name}/{plot}.svg)" for plot in PLOTS if (RESULTS / name / f"{plot}.svg").exists()),
            "",
        ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "dethrone.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()

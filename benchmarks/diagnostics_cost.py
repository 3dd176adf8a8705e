"""The share of a run's time that its diagnostics take, at the default interval, on MNIST with a 784-256-256-10 net.

    python benchmarks/diagnostics_cost.py [--repeats 3] [--clock cpu|wall]

The run's own account of its seconds is taken: diagnostics over training, data and diagnostics together. On one thread,
whose CPU time is counted, so that other processes on the machine do not (`--clock wall`: all time). MNIST is read from
ALTPROP_DATA_DIR. Writes results/diagnostics_cost.json and .md.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PROMISED = 0.03
BATCH_SIZES = (128, 256)
CLOCKS = {"cpu": time.thread_time, "wall": time.perf_counter}


def share(batch_size: int, seed: int) -> float:
    """Of one run of two epochs."""
    from trainers import fit
    from trainers.spec import TrainingSpec

    spec = TrainingSpec.model_validate(
        {
            "algorithm": "backprop",
            "dataset": "mnist",
            "network": {"kind": "mlp", "hidden": [256, 256], "activation": "relu", "batch_norm": True},
            "training": {"epochs": 2, "batch_size": batch_size, "seed": seed, "threads": 1, "device": "cpu"},
        }
    )
    result = fit(spec).result
    assert result is not None
    seconds = result["seconds"]
    spent: float = seconds["diagnostics"]
    return spent / (seconds["training"] + seconds["data"] + spent)


def as_markdown(report: dict[str, Any]) -> str:
    lines = [
        "# What diagnostics cost",
        "",
        f"Share of training, data and diagnostics together, {report['clock']} time of one thread; every 100 steps.",
        f"{report['machine']}, torch {report['torch']}, commit {report['commit']}; load at the end {report['load']}.",
        "",
        f"Command: `{report['command']}`",
        "",
        "| MNIST, 784-256-256-10 with batch norm | runs | lowest | mean | highest | promised |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        shares = row["shares"]
        mean = sum(shares) / len(shares)
        kept = "kept" if mean <= PROMISED else "NOT kept"
        figures = " | ".join(f"{100 * value:.1f} %" for value in (min(shares), mean, max(shares)))
        lines.append(f"| batch {row['batch_size']} | {len(shares)} | {figures} | ≤ {100 * PROMISED:.0f} %: {kept} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs for each batch size")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="of the one thread, or on the wall")
    options = parser.parse_args()
    torch.set_num_threads(1)
    time.perf_counter = CLOCKS[options.clock]  # by which runs account for their seconds; `trainers` comes after it
    from recipe_runs import commit

    report = {
        "command": f"python benchmarks/diagnostics_cost.py --repeats {options.repeats} --clock {options.clock}",
        "commit": commit(),
        "clock": options.clock,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "rows": [
            {"batch_size": size, "shares": [share(size, seed) for seed in range(1, options.repeats + 1)]}
            for size in BATCH_SIZES
        ],
        "load": round(os.getloadavg()[0], 1),
    }
    (RESULTS / "diagnostics_cost.json").write_text(json.dumps(report, indent=2) + "\n")
    text = as_markdown(report)
    (RESULTS / "diagnostics_cost.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

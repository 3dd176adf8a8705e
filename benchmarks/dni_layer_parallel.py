"""Layers in two processes of one thread, against one process of one thread, and of two: cDNI on MNIST.

    ALTPROP_DATA_DIR=… python benchmarks/dni_layer_parallel.py --network 6x512 --network 3x256

Whole runs with `training.processes` 1 and 2, interleaved; the first epoch warms up, the others are timed. Processes of
equal threads train to the same weights bit for bit, which is checked.
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from trainers import fit
from trainers.device import resolve_threads
from trainers.events import Event, Metrics

RESULTS = Path(__file__).parent / "results"
TARGET = 1.3
"""Times the speed of one process of one thread that two are asked for at 6x512."""


def spec_of(network: str, samples: int, *, threads: int, processes: int) -> dict[str, Any]:
    depth, _, width = network.partition("x")
    return {
        "algorithm": "synthetic_gradients",
        "dataset": "mnist",
        "dataset_options": {"train_size": samples, "validation_size": 100},
        "network": {"kind": "mlp", "hidden": [int(width)] * int(depth)},
        "training": {
            "epochs": 3,
            "batch_size": 256,
            "seed": 1,
            "threads": threads,
            "processes": processes,
            "device": "cpu",
            "diagnose_every_steps": None,
        },
    }


def samples_per_second(spec: dict[str, Any]) -> tuple[float, str]:
    """Of the epochs after the first, and the weights' sum."""
    seconds: list[float] = []
    samples: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, Metrics):
            seconds.append(event.seconds)
            samples.append(event.samples)

    result = fit(spec, on_event=note).result
    if result is None:
        raise AssertionError("nobody asked the run to stop")
    return (samples[-1] - samples[0]) / (seconds[-1] - seconds[0]), result["weights_sha256"]


def measure(network: str, samples: int, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    rates: dict[str, list[float]] = {"one": [], "two": [], "threads": []}
    for _ in range(rounds):
        one, weights = samples_per_second(spec_of(network, samples, threads=1, processes=1))
        two, same = samples_per_second(spec_of(network, samples, threads=2, processes=2))
        if weights != same:
            raise AssertionError(f"two processes ended with other weights than one at {network}")
        threads, _ = samples_per_second(spec_of(network, samples, threads=2, processes=1))
        for name, rate in (("one", one), ("two", two), ("threads", threads)):
            rates[name].append(rate)
    speedups = [two / one for two, one in zip(rates["two"], rates["one"], strict=True)]
    return {
        "network": network,
        "samples_per_second": {name: round(statistics.median(each)) for name, each in rates.items()},
        "speedup": {"median": round(statistics.median(speedups), 3), "all": [round(each, 3) for each in speedups]},
        "target": TARGET if network == "6x512" else None,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| network | one process | two processes | speed-up | asked | one process, two threads |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        rate = row["samples_per_second"]
        asked = f">= {row['target']}" if row["target"] else ""
        lines.append(
            f"| {row['network']} | {rate['one']:,} samples/s | {rate['two']:,} | {row['speedup']['median']:.2f} "
            f"({', '.join(f'{each:.2f}' for each in row['speedup']['all'])}) | {asked} | {rate['threads']:,} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", help="hidden layers x width, may be repeated; default: a grid")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    grid = options.network or [f"{depth}x{width}" for depth in (3, 6, 12) for width in (128, 256, 512, 1024)]
    rows = [measure(network, options.samples, options.rounds) for network in grid]
    load = [round(each, 1) for each in os.getloadavg()]  # other work on the machine makes these numbers worthless
    result = {"cores": resolve_threads(None), "load_average": load, "rows": rows}
    RESULTS.joinpath("dni.layer_parallel.json").write_text(json.dumps(result, indent=1) + "\n")
    note = f"\n{result['cores']} cores; load average at the end {load[0]}.\n"
    RESULTS.joinpath("dni.layer_parallel.md").write_text(table(rows) + note)
    print(table(rows), note)


if __name__ == "__main__":
    main()

"""What a training step costs beyond its arithmetic: the loop beside a hand-written loop in plain PyTorch, in one run.

    python benchmarks/step_overhead.py [--segments 120] [--clock cpu|wall]

Both train the same MLP with fused Adam on the same number of images of 28 x 28 bytes. The hand-written loop keeps its
images as floats on the device and draws its own batches by `index_select`; it reports nothing. Segments of the two
alternate within one run of `fit`'s loop, so that whatever else the machine does hits both; a figure is the median over
the pairs, with the quartiles. Both run on one thread, whose CPU time is taken: on an idle machine it is the wall time
(`--clock wall`), on a busy one it leaves out the time of others. Writes results/step_overhead.json and .md.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from trainers.algorithms.base import Batch
from trainers.assembly import assemble
from trainers.loop import Run, StopRequest
from trainers.resolve import resolve_parts

RESULTS = Path(__file__).parent / "results"
IMAGES = 12_800
CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.thread_time, "wall": time.perf_counter}


@dataclass(frozen=True)
class Case:
    """One network and batch size, and what was promised for it."""

    hidden: list[int]
    batch_size: int
    diagnose_every_steps: int | None
    most_microseconds: float | None = None
    largest_ratio: float | None = None

    @property
    def name(self) -> str:
        network = "-".join(["784", *map(str, self.hidden), "10"])
        diagnosed = f", diagnosed every {self.diagnose_every_steps}" if self.diagnose_every_steps else ""
        return f"{network}, batch {self.batch_size}{diagnosed}"


CASES = (
    Case([64, 64], 128, None, most_microseconds=50),
    Case([64, 64], 128, 100),
    Case([256] * 5, 256, None, largest_ratio=1.15),
    Case([256] * 5, 256, 50),
)


class PlainLoop:
    """What one would write without this program."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(IMAGES, 784, generator=generator)
        self.labels = torch.randint(0, 10, (IMAGES,), generator=generator)
        widths = [784, *case.hidden]
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layers += [nn.Linear(below, above), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Linear(widths[-1], 10))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001, fused=True)
        self.batch_size = case.batch_size
        self.batches: Iterator[torch.Tensor] = iter(())

    def train(self, steps: int) -> None:
        for _ in range(steps):
            rows = next(self.batches, None)
            if rows is None:  # a new epoch
                self.batches = iter(torch.randperm(IMAGES).split(self.batch_size))
                rows = next(self.batches)
            inputs, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
            loss = F.cross_entropy(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


@dataclass
class Alternating:
    """The data of a run; between two segments of the run's steps, the plain loop trains as many steps of its own.

    A segment of ours lasts from the request of its first batch to the request of the batch after its last: drawing
    batches, the loop, and the algorithm are all in it.
    """

    data: Any
    plain: PlainLoop
    segment: int
    clock: Callable[[], float]
    warm_up: int = 2
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        batches = self.data.batches(epoch, first)
        while True:
            begun = self.clock()
            for _ in range(self.segment):
                batch = next(batches, None)
                if batch is None:
                    return
                yield batch
            ended = self.clock()
            self.plain.train(self.segment)
            after = self.clock()
            if self.warm_up:
                self.warm_up -= 1
                continue
            self.ours.append((ended - begun) / self.segment)
            self.theirs.append((after - ended) / self.segment)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


def measure(case: Case, path: Path, segments: int, clock: str) -> dict[str, Any]:
    """Seconds a step of both, pair by pair."""
    # Fits into an epoch; where steps are diagnosed, one in each segment is.
    segment = min(case.diagnose_every_steps or 10, IMAGES // case.batch_size)
    spec = {
        "algorithm": "backprop",
        "dataset": "arrays",
        "dataset_options": {"path": str(path), "drop_last": True, "validation_size": 256},
        "network": {"kind": "mlp", "hidden": case.hidden},
        "training": {
            "epochs": 100_000,
            "batch_size": case.batch_size,
            "seed": 1,
            "threads": 1,
            "device": "cpu",
            "diagnose_every_steps": case.diagnose_every_steps,
        },
    }
    parts = assemble(resolve_parts(spec))
    alternating = Alternating(parts.data, PlainLoop(case), segment, CLOCKS[clock])
    parts.data = alternating
    stop = StopRequest()

    def enough(event: object) -> None:
        stop.requested = len(alternating.ours) >= segments

    Run(parts, on_event=enough, stop=stop).go()
    ours, theirs = alternating.ours[:segments], alternating.theirs[:segments]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    added = [(a - b) * 1e6 for a, b in zip(ours, theirs, strict=True)]
    ratio, microseconds = spread(ratios), spread(added)
    kept = (case.largest_ratio is None or ratio["median"] <= case.largest_ratio) and (
        case.most_microseconds is None or microseconds["median"] <= case.most_microseconds
    )
    return {
        "case": case.name,
        "plain_microseconds": spread([each * 1e6 for each in theirs]),
        "ours_microseconds": spread([each * 1e6 for each in ours]),
        "added_microseconds": microseconds,
        "ratio": ratio,
        "most_microseconds": case.most_microseconds,
        "largest_ratio": case.largest_ratio,
        "kept": kept,
        "segments": len(ours),
        "steps_per_segment": segment,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "low": low, "high": high}


def write_images(path: Path) -> None:
    """As many samples as the plain loop has, and a few more for the validation and test splits."""
    generator = np.random.default_rng(0)
    spare = 256
    np.savez(
        path,
        x_train=generator.integers(0, 256, (IMAGES + spare, 784), dtype=np.uint8),
        y_train=generator.integers(0, 10, IMAGES + spare),
        x_test=generator.integers(0, 256, (spare, 784), dtype=np.uint8),
        y_test=generator.integers(0, 10, spare),
    )


def as_markdown(report: dict[str, Any]) -> str:
    """The table, with the promise beside each figure."""
    lines = [
        "# Step overhead",
        "",
        f"One thread, its {report['clock']} time; {report['machine']}, torch {report['torch']}.",
        f"Load at the end: {report['load'][0]} on {report['cores']} cores; a busy machine makes all steps slower.",
        "Medians over alternating segments, with quartiles.",
        "",
        f"Command: `{report['command']}`",
        "",
        "| MLP | plain, µs a step | ours | added, µs | ratio | promised |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        promised = "with diagnostics"
        if row["most_microseconds"] is not None:
            promised = f"≤ {row['most_microseconds']:.0f} µs added: {'kept' if row['kept'] else 'NOT kept'}"
        elif row["largest_ratio"] is not None:
            promised = f"≤ {row['largest_ratio']} ×: {'kept' if row['kept'] else 'NOT kept'}"
        added, ratio = row["added_microseconds"], row["ratio"]
        lines.append(
            f"| {row['case']} | {row['plain_microseconds']['median']:.0f} | {row['ours_microseconds']['median']:.0f} "
            f"| {added['median']:.0f} ({added['low']:.0f} to {added['high']:.0f}) "
            f"| {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) | {promised} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=120, help="pairs of segments measured for each network")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="of the one thread, or on the wall")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        write_images(path)
        rows = [measure(case, path, options.segments, options.clock) for case in CASES]
    report = {
        "command": f"python benchmarks/step_overhead.py --segments {options.segments} --clock {options.clock}",
        "clock": options.clock,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "load": [round(each, 1) for each in os.getloadavg()[:2]],
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "step_overhead.json").write_text(json.dumps(report, indent=2) + "\n")
    text = as_markdown(report)
    (RESULTS / "step_overhead.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

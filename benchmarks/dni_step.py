"""Samples a second of a cDNI step: ours, a straightforward autograd version, and backprop, interleaved in one run.

    python benchmarks/dni_step.py

784-3x256-10, linear synthesizers that see the label, batch 256. The autograd version is what one writes first: a small
graph and an Adam for every module and every synthesizer, and a synthesizer's forward pass twice, once for the
prediction and once for its loss. It computes the same update: the benchmark checks that before it times anything.
Rounds alternate between the three, so that a busy machine slows all of them; ratios are taken within a round.

Beside them: the share of the step that the synthesizers cost, and the matrix products of the step alone (its floor).
"""

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from in_turns import in_turns, ratio
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.algorithms.backprop import Backprop
from trainers.algorithms.base import Batch, Moment
from trainers.algorithms.synthetic_gradients import SyntheticGradients
from trainers.datasets.declaration import Task
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.products import product
from trainers.streams import StreamBook

RESULTS = Path(__file__).parent / "results"
INPUTS, WIDTH, HIDDEN, CLASSES, BATCH, RATE = 784, 256, 3, 10, 256, 1e-3
TARGET = 1.5
"""Times the autograd version's speed that is asked for."""


class AutogradVersion:
    """The same algorithm with torch.nn: per-sample gradients predicted, a graph and an optimizer for each part."""

    def __init__(self, network: MLP) -> None:
        self.layers: list[nn.Linear] = []
        for layer in network.layers:
            linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
            linear.load_state_dict(layer.state_dict())
            self.layers.append(linear)
        self.models = [nn.Linear(WIDTH + CLASSES, WIDTH) for _ in self.layers[:-1]]
        for model in self.models:
            nn.init.zeros_(model.weight)
            nn.init.zeros_(model.bias)
        self.optimizers = [torch.optim.Adam(layer.parameters(), lr=RATE) for layer in self.layers]
        self.model_optimizers = [torch.optim.Adam(model.parameters(), lr=RATE) for model in self.models]

    def step(self, x: Tensor, y: Tensor) -> None:
        m, c = len(x), F.one_hot(y, CLASSES).float()
        message, h = x, x
        for i, layer in enumerate(self.layers):
            h = message.detach().requires_grad_(i > 0)
            out = layer(h)
            self.optimizers[i].zero_grad()
            if i == len(self.layers) - 1:
                F.cross_entropy(out, y).backward()
            else:
                out = torch.relu(out)
                with torch.no_grad():
                    predicted = self.models[i](torch.cat([out, c], dim=1))
                out.backward(predicted / m)
            if i:
                sent = h.grad * m  # type: ignore[operator]
                loss = F.mse_loss(self.models[i - 1](torch.cat([message.detach(), c], dim=1)), sent)
                self.model_optimizers[i - 1].zero_grad()
                loss.backward()
                self.model_optimizers[i - 1].step()
            self.optimizers[i].step()
            message = out


def network_of() -> MLP:
    options = MLPOptions(hidden=[WIDTH] * HIDDEN)
    return MLP.build(options, Task("classification", (INPUTS,), CLASSES), StreamBook(1))


def learner_of(kind: type[Any], **hyperparameters: Any) -> Any:
    learner = kind()
    options = kind.Hyperparameters(learning_rate=RATE, **hyperparameters)
    learner.setup(network_of(), Objective("cross_entropy", CLASSES), options, StreamBook(1))
    return learner


def cdni() -> SyntheticGradients:
    return learner_of(SyntheticGradients, interfaces=list(range(1, HIDDEN + 1)), conditioned=True)  # type: ignore[no-any-return]


def batches_of(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(torch.rand(BATCH, INPUTS, generator=generator), torch.randint(CLASSES, (BATCH,), generator=generator))
        for _ in range(count)
    ]


def check_same_update() -> float:
    """Mean difference of the weights that both versions reach in ten steps, in units of the distance moved."""
    learner, reference = cdni(), AutogradVersion(network_of())
    start = [layer.weight.detach().clone() for layer in learner.network.layers]
    for step, batch in enumerate(batches_of(10)):
        learner.step(batch, Moment(0, "train", step, 10, 0.0))
        reference.step(batch.inputs, batch.targets)
    worst = 0.0
    for layer, other, first in zip(learner.network.layers, reference.layers, start, strict=True):
        apart = (layer.weight - other.weight).norm() / (layer.weight - first).norm()
        worst = max(worst, float(apart.detach()))
    if worst > 0.05:  # float32, and Adam turns the smallest gradients' noise into whole steps
        raise AssertionError(f"the two versions differ by {worst:.3f} of the distance moved")
    return worst


def products() -> Callable[[], None]:
    """The step's matrix products alone, in their sizes: three a layer and synthesizer but for inputs' gradients."""
    sizes = [(INPUTS, WIDTH), *[(WIDTH, WIDTH)] * (HIDDEN - 1), (WIDTH, CLASSES)]
    weights = [torch.rand(outputs, inputs) for inputs, outputs in sizes]
    models = [torch.rand(WIDTH, WIDTH) for _ in range(HIDDEN)]
    activations = [torch.rand(BATCH, inputs) for inputs, _ in sizes]
    signals = [torch.rand(BATCH, outputs) for _, outputs in sizes]

    def run() -> None:
        for i, (weight, h, delta) in enumerate(zip(weights, activations, signals, strict=True)):
            product(h, weight)
            product(delta.t(), h.t())
            if i:
                product(delta, weight.t())
                product(h, models[i - 1])
                product(h.t(), h.t())

    return run


def measure(threads: int, rounds: int, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    torch.set_num_threads(threads)
    batches = batches_of(4)
    ours, backprop, reference, floor = cdni(), learner_of(Backprop), AutogradVersion(network_of()), products()
    # The same modules and interfaces without a synthesizer: none is predicted from, none learns.
    without = cdni()
    without.synthesizers = dict.fromkeys(without.synthesizers, Silent())  # type: ignore[arg-type]
    moment = Moment(0, "train", 0, 1, 0.0)

    steps = {
        "ours": lambda batch: ours.step(batch, moment),
        "autograd": lambda batch: reference.step(batch.inputs, batch.targets),
        "backprop": lambda batch: backprop.step(batch, moment),
        "without synthesizers": lambda batch: without.step(batch, moment),
        "products": lambda batch: floor(),
    }
    seconds = in_turns(steps, batches, rounds, repeats)
    return {
        "threads": threads,
        "samples_per_second": {name: round(BATCH / statistics.median(each)) for name, each in seconds.items()},
        "speedup_over_autograd": ratio(seconds["autograd"], seconds["ours"]),
        "target": TARGET,
        "price_against_backprop": ratio(seconds["ours"], seconds["backprop"]),
        "share_of_synthesizers": round(1 - 1 / ratio(seconds["ours"], seconds["without synthesizers"])["median"], 3),
        "times_the_products": ratio(seconds["ours"], seconds["products"]),
    }


class Silent:
    """In a synthesizer's place: predicts the message itself, and learns nothing."""

    def predict(self, message: Tensor, condition: Tensor | None) -> Tensor:
        return message

    def gradients(self, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return target.new_zeros(()), {}


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| threads | samples/s | autograd | speed-up | asked | backprop | price | synthesizers | products | over |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate, up = row["samples_per_second"], row["speedup_over_autograd"]
        lines.append(
            f"| {row['threads']} | {rate['ours']:,} | {rate['autograd']:,} | {up['median']:.2f} ({up['low']:.2f}-"
            f"{up['high']:.2f}) | >= {row['target']} | {rate['backprop']:,} | "
            f"{row['price_against_backprop']['median']:.2f} | {row['share_of_synthesizers']:.0%} | "
            f"{rate['products']:,} | {row['times_the_products']['median']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, action="append", help="may be repeated; default: 1 and 2")
    parser.add_argument("--output", type=Path, default=RESULTS / "dni.step.json")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    apart = check_same_update()
    rows = [measure(threads, options.rounds, 3) for threads in options.threads or (1, 2)]
    machine = {
        "torch": torch.__version__,
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "processor": platform.processor() or platform.machine(),
    }
    result = {"batch": BATCH, "difference_from_autograd": apart, "machine": machine, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()

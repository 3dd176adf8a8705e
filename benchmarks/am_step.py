"""Samples a second of an AM-Adam step: ours, a straightforward autograd version, and backprop, interleaved in one run.

    python benchmarks/am_step.py

The autograd version is what one writes first: a module a layer, a leaf and a graph for every code step, an optimizer
for every code, and a loss.backward() that fills weight gradients which nobody reads. It computes the same update:
the benchmark checks that before it times anything. Rounds alternate between the three, so that a busy machine slows
all of them; ratios are taken within a round, and reported as median and quartiles. On one thread the clock is the
process's own CPU time, which other processes do not add to (they still take cache and share a core's units).

FLOPs a sample, with P weights, P₁ of them in the first layer: forward 2P, codes 4 n_c (P − P₁), weights 2P + 2(P − P₁);
backprop 6P − 2P₁. Ours spares each code's first product forwards, so its counted FLOPs are fewer.
"""

import argparse
import json
import platform
import statistics
from pathlib import Path
from typing import Any

import torch
from in_turns import in_turns, ratio
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from trainers.algorithms.alternating_minimization import AlternatingMinimization
from trainers.algorithms.backprop import Backprop
from trainers.algorithms.base import Batch, Moment
from trainers.datasets.declaration import Task
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.streams import StreamBook

RESULTS = Path(__file__).parent / "results"
INPUTS, CLASSES, BATCH, CODE_STEPS, MU, CODE_RATE, RATE = 784, 10, 200, 5, 0.003, 0.3, 0.008
TARGETS = {100: 3.0, 500: 1.7}
"""Width of both hidden layers → how many times the autograd version's speed is asked for."""


class AutogradVersion:
    """The same algorithm with torch.nn and autograd."""

    def __init__(self, network: MLP) -> None:
        self.blocks: list[nn.Module] = []
        for layer in network.layers:
            linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], bias=layer.bias is not None)
            linear.load_state_dict({name: value for name, value in layer.state_dict().items() if "." not in name})
            norm = [nn.BatchNorm1d(len(layer.weight))] if layer.norm is not None else []
            self.blocks.append(nn.Sequential(linear, *norm))
        self.optimizers = [torch.optim.Adam(block.parameters(), lr=RATE) for block in self.blocks]

    def step(self, x: Tensor, y: Tensor) -> None:
        """One mini-batch."""
        with torch.no_grad():
            codes, h = [], x
            for block in self.blocks[:-1]:
                codes.append(block(h))
                h = torch.relu(codes[-1])
            outputs = self.blocks[-1](h)
            self.loss, self.correct = F.cross_entropy(outputs, y), (outputs.argmax(1) == y).sum()  # a step reports both
        initial = [code.clone() for code in codes]
        for l in reversed(range(len(codes))):
            code = codes[l].requires_grad_(True)
            optimizer = torch.optim.SGD([code], lr=CODE_RATE, momentum=0.9, nesterov=True)
            for _ in range(CODE_STEPS):
                prediction = self.blocks[l + 1](torch.relu(code))
                if l == len(codes) - 1:
                    loss = F.cross_entropy(prediction, y) / MU
                else:
                    loss = F.mse_loss(prediction, codes[l + 1].detach())
                loss = loss + F.mse_loss(code, initial[l])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            codes[l] = code.detach()
        below = [x, *(torch.relu(code) for code in codes)]
        for l, (block, optimizer) in enumerate(zip(self.blocks, self.optimizers, strict=True)):
            prediction = block(below[l])
            loss = F.mse_loss(prediction, codes[l]) if l < len(codes) else F.cross_entropy(prediction, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def network_of(width: int) -> MLP:
    options = MLPOptions(hidden=[width, width], batch_norm=True, hidden_bias=False, initialization="uniform")
    return MLP.build(options, Task("classification", (INPUTS,), CLASSES), StreamBook(1))


def learner_of(kind: type[Any], width: int) -> Any:
    learner = kind()
    rate = RATE if kind is AlternatingMinimization else 0.003
    learner.setup(
        network_of(width), Objective("cross_entropy", CLASSES), kind.Hyperparameters(learning_rate=rate), StreamBook(1)
    )
    return learner


def batches_of(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(torch.randn(BATCH, INPUTS, generator=generator), torch.randint(CLASSES, (BATCH,), generator=generator))
        for _ in range(count)
    ]


def check_same_update(width: int) -> float:
    """Largest relative difference of a weight after one step of both versions, in units of the step's rate."""
    learner, reference = learner_of(AlternatingMinimization, width), AutogradVersion(network_of(width))
    batch = batches_of(1)[0]
    learner.step(batch, Moment(0, "train", 0, 1, 0.0))
    reference.step(batch.inputs, batch.targets)
    worst = 0.0
    for l, (layer, block) in enumerate(zip(learner.network.layers, reference.blocks, strict=True)):
        if l == 0:
            continue  # its gradient is near Adam's epsilon, where float32 decides each weight's first step
        apart = (layer.weight - block[0].weight).detach().abs().mean() / RATE  # type: ignore[index]
        worst = max(worst, float(apart))
    if worst > 0.05:
        raise AssertionError(f"the two versions differ by {worst:.3f} of a step at width {width}")
    return worst


def measure(width: int, rounds: int, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    batches = batches_of(4)
    ours, backprop = learner_of(AlternatingMinimization, width), learner_of(Backprop, width)
    reference = AutogradVersion(network_of(width))
    moment = Moment(0, "train", 0, 1, 0.0)

    steps = {
        "ours": lambda batch: ours.step(batch, moment),
        "autograd": lambda batch: reference.step(batch.inputs, batch.targets),
        "backprop": lambda batch: backprop.step(batch, moment),
    }
    seconds = in_turns(steps, batches, rounds, repeats)
    sizes = [layer.weight.numel() for layer in ours.network.layers]
    P, P1 = sum(sizes), sizes[0]
    with FlopCounterMode(display=False) as counter:
        ours.step(batches[0], moment)
    flops = counter.get_total_flops() / BATCH
    closed, backprop_flops = 4 * CODE_STEPS * (P - P1) + 6 * P - 2 * P1, 6 * P - 2 * P1
    price = ratio(seconds["ours"], seconds["backprop"])
    return {
        "width": width,
        "samples_per_second": {name: round(BATCH / statistics.median(each)) for name, each in seconds.items()},
        "speedup_over_autograd": ratio(seconds["autograd"], seconds["ours"]),
        "target": TARGETS.get(width),
        "price_against_backprop": price,
        "flop_ratio": round(closed / backprop_flops, 3),
        "flop_ratio_counted": round(flops / backprop_flops, 3),
        "price_over_flop_ratio": round(price["median"] / (closed / backprop_flops), 3),
        "difference_from_autograd_in_steps": check_same_update(width),
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| width | samples/s | autograd | speed-up (quartiles) | asked | backprop | price | FLOPs | counted | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate, up, price = row["samples_per_second"], row["speedup_over_autograd"], row["price_against_backprop"]
        lines.append(
            f"| {row['width']} | {rate['ours']:,} | {rate['autograd']:,} | {up['median']:.2f} ({up['low']:.2f}–"
            f"{up['high']:.2f}) | ≥ {row['target']} | {rate['backprop']:,} | {price['median']:.2f} | "
            f"{row['flop_ratio']:.2f} | {row['flop_ratio_counted']:.2f} | {row['price_over_flop_ratio']:.2f} |"
        )
    note = "price: backprop's samples/s over ours; FLOPs, counted: over backprop's; ratio: price over FLOPs."
    return "\n".join([*lines, "", note]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS / "am_step.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    rows = [measure(100, options.rounds, 5), measure(500, options.rounds, 2)]
    machine = {
        "torch": torch.__version__,
        "threads": options.threads,
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "processor": platform.processor() or platform.machine(),
    }
    result = {"batch": BATCH, "code_steps": CODE_STEPS, "machine": machine, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()

"""How fast an epoch of both passes is: against backprop and its FLOP ratio, and against a naive PyTorch script.

    python benchmarks/difference_target_propagation_speed.py --threads 2

The 7 × 240 tanh network of the paper on batches of 100. The three are timed in turns, so that a busy machine slows all
alike; medians over the rounds. Writes results/dtp.speed.json.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from in_turns import in_turns, ratio
from recipe_runs import commit

from trainers.algorithms.backprop import Backprop
from trainers.algorithms.base import Batch, Moment
from trainers.algorithms.difference_target_propagation import DifferenceTargetPropagation
from trainers.datasets.declaration import Task
from trainers.device import machine
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.streams import StreamBook

HIDDEN, BATCH, PIXELS, CLASSES = [240] * 7, 100, 784, 10
SIGMA, TARGET_STEP = 0.3598, 0.3277


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="of each in a round")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.rand(BATCH, PIXELS, generator=generator), torch.randint(CLASSES, (BATCH,), generator=generator))
    target_propagation = stepping(DifferenceTargetPropagation, ("inverses", "weights"))
    backprop = stepping(Backprop, ("train",), learning_rate=8.04e-4, optimizer="graves_rmsprop")
    naive_script = NaiveScript(batch)
    steps = {
        "target propagation": target_propagation,
        "backprop": backprop,
        "naive target propagation": lambda _: naive_script.both_passes(),
    }
    seconds = in_turns(steps, [batch], options.rounds, options.steps)
    rates = {name: BATCH / statistics.median(each) for name, each in seconds.items()}
    price = ratio(seconds["target propagation"], seconds["backprop"])
    naive = ratio(seconds["naive target propagation"], seconds["target propagation"])
    flops = flops_of_target_propagation() / flops_of_backprop()
    result = {
        "command": f"benchmarks/difference_target_propagation_speed.py --threads {options.threads}",
        "machine": machine(torch.device("cpu")),
        "rounds": options.rounds,
        "samples_per_second": rates,
        "price_against_backprop": price,
        "flop_ratio": flops,
        "times_what_flops_predict": round(price["median"] / flops, 3),
        "speedup_over_naive": naive,
        "commit": commit(),
    }
    print(json.dumps(result, indent=1))
    path = Path(__file__).parent / "results" / "dtp.speed.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


def stepping(kind: Any, phases: tuple[str, ...], **hyperparameters: Any) -> Callable[[Batch], None]:
    """A call of it makes one step of each phase."""
    options = MLPOptions(hidden=HIDDEN, activation="tanh", initialization="orthogonal")
    streams = StreamBook(1)
    network = MLP.build(options, Task("classification", (PIXELS,), CLASSES), streams)
    learner = kind()
    whole = kind.complete(kind.Hyperparameters(**hyperparameters), options, None)
    learner.setup(network, Objective("cross_entropy", CLASSES), whole, streams)

    def step(batch: Batch) -> None:
        for phase in phases:
            learner.step(batch, Moment(0, phase, 1, 500, 0.5))

    return step


def flops_of_target_propagation() -> int:
    """Multiply-adds × 2 of a sample, both passes, by what the procedure must compute."""
    first, square, last = PIXELS * HIDDEN[0], 6 * HIDDEN[0] ** 2, HIDDEN[0] * CLASSES
    inverses = (first + square - HIDDEN[0] ** 2) + square + square + square  # forward, f of noise, g, g's gradient
    weights = (first + square + last) * 2 + 2 * square + last  # forward and gradients, g twice, the first target
    return 2 * (inverses + weights)


def flops_of_backprop() -> int:
    """Forward, gradients of weights, and of all inputs but the first layer's."""
    first, square, last = PIXELS * HIDDEN[0], 6 * HIDDEN[0] ** 2, HIDDEN[0] * CLASSES
    return 2 * (2 * (first + square + last) + square + last)


class NaiveRMSprop:
    """The settings' optimizer, weight by weight and line by line."""

    def __init__(self, weights: Iterable[torch.nn.Parameter], lr: float) -> None:
        self.weights, self.lr = list(weights), lr
        self.squares, self.averages, self.changes = (
            [torch.zeros_like(weight) for weight in self.weights] for _ in range(3)
        )

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for number, weight in enumerate(self.weights):
            gradient = weight.grad
            if gradient is None:
                continue
            self.squares[number] = 0.95 * self.squares[number] + 0.05 * gradient**2
            self.averages[number] = 0.95 * self.averages[number] + 0.05 * gradient
            scaled = gradient / torch.sqrt(self.squares[number] - self.averages[number] ** 2 + 1e-3)
            self.changes[number] = 0.9 * self.changes[number] - self.lr * scaled
            weight.add_(self.changes[number])


class NaiveScript:
    """The procedure as one writes it down at first: modules, a loss and a backward call for each layer."""

    def __init__(self, batch: Batch) -> None:
        widths = [PIXELS, *HIDDEN]
        pairs = list(pairwise(widths))
        self.batch = batch
        self.forwards = [torch.nn.Sequential(torch.nn.Linear(i, o), torch.nn.Tanh()) for i, o in pairs]
        self.backwards = [torch.nn.Sequential(torch.nn.Linear(o, i), torch.nn.Tanh()) for i, o in pairs[1:]]
        self.output = torch.nn.Linear(HIDDEN[-1], CLASSES)
        self.optimizers = [NaiveRMSprop(f.parameters(), lr=0.01489) for f in self.forwards]
        self.feedback_optimizers = [NaiveRMSprop(g.parameters(), lr=0.00501) for g in self.backwards]
        self.output_optimizer = NaiveRMSprop(self.output.parameters(), lr=0.01489)

    def both_passes(self) -> None:
        self.inverses()
        self.weights()

    def inverses(self) -> None:
        h = [self.batch.inputs]
        for f in self.forwards:
            h.append(f(h[-1]))
        for l, (g, optimizer) in enumerate(zip(self.backwards, self.feedback_optimizers, strict=True), start=1):
            corrupted = h[l].detach() + SIGMA * torch.randn_like(h[l])
            loss = (g(self.forwards[l](corrupted)) - corrupted).square().sum(1).mean()
            self.forwards[l].zero_grad()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def weights(self) -> None:
        h = [self.batch.inputs]
        for f in self.forwards:
            h.append(f(h[-1].detach()))
        top = h[-1].detach().requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(self.output(top), self.batch.targets)
        self.output_optimizer.zero_grad()
        loss.backward()
        self.output_optimizer.step()
        gradient = top.grad
        if gradient is None:
            raise AssertionError("the loss reaches the last hidden layer")
        target = top.detach() - TARGET_STEP * gradient
        for l in range(len(HIDDEN), 0, -1):
            loss = (h[l] - target).square().sum(1).mean()
            self.optimizers[l - 1].zero_grad()
            loss.backward()
            self.optimizers[l - 1].step()
            if l > 1:
                with torch.no_grad():
                    g = self.backwards[l - 2]
                    target = h[l - 1] - g(h[l]) + g(target)


if __name__ == "__main__":
    main()

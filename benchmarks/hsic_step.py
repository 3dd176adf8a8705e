"""Samples a second of an HSIC step: ours, a straightforward version of Algorithm 1, and the step's own parts.

    python benchmarks/hsic_step.py

The straightforward version redoes the whole forward pass for every layer, inverts all three kernels explicitly for
every layer, and differentiates by autograd through all layers below. It computes the same update: the benchmark checks
that, in float64, before it times anything. Everything is timed in one run, in rounds that alternate; ratios are taken
within a round and reported as median and quartiles. With one thread the time is the processor time of the process,
which other processes on the machine do not lengthen much; with more it is wall time.

The parts are the step's matrix products, Cholesky factorisations and inverses, and nothing else, timed by themselves:
what no implementation of these formulas on this machine can do without. They are timed by the products that the step
uses (`products`: oneDNN's where they are faster) and by torch's own, which the straightforward version uses.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from in_turns import in_turns, ratio, shown
from torch import Tensor

from trainers.algorithms.base import Batch, Moment
from trainers.algorithms.hsic_bottleneck import HSICBottleneck
from trainers.algorithms.hsic_objective import RandomFeatures
from trainers.datasets.declaration import Task
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.products import product
from trainers.spec import Training
from trainers.streams import StreamBook

RESULTS = Path(__file__).parent / "results"
INPUTS, CLASSES, HIDDEN, SIGMA, BETA, EPSILON, RATE = 784, 10, [256] * 5, 5.0, 50.0, 1e-5, 1e-4
FASTER = {"exact": 5.0, "random features": 10.0}
"""How many times the straightforward version's samples a second are asked for."""
PARTS_FACTOR = 1.4


class Straightforward:
    """Algorithm 1 as it is read, with torch.nn and autograd."""

    def __init__(self, network: MLP) -> None:
        self.weights = [(layer.weight, layer.bias) for layer in network.layers[:-1]]
        self.optimizers = [torch.optim.SGD(pair, lr=RATE) for pair in self.weights]

    def forward(self, x: Tensor) -> list[Tensor]:
        activations = []
        for weight, bias in self.weights:
            a = torch.nn.functional.linear(x, weight, bias)
            x = torch.relu(torch.nn.functional.batch_norm(a, None, None, training=True))
            activations.append(x)
        return activations

    def step(self, x: Tensor, y: Tensor) -> None:
        for layer, optimizer in enumerate(self.optimizers):
            k_z = hat(self.forward(x)[layer])
            loss = torch.trace(k_z @ hat(x)) - BETA * torch.trace(k_z @ hat(y))
            for pair in self.weights:
                for weight in pair:
                    weight.grad = None
            loss.backward()
            optimizer.step()


def hat(rows: Tensor) -> Tensor:
    """K̂ by an explicit inverse."""
    m = len(rows)
    n = rows.square().sum(1)
    apart = n.unsqueeze(0) + n.unsqueeze(1) - 2 * rows @ rows.t()
    kernel = torch.exp(-apart / (2 * SIGMA**2 * rows.shape[1]))
    centred = kernel @ (torch.eye(m, dtype=rows.dtype) - 1 / m)  # one side only, as the authors: the value is the same
    return centred @ torch.inverse(centred + EPSILON * m * torch.eye(m, dtype=rows.dtype))


def network_of(hidden: list[int], dtype: torch.dtype = torch.float32) -> MLP:
    options = MLPOptions(hidden=hidden, batch_norm=True, batch_norm_affine=False, initialization="uniform")
    return MLP.build(options, Task("classification", (INPUTS,), CLASSES), StreamBook(1)).to(dtype)


def learner_of(hidden: list[int], dtype: torch.dtype = torch.float32, **chosen: Any) -> HSICBottleneck:
    given = HSICBottleneck.Hyperparameters(
        optimizer="sgd", learning_rate=RATE, sigma=SIGMA, label_weight=BETA, readout="after", **chosen
    )
    whole = HSICBottleneck.complete(given, MLPOptions(hidden=hidden), Training(epochs=10))
    learner = HSICBottleneck()
    learner.setup(network_of(hidden, dtype), Objective("cross_entropy", CLASSES), whole, StreamBook(1))
    return learner


def batch_of(m: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    """Classes as blobs, so that kernels have the spectra of data and not of noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (m,), generator=generator)
    centres = torch.rand(CLASSES, INPUTS, generator=torch.Generator().manual_seed(99))
    inputs = (centres[labels] + 0.3 * torch.randn(m, INPUTS, generator=generator)).clamp(0, 1)
    return Batch(inputs.to(dtype), labels)


def check_same_update(m: int) -> float:
    """Largest relative difference of a layer's update between the two versions, in float64."""
    learner, reference = learner_of(HIDDEN, torch.float64), Straightforward(network_of(HIDDEN, torch.float64))
    before = [layer.weight.detach().clone() for layer in learner.network.layers[:-1]]
    batch = batch_of(m, dtype=torch.float64)
    learner.step(batch, Moment(0, "hsic", 0, 100, 0.0))
    reference.step(batch.inputs, learner.objective.one_hot(batch.targets, torch.float64))
    worst = 0.0
    for old, layer, (weight, _) in zip(before, learner.network.layers, reference.weights, strict=False):
        ours, theirs = layer.weight.detach() - old, weight.detach() - old
        worst = max(worst, float((ours - theirs).norm() / theirs.norm()))
    if worst > 1e-5:
        raise AssertionError(f"the two versions' updates differ by {worst:.1e}")
    return worst


Multiply = Callable[[Tensor, Tensor], Tensor]


def by_torch(x: Tensor, w: Tensor) -> Tensor:
    """x wᵀ."""
    return x @ w.t()


def parts_of(m: int, hidden: list[int], features: int | None, multiply: Multiply = product) -> Callable[[], None]:
    """The products and factorisations of one sequential step and no more, on matrices of their shapes."""
    layers = list(zip([INPUTS, *hidden], hidden, strict=False))
    inputs = {d: torch.randn(m, d) for d in {INPUTS, *hidden}}
    weights = {pair: torch.randn(pair[1], pair[0]) for pair in layers}
    size = m if features is None else features
    matrix = torch.randn(size, size)
    matrix = matrix @ matrix.t() + size * torch.eye(size)
    grams = torch.randn(m, m)
    phi = torch.randn(m, features or 1)
    frequencies = {d: torch.randn((features or 2) // 2, d) for d in {INPUTS, *hidden}}

    def exact(width: int) -> None:
        multiply(inputs[width], inputs[width])  # distances
        torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        multiply(multiply(matrix, matrix), matrix)
        multiply(matrix, inputs[width].t())  # the gradient

    def approximate(width: int) -> None:
        multiply(inputs[width], frequencies[width])
        multiply(phi.t(), phi.t())
        torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        for _ in range(2):  # Φ̃V and Φ̃ᵀF, then the two products of the gradient
            multiply(phi, matrix)
            multiply(phi.t(), phi.t())
            multiply(matrix, matrix)
        multiply(phi, matrix)
        multiply(phi[:, : len(frequencies[width])], frequencies[width].t())

    def run() -> None:
        if features is None:
            multiply(inputs[INPUTS], inputs[INPUTS])
            torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        else:
            multiply(inputs[INPUTS], frequencies[INPUTS])
            multiply(phi.t(), phi.t())
            torch.linalg.solve_triangular(torch.linalg.cholesky(matrix), phi.t(), upper=False)
        for number, (below, width) in enumerate(layers):
            h = multiply(inputs[below], weights[below, width])
            multiply(h.t(), inputs[below].t())
            # Once more, the weights having moved: by the Gram matrix of the inputs where that is cheaper; not the last.
            if number == 0 and features is None and m < below:
                multiply(grams, h.t())
            elif number < len(layers) - 1:
                multiply(inputs[below], weights[below, width])
            (exact if features is None else approximate)(width)

    return run


def measure(m: int, hidden: list[int], rounds: int, *, reference: bool) -> dict[str, Any]:
    """One row: a batch size on a network."""
    batches = [batch_of(m, seed) for seed in range(2)]
    exact, parallel = learner_of(hidden), learner_of(hidden, layer_order="parallel")
    features = 64
    approximate = learner_of(hidden, kernel_approximation="random_features", random_features=features)
    fewer = learner_of(hidden, kernel_approximation="random_features", random_features=64, layer_order="parallel")
    moment = Moment(0, "hsic", 1, 10_000, 0.0)
    steps: dict[str, Callable[[Batch], object]] = {}
    steps["exact"] = lambda batch: exact.step(batch, moment)
    steps["parallel"] = lambda batch: parallel.step(batch, moment)
    steps["random features"] = lambda batch: approximate.step(batch, moment)
    steps["random features, parallel"] = lambda batch: fewer.step(batch, moment)
    parts, parts_by_features = parts_of(m, hidden, None), parts_of(m, hidden, features)
    parts_by_torch = parts_of(m, hidden, None, by_torch)
    steps["parts"] = lambda batch: parts()
    steps["parts, torch's products"] = lambda batch: parts_by_torch()
    steps["parts of random features"] = lambda batch: parts_by_features()
    if reference:
        straightforward = Straightforward(network_of(hidden))
        steps["straightforward"] = lambda batch: straightforward.step(
            batch.inputs, exact.objective.one_hot(batch.targets)
        )
    seconds = in_turns(steps, batches, rounds)
    row: dict[str, Any] = {
        "batch": m,
        "network": "-".join(map(str, [INPUTS, *hidden, CLASSES])),
        "milliseconds": {name: round(1000 * statistics.median(each), 3) for name, each in seconds.items()},
        "samples_per_second": {name: round(m / statistics.median(each)) for name, each in seconds.items()},
        "over_parts": ratio(seconds["exact"], seconds["parts"]),
        "over_parts_by_torch": ratio(seconds["exact"], seconds["parts, torch's products"]),
        "over_parts_parallel": ratio(seconds["parallel"], seconds["parts"]),
        "random_features_over_parts": ratio(seconds["random features"], seconds["parts of random features"]),
        "kernel_error": kernel_errors(exact, batches[0], features),
        "step_megabytes": round(exact.step_bytes(m) / 2**20, 1),
    }
    if reference:
        row["speedup"] = {
            name: ratio(seconds["straightforward"], seconds[name])
            for name in ("exact", "parallel", "random features", "random features, parallel")
        }
    return row


@torch.no_grad()
def kernel_errors(learner: HSICBottleneck, batch: Batch, features: int) -> dict[str, float]:
    """‖K − ΦΦᵀ‖ / ‖K‖ of each layer's activation."""
    h, errors = batch.inputs, {}
    for layer in learner.network.layers[:-1]:
        h = layer(h)
        drawn = RandomFeatures.draw(h.shape[1], features, SIGMA, torch.Generator().manual_seed(0))
        errors[layer.name] = round(float(drawn.error(h, SIGMA)), 5)
    return errors


def table(result: dict[str, Any]) -> str:
    header = (
        "| batch | straightforward, samples/s | sequential | faster | parallel | faster | random features | faster | "
        "them in parallel | faster | sequential / parts | the same / parts by torch's products | estimate, MiB |"
    )
    lines = [
        f"784-5×256-10, {result['machine']['threads']} thread(s), {result['machine']['processor']}, float32: medians,",
        "quartiles of paired rounds in brackets. Asked: ≥ 5 × the straightforward version with exact kernels, ≥ 10 ×",
        "with random features, ≤ 1.4 × the parts.",
        "",
        header,
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        rate, up = row["samples_per_second"], row["speedup"]
        lines.append(
            f"| {row['batch']} | {rate['straightforward']:,} | {rate['exact']:,} | "
            f"{shown(up['exact'])} | {rate['parallel']:,} | {shown(up['parallel'])} | {rate['random features']:,} | "
            f"{shown(up['random features'])} | {rate['random features, parallel']:,} | "
            f"{shown(up['random features, parallel'])} | {shown(row['over_parts'])} | "
            f"{shown(row['over_parts_by_torch'])} | {row['step_megabytes']} |"
        )
    errors = result["rows"][0]["kernel_error"]
    lines += [
        "",
        f"Both versions make the same update: relative difference {result['difference']:.1e} in float64. Error of the "
        "random features' kernels, ‖K − ΦΦᵀ‖ / ‖K‖, by layer: "
        + ", ".join(f"{name} {value:.4f}" for name, value in errors.items())
        + ".",
        "",
        "| batch | exact, ms | random features, ms | parts, ms | estimate, MiB |",
        "|---|---|---|---|---|",
    ]
    for row in result["growth"]:
        spent = row["milliseconds"]
        lines.append(
            f"| {row['batch']} | {spent['exact']:.2f} | {spent['random features']:.2f} | {spent['parts']:.2f} | "
            f"{row['step_megabytes']} |"
        )
    return "\n".join(lines) + "\n"


def plot_growth(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axis = figure.add_subplot()
    batches = [row["batch"] for row in rows]
    for name in ("exact", "parts", "random features"):
        axis.loglog(batches, [row["milliseconds"][name] for row in rows], marker="o", ms=3, label=name)
    axis.set(xlabel="batch size m", ylabel="milliseconds a step", title="784-5×256-10")
    axis.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS / "hsic_step.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    result = {
        "difference": check_same_update(256),
        "machine": {
            "torch": torch.__version__,
            "threads": options.threads,
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "processor": platform.processor() or platform.machine(),
        },
        "asked": {"speedup": FASTER, "over_parts": PARTS_FACTOR},
        "rows": [measure(m, HIDDEN, options.rounds, reference=True) for m in (256, 512)],
        "growth": [measure(m, HIDDEN, max(5, options.rounds // 2), reference=False) for m in (64, 128, 256, 512, 1024)],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(table(result))
    plot_growth(result["growth"], options.output.with_name("hsic_step_growth.svg"))
    print(table(result))


if __name__ == "__main__":
    main()

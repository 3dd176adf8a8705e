"""Alternating minimization (arXiv 1806.09077): its step against its equations, in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from trainers.algorithms.alternating_minimization import AlternatingMinimization
from trainers.algorithms.base import Batch, Moment
from trainers.datasets.declaration import Task
from trainers.networks.convnet import ConvNet, ConvNetOptions
from trainers.networks.mlp import MLP, MLPOptions
from trainers.networks.recurrent import Recurrent, RecurrentOptions
from trainers.objective import Objective
from trainers.streams import StreamBook

SEED, CLASSES = 5, 3
RATE = 0.1
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "identity": lambda a: a,
}
MOMENT = Moment(epoch=0, phase="train", step=0, steps=10, progress=0.0, diagnose=True)
SETTINGS: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": RATE,
    "mu": 0.05,
    "code_steps": 3,
    "code_learning_rate": 0.3,
    "code_momentum": 0.9,
    "code_nesterov": True,
    "proximity": True,
    "mu_on": "top",
    "reduction": "mean",
    "code_sparsity": 0.0,
    "weight_sparsity": 0.0,
    "weight_steps": 1,
    "regression_weight": 1.0,
}


def learner_on(network: Any, objective: Objective, **hyperparameters: Any) -> AlternatingMinimization:
    learner = AlternatingMinimization()
    whole = AlternatingMinimization.Hyperparameters(**SETTINGS | hyperparameters)
    learner.setup(network, objective, whole, StreamBook(SEED))
    return learner


def mlp_of(hidden: list[int], *, inputs: int = 6, outputs: int = CLASSES, **network: Any) -> MLP:
    options = MLPOptions(**{"hidden": hidden, "activation": "tanh", "initialization": "uniform"} | network)
    return MLP.build(options, Task("classification", (inputs,), outputs), StreamBook(SEED)).double()


def batch_of(shape: tuple[int, ...], *, samples: int = 5, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, *shape, generator=generator, dtype=torch.float64)
    return Batch(inputs, torch.randint(CLASSES, (samples,), generator=generator))


def weights_of(learner: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in learner.network.named_parameters()}


def reference(
    predict: list[Callable[[Tensor, dict[str, Tensor]], Tensor]],
    activate: list[Callable[[Tensor], Tensor]],
    weights: list[dict[str, Tensor]],
    x: Tensor,
    y: Tensor,
    settings: dict[str, Any],
) -> tuple[list[dict[str, Tensor]], list[Tensor], list[Tensor]]:
    """New weights by layer, codes before and after: the page's equations, a gradient by autograd wherever one stands.

    predict[l](h, weights) is layer l's linear map and norm; activate[l] its nonlinearity and pooling.
    """
    depth, mu, m = len(predict), settings["mu"], len(x)

    def squared(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().sum() / (one.numel() if settings["reduction"] == "mean" else m)

    def mean_size(code: Tensor) -> Tensor:
        return code.abs().sum() / (code.numel() if settings["reduction"] == "mean" else m)

    codes, h = [], x
    for l in range(depth - 1):
        codes.append(predict[l](h, weights[l]).detach())
        h = activate[l](codes[-1])
    initial = list(codes)
    for l in range(depth - 2, -1, -1):
        velocity = torch.zeros_like(codes[l])
        for _ in range(settings["code_steps"]):
            code = codes[l].clone().requires_grad_(True)
            above = predict[l + 1](activate[l](code), weights[l + 1])
            if l == depth - 2:
                loss = F.cross_entropy(above, y) / mu
            else:
                loss = squared(above, codes[l + 1]) / (mu if settings["mu_on"] == "all" else 1)
            if settings["proximity"]:
                loss = loss + squared(code, initial[l])
            loss = loss + settings["code_sparsity"] * mean_size(code) / mu
            (gradient,) = torch.autograd.grad(loss, code)
            velocity = settings["code_momentum"] * velocity + gradient
            step = gradient + settings["code_momentum"] * velocity if settings["code_nesterov"] else velocity
            codes[l] = codes[l] - settings["code_learning_rate"] * step
    updated = []
    for l in range(depth):
        own = {name: weight.clone() for name, weight in weights[l].items()}
        below = x if l == 0 else activate[l - 1](codes[l - 1])
        for _ in range(settings["weight_steps"]):
            leaves = {name: weight.clone().requires_grad_(True) for name, weight in own.items()}
            prediction = predict[l](below, leaves)
            loss = (
                F.cross_entropy(prediction, y)
                if l == depth - 1
                else squared(prediction, codes[l]) * settings["regression_weight"]
            )
            loss = loss + settings["weight_sparsity"] * sum(w.abs().mean() for w in leaves.values() if w.dim() > 1)
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            own = {name: w - RATE * g for (name, w), g in zip(own.items(), gradients, strict=True)}
        updated.append(own)
    return updated, initial, codes


def dense(h: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """W h + b, then batch norm by the batch's own mean and variance where the layer has one."""
    z = h.flatten(1) @ weights["weight"].T + weights.get("bias", 0)
    if "norm.weight" not in weights:
        return z
    normal = (z - z.mean(0)) / torch.sqrt(z.var(0, correction=0) + 1e-5)
    return weights["norm.weight"] * normal + weights["norm.bias"]


def by_layer(network: Any) -> list[dict[str, Tensor]]:
    return [{name: weight.detach().clone() for name, weight in layer.named_parameters()} for layer in network.layers]


def assert_close(learner: AlternatingMinimization, expected: list[dict[str, Tensor]]) -> None:
    for layer, its in zip(learner.network.layers, expected, strict=True):
        for name, weight in layer.named_parameters():

            def told(found: str, at: str = f"{layer.name}.{name}") -> str:
                return f"{at}: {found}"

            torch.testing.assert_close(weight.detach(), its[name], rtol=1e-9, atol=1e-12, msg=told)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    activation=st.sampled_from(sorted(FUNCTIONS)),
    batch_norm=st.booleans(),
    hidden_bias=st.booleans(),
    chosen=st.fixed_dictionaries(
        {},
        optional={
            "mu": st.sampled_from([0.003, 0.5, 4.0]),
            "code_steps": st.integers(1, 4),
            "weight_steps": st.integers(1, 3),
            "mu_on": st.just("all"),
            "reduction": st.just("sum"),
            "proximity": st.just(False),
            "code_momentum": st.sampled_from([0.0, 0.5]),
            "code_nesterov": st.just(False),
            "code_sparsity": st.just(0.02),
            "weight_sparsity": st.just(0.3),
            "regression_weight": st.just(50.0),
        },
    ),
)
def test_a_step_is_the_equations(
    hidden: list[int], activation: str, batch_norm: bool, hidden_bias: bool, chosen: dict[str, Any]
) -> None:
    # A bias below batch norm has the gradient 0; what either computation leaves there is rounding.
    network = mlp_of(hidden, activation=activation, batch_norm=batch_norm, hidden_bias=hidden_bias and not batch_norm)
    batch = batch_of((6,))
    learner = learner_on(network, Objective("cross_entropy", CLASSES), **chosen)
    sigma = [FUNCTIONS[activation]] * len(hidden)
    depth = len(hidden) + 1
    expected, initial, codes = reference(
        [dense] * depth, sigma, by_layer(network), batch.inputs, batch.targets, SETTINGS | chosen
    )
    report = learner.step(batch, MOMENT)
    assert_close(learner, expected)
    assert report.details is not None
    for layer, before, after in zip(network.layers, initial, codes, strict=False):
        wanted = (after - before).norm() / before.norm().clamp(min=1e-30)  # all units may be dead
        torch.testing.assert_close(report.details["code_change"][layer.name], wanted, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_each_layer_has_an_optimizer_of_its_own(optimizer: str) -> None:
    network = mlp_of([5, 4], batch_norm=True, hidden_bias=False)
    learner = learner_on(network, Objective("cross_entropy", CLASSES), optimizer=optimizer)
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    expected = by_layer(network)
    apart = [kind([torch.nn.Parameter(w) for w in its.values()], lr=RATE) for its in expected]
    for seed in range(4):
        batch = batch_of((6,), seed=seed)
        report = learner.step(batch, MOMENT)
        assert report.directions is not None
        for layer, its, own in zip(network.layers, expected, apart, strict=True):
            for name, weight in zip(its, own.param_groups[0]["params"], strict=True):
                weight.grad = -report.directions[f"{layer.name}.{name}"]
            own.step()
        assert_close(
            learner,
            [
                dict(zip(its, own.param_groups[0]["params"], strict=True))
                for its, own in zip(expected, apart, strict=True)
            ],
        )


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_step_of_a_convolutional_network_is_the_equations(pool: str, batch_norm: bool) -> None:
    options = ConvNetOptions(
        convolutions=[
            {"filters": 2, "kernel": 3, "pool": pool},  # type: ignore[list-item]
            {"filters": 3, "kernel": 3, "padding": 0},  # type: ignore[list-item]
        ],
        hidden=[4],
        activation="tanh",
        batch_norm=batch_norm,
        initialization="uniform",
    )
    network = ConvNet.build(options, Task("classification", (1, 8, 8), CLASSES), StreamBook(SEED)).double()
    batch = batch_of((1, 8, 8))
    learner = learner_on(network, Objective("cross_entropy", CLASSES), weight_steps=2)

    def convolution(padding: int) -> Callable[[Tensor, dict[str, Tensor]], Tensor]:
        def predict(h: Tensor, weights: dict[str, Tensor]) -> Tensor:
            z = F.conv2d(h, weights["weight"], weights["bias"], padding=padding)
            if not batch_norm:
                return z
            normal = (z - z.mean((0, 2, 3), keepdim=True)) / torch.sqrt(
                z.var((0, 2, 3), correction=0, keepdim=True) + 1e-5
            )
            return weights["norm.weight"].view(-1, 1, 1) * normal + weights["norm.bias"].view(-1, 1, 1)

        return predict

    pooled = F.max_pool2d if pool == "max" else F.avg_pool2d
    expected, _, _ = reference(
        [convolution(1), convolution(0), dense, dense],
        [lambda c: pooled(torch.tanh(c), 2), torch.tanh, torch.tanh],
        by_layer(network),
        batch.inputs,
        batch.targets,
        SETTINGS | {"weight_steps": 2},
    )
    learner.step(batch, MOMENT)
    assert_close(learner, expected)


@pytest.mark.parametrize("reads_out", ["at the end", "each step"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"reduction": "sum", "mu_on": "all", "code_steps": 2, "regression_weight": 7.0}]
)
def test_a_step_of_a_recurrent_network_is_the_equations(reads_out: str, layers: int, changes: dict[str, Any]) -> None:
    each_step, steps, samples = reads_out == "each step", 4, 5
    kind = "next_symbol" if each_step else "sequence_classification"
    task = Task(kind, (2,), CLASSES, time_steps=steps)
    options = RecurrentOptions(cell="tanh", hidden=3, layers=layers)
    network = Recurrent.build(options, task, StreamBook(SEED)).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, steps, 2, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (samples, steps) if each_step else (samples,), generator=generator)
    learner = learner_on(network, Objective("cross_entropy", CLASSES), **changes)
    chosen = SETTINGS | changes
    expected = recurrent_reference(network, x, y, chosen, each_step=each_step)
    learner.step(Batch(x, y), MOMENT)
    assert_close(learner, expected)


def recurrent_reference(
    network: Recurrent, x: Tensor, y: Tensor, settings: dict[str, Any], *, each_step: bool
) -> list[dict[str, Tensor]]:
    """One code at a time, from the top cell's last step to the first cell's first."""
    *cells, readout = by_layer(network)
    m, steps, mu = len(x), x.shape[1], settings["mu"]
    zero = x.new_zeros(m, cells[0]["recurrent_weight"].shape[1])

    def squared(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().sum() / (one.numel() if settings["reduction"] == "mean" else m)

    def predicted(k: int, t: int, codes: list[list[Tensor]], cell: dict[str, Tensor]) -> Tensor:
        i = x[:, t] if k == 0 else torch.tanh(codes[k - 1][t])
        h = zero if t == 0 else torch.tanh(codes[k][t - 1])
        return i @ cell["weight"].T + h @ cell["recurrent_weight"].T + cell["bias"]

    def loss_at(t: int, code: Tensor, out: dict[str, Tensor]) -> Tensor:
        logits = torch.tanh(code) @ out["weight"].T + out["bias"]
        if each_step:
            return F.cross_entropy(logits, y[:, t], reduction="sum") / (m * steps)
        return F.cross_entropy(logits, y) if t == steps - 1 else logits.sum() * 0

    codes: list[list[Tensor]] = [[] for _ in cells]
    for k, cell in enumerate(cells):
        for t in range(steps):
            codes[k].append(predicted(k, t, codes, cell))
    initial = [list(each) for each in codes]
    for k in range(len(cells) - 1, -1, -1):
        for t in range(steps - 1, -1, -1):
            velocity = torch.zeros_like(zero)
            for _ in range(settings["code_steps"]):
                code = codes[k][t].clone().requires_grad_(True)
                tried = [list(each) for each in codes]
                tried[k][t] = code
                share = mu if settings["mu_on"] == "all" else 1
                loss = squared(code, initial[k][t])
                if k == len(cells) - 1:
                    loss = loss + loss_at(t, code, readout) / mu
                else:
                    loss = loss + squared(predicted(k + 1, t, tried, cells[k + 1]), codes[k + 1][t]) / share
                if t + 1 < steps:
                    loss = loss + squared(predicted(k, t + 1, tried, cells[k]), codes[k][t + 1]) / share
                (gradient,) = torch.autograd.grad(loss, code)
                velocity = settings["code_momentum"] * velocity + gradient
                step = gradient + settings["code_momentum"] * velocity
                codes[k][t] = codes[k][t] - settings["code_learning_rate"] * step
    updated = []
    for k, cell in enumerate(cells):
        leaves = {name: weight.clone().requires_grad_(True) for name, weight in cell.items()}
        loss = sum(squared(predicted(k, t, codes, leaves), codes[k][t]) for t in range(steps))
        loss = loss * settings["regression_weight"]
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        updated.append({name: w - RATE * g for (name, w), g in zip(cell.items(), gradients, strict=True)})
    leaves = {name: weight.clone().requires_grad_(True) for name, weight in readout.items()}
    total = sum(loss_at(t, codes[-1][t], leaves) for t in range(steps))
    gradients = torch.autograd.grad(total, list(leaves.values()))
    updated.append({name: w - RATE * g for (name, w), g in zip(readout.items(), gradients, strict=True)})
    return updated


def test_mu_grows_by_the_batch_up_to_ten_times_its_first_value() -> None:
    batch = batch_of((6,))
    for step, mu in ((0, 0.1), (3, 0.1 + 3 * 0.05), (90, 1.0)):
        growing = learner_on(mlp_of([4, 3]), Objective("cross_entropy", CLASSES), mu=0.1, mu_growth=0.05)
        fixed = learner_on(mlp_of([4, 3]), Objective("cross_entropy", CLASSES), mu=mu)
        growing.step(batch, Moment(epoch=0, phase="train", step=step, steps=100, progress=0.0))
        fixed.step(batch, MOMENT)
        for name, weight in weights_of(growing).items():
            torch.testing.assert_close(weight, weights_of(fixed)[name], rtol=1e-12, atol=0, msg=name)

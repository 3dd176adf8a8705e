"""AM-mem: block coordinate descent on surrogate statistics, and offline alternating minimization with it."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainers.algorithms.alternating_minimization import AlternatingMinimization
from trainers.algorithms.alternating_minimization_memory import (
    SurrogateMemory,
    best_column,
    surrogate_objective,
    sweep_thresholded,
    sweep_unthresholded,
)
from trainers.algorithms.base import Batch, Moment
from trainers.datasets.declaration import Task
from trainers.networks.dense import DenseLayer
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.streams import StreamBook

SEED = 5


def statistics_of(seed: int, inputs: int, outputs: int, samples: int, layers: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """(weight, A, B) of random activations and codes; fewer samples than inputs leave A singular."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(layers, *shape, generator=generator, dtype=torch.float64)

    a, c = normal(samples, inputs), normal(samples, outputs)
    a[:, :, 0] = 0  # a dead unit
    return normal(outputs, inputs), a.mT @ a, c.mT @ a


SIZES = (st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4), st.integers(1, 9))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(*SIZES, st.sampled_from([0.0, 0.1, 3.0]))
def test_a_column_update_never_raises_the_surrogate_objective(
    seed: int, inputs: int, outputs: int, samples: int, sparsity: float
) -> None:
    weight, second, cross = statistics_of(seed, inputs, outputs, samples)
    value = surrogate_objective(weight, second, cross, sparsity)
    for j in range(inputs):
        weight = weight.clone()
        weight[:, :, j] = best_column(weight, second, cross, j, sparsity)
        after = surrogate_objective(weight, second, cross, sparsity)
        assert bool((after <= value + 1e-9 * (1 + value.abs())).all())
        value = after


@settings(max_examples=40, deadline=None, derandomize=True)
@given(*SIZES)
def test_a_sweep_by_triangular_solve_is_the_sweep_over_columns(
    seed: int, inputs: int, outputs: int, samples: int
) -> None:
    weight, second, cross = statistics_of(seed, inputs, outputs, samples)
    by_column = sweep_thresholded(weight, second, cross, 0.0)
    torch.testing.assert_close(sweep_unthresholded(weight, second, cross), by_column, rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.booleans())
def test_enough_sweeps_give_the_least_squares_solution(seed: int, bias: bool) -> None:
    layer = DenseLayer("layer1", (4,), 3, StreamBook(seed), bias=bias).double()
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    c = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    memory = SurrogateMemory([layer], sparsity=0.0, forgetting=0.0, sweeps=500, tolerance=0.0)
    for half in (slice(0, 15), slice(15, 40)):
        memory.remember({"layer1": a[half]}, {"layer1": c[half]})
    memory.update_weights()
    joined = torch.cat([a, torch.ones(40, 1, dtype=torch.float64)], dim=1) if bias else a
    solution = torch.linalg.lstsq(joined, c).solution.T
    torch.testing.assert_close(layer.weight.detach(), solution[:, :4], rtol=1e-8, atol=1e-10)
    if layer.bias is not None:
        torch.testing.assert_close(layer.bias.detach(), solution[:, 4], rtol=1e-8, atol=1e-10)


def test_forgetting_is_a_moving_average_and_equal_layers_share_a_batch() -> None:
    layers = [DenseLayer(f"layer{l}", (4,), 3, StreamBook(SEED), bias=False).double() for l in (1, 2)]
    layers.append(DenseLayer("layer3", (4,), 2, StreamBook(SEED), bias=False).double())
    memory = SurrogateMemory(layers, sparsity=0.0, forgetting=0.25, sweeps=1, tolerance=0.0)
    assert list(memory.groups) == ["layer1-layer2", "layer3"]
    generator = torch.Generator().manual_seed(0)
    second = torch.zeros(4, 4, dtype=torch.float64)
    for _ in range(3):
        below = {layer.name: torch.randn(5, 4, generator=generator, dtype=torch.float64) for layer in layers}
        codes = {layer.name: torch.randn(5, len(layer.weight), dtype=torch.float64) for layer in layers}
        memory.remember(below, codes)
        second = 0.75 * second + 0.25 * below["layer2"].T @ below["layer2"]
    torch.testing.assert_close(memory.second["layer1-layer2"][1], second)


def test_sweeps_end_at_the_tolerance() -> None:
    weight, second, cross = statistics_of(SEED, 4, 3, 30, layers=1)
    ended = {}
    for sweeps in (2, 20):
        layer = DenseLayer("layer1", (4,), 3, StreamBook(SEED), bias=False).double()
        layer.weight.data.copy_(weight[0])
        memory = SurrogateMemory([layer], sparsity=0.0, forgetting=0.0, sweeps=sweeps, tolerance=1e9)
        memory.second["layer1"].copy_(second)
        memory.cross["layer1"].copy_(cross)
        memory.update_weights()
        ended[sweeps] = layer.weight.detach().clone()
    # Any change is below such a tolerance, so the first sweep is the last.
    assert torch.equal(ended[2], ended[20])
    torch.testing.assert_close(ended[2], sweep_unthresholded(weight, second, cross)[0], rtol=1e-12, atol=1e-12)


def test_an_online_step_moves_hidden_weights_by_their_memory_alone() -> None:
    options = MLPOptions(hidden=[5, 4], activation="tanh", initialization="uniform")
    network = MLP.build(options, Task("classification", (6,), 3), StreamBook(SEED)).double()
    learner = AlternatingMinimization()
    whole = AlternatingMinimization.Hyperparameters(weight_update="memory")
    learner.setup(network, Objective("cross_entropy", 3), whole, StreamBook(SEED))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    before = [each.weight.detach().clone() for each in learner.layers]
    report = learner.step(
        Batch(x, torch.randint(3, (9,), generator=generator)), Moment(0, "train", 0, 1, 0.0, diagnose=True)
    )
    assert set(report.directions or {}) == {"layer3.weight", "layer3.bias"}
    memory = learner.memory
    assert memory is not None
    for place, name in enumerate(("layer1", "layer2")):
        bias = network.layers[place].get_parameter("bias").detach()
        joined = torch.cat([before[place], torch.zeros(len(bias), 1, dtype=torch.float64)], dim=1)
        joined[:, -1] = (
            MLP.build(options, Task("classification", (6,), 3), StreamBook(SEED))
            .double()
            .layers[place]
            .get_parameter("bias")
        )
        expected = sweep_thresholded(joined.unsqueeze(0), memory.second[name], memory.cross[name], 0.0)[0]
        torch.testing.assert_close(learner.layers[place].weight.detach(), expected[:, :-1], rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(bias, expected[:, -1], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("hidden", [[4], [5, 3]])
def test_full_batch_offline_am_lowers_the_objective_in_every_pass(hidden: list[int]) -> None:
    """Convex in each block: linear units, squared errors, least-squares sweeps."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    y = torch.tanh(x @ torch.randn(6, 2, generator=generator, dtype=torch.float64))
    values = objectives(hidden, x, y, passes=40)
    for before, after in itertools.pairwise(values):
        assert after <= before * (1 + 1e-12)
    assert values[-1] < 0.7 * values[0]


def objectives(hidden: list[int], x: Tensor, y: Tensor, *, passes: int) -> list[float]:
    options = MLPOptions(hidden=hidden, activation="identity", initialization="uniform")
    network = MLP.build(options, Task("regression", (6,), 2), StreamBook(SEED)).double()
    learner = AlternatingMinimization()
    chosen: dict[str, Any] = {
        "mode": "offline",
        "weight_update": "memory",
        "mu": 0.1,
        "code_learning_rate": 0.5,
        "code_momentum": 0.0,
        "code_nesterov": False,
    }
    learner.setup(
        network,
        Objective("squared_error", 2),
        AlternatingMinimization.Hyperparameters(**chosen),
        StreamBook(SEED),
    )
    batch = Batch(x, y, torch.arange(len(x)))
    values = []
    for epoch in range(passes):
        for phase in learner.phases(epoch, passes):
            report = learner.step(batch, Moment(epoch, phase, 0, 1, epoch / passes))
            if phase == "weights":
                total, count = report.measures["objective"]
                values.append(float(total) / count)
    return values

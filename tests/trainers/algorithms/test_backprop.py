"""Backprop is the chain rule: by hand on an MLP, by finite differences on every network, and bit for bit on resume."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainers.algorithms.backprop import Backprop, BackpropHyperparameters
from trainers.algorithms.base import Batch, Moment
from trainers.datasets.declaration import Task
from trainers.errors import SpecError, UnsupportedNetwork
from trainers.events import Event, Metrics
from trainers.loop import Outcome, StopRequest
from trainers.networks.base import BatchNorm
from trainers.networks.recomputing import forward_recomputing
from trainers.objective import Objective
from trainers.registry import NETWORKS
from trainers.resolve import resolve
from trainers.spec import parse_model
from trainers.streams import StreamBook
from trainers.training import fit

IMAGES = Task("classification", (2, 6, 6), 4)
ROWS = Task("sequence_classification", (3,), 4, time_steps=5)
SYMBOLS = Task("next_symbol", (), 6, symbols=6)
BITS = Task("sequence_bits", (3,), 2)

NETWORKS_TO_CHECK: dict[str, tuple[dict[str, Any], Task]] = {
    "mlp": ({"kind": "mlp", "hidden": [6, 5], "activation": ["gelu", "elu"]}, IMAGES),
    "mlp, norm and dropout": (
        {"kind": "mlp", "hidden": [6, 5], "activation": "tanh", "batch_norm": True, "dropout": 0.3}, IMAGES,
    ),
    "convnet": (
        {"kind": "convnet", "convolutions": [{"filters": 3, "pool": "max"}, {"filters": 4, "pool": "average"}],
         "hidden": [5], "activation": "sigmoid"}, IMAGES,
    ),
    "convnet, norm": ({"kind": "convnet", "convolutions": [{"filters": 3}], "batch_norm": True}, IMAGES),
    "resnet": ({"kind": "resnet", "blocks": [1, 1], "widths": [3, 4], "activation": "elu"}, IMAGES),
    "resnet, single": ({"kind": "resnet", "blocks": [2], "widths": [3], "block": "single", "hidden": [5]}, IMAGES),
    "residual_mlp": ({"kind": "residual_mlp", "width": 5, "blocks": 2, "activation": "tanh"}, IMAGES),
    "recurrent tanh": ({"kind": "recurrent", "cell": "tanh", "hidden": 4}, ROWS),
    "recurrent gru": ({"kind": "recurrent", "cell": "gru", "hidden": 4, "layers": 2}, BITS),
    "recurrent lstm": ({"kind": "recurrent", "cell": "lstm", "hidden": 4}, SYMBOLS),
}  # fmt: skip
every_network = pytest.mark.parametrize("case", NETWORKS_TO_CHECK)

TINY = {"train_size": 160, "validation_size": 40}
RUNS: dict[str, dict[str, Any]] = {
    "mlp": {
        "dataset": "digits", "dataset_options": TINY,
        "network": {"kind": "mlp", "hidden": [8], "batch_norm": True, "dropout": 0.2},
    },
    "convnet": {
        "dataset": "digits", "dataset_options": TINY | {"flip": True, "crop_padding": 1},
        "network": {"kind": "convnet", "convolutions": [{"filters": 3, "pool": "max"}], "convolution_dropout": 0.2},
    },
    "resnet": {
        "dataset": "digits", "dataset_options": TINY,
        "network": {"kind": "resnet", "blocks": [1, 1], "widths": [3, 4]},
    },
    "recurrent": {
        "dataset": "copy", "dataset_options": {"length": 2, "chunk_length": 3, "evaluation_sequences": 10},
        "network": {"kind": "recurrent", "cell": "lstm", "hidden": 5, "dropout": 0.2},
        "training": {"steps_per_epoch": 4},
    },
}  # fmt: skip


def parts_of(case: str, **hyperparameters: Any) -> Backprop:
    options, task = NETWORKS_TO_CHECK[case]
    streams = StreamBook(3)
    kind = NETWORKS[options["kind"]]
    network = kind.build(parse_model(kind.Options, options), task, streams).double()
    objective = Objective("binary_cross_entropy" if task.kind == "sequence_bits" else "cross_entropy", task.outputs)
    algorithm = Backprop()
    chosen = parse_model(BackpropHyperparameters, {"optimizer": "sgd", "learning_rate": 0.5, **hyperparameters})
    algorithm.setup(network, objective, chosen, streams)
    return algorithm


def batch_for(case: str, size: int = 6, seed: int = 0) -> Batch:
    task = NETWORKS_TO_CHECK[case][1]
    generator = torch.Generator().manual_seed(seed)
    time = () if task.kind == "classification" else (5,)
    if task.symbols is not None:
        inputs = torch.randint(0, task.symbols, (size, *time), generator=generator)
    else:
        inputs = torch.randn(size, *time, *task.input_shape, generator=generator, dtype=torch.float64)
    if task.kind == "sequence_bits":
        return Batch(inputs, torch.randint(0, 2, (size, *time, task.outputs), generator=generator).double())
    per_step = time if task.kind == "next_symbol" else ()
    return Batch(inputs, torch.randint(0, task.outputs, (size, *per_step), generator=generator))


def moment(step: int = 0, *, diagnose: bool = False) -> Moment:
    return Moment(0, "train", step, 10, step / 10, diagnose)


def weights_of(algorithm: Backprop) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in algorithm.network.named_parameters()}


def gradients_of(algorithm: Backprop, batch: Batch) -> dict[str, Tensor]:
    """What one step of plain gradient descent moved the weights by, over minus the rate."""
    before = weights_of(algorithm)
    algorithm.step(batch, moment())
    return {name: (before[name] - weight.detach()) / 0.5 for name, weight in algorithm.network.named_parameters()}


def test_an_mlp_follows_the_equations_for_several_steps() -> None:
    case = NETWORKS_TO_CHECK["mlp"][0] | {"activation": ["tanh", "sigmoid"]}
    streams = StreamBook(3)
    network = NETWORKS["mlp"].build(parse_model(NETWORKS["mlp"].Options, case), IMAGES, streams).double()
    algorithm = Backprop()
    algorithm.setup(
        network, Objective("cross_entropy", 4), BackpropHyperparameters(optimizer="sgd", learning_rate=0.5), streams
    )
    W = [layer.weight.detach().clone() for layer in network.layers]
    b = [layer.bias.detach().clone() for layer in network.layers]
    for step in range(5):
        batch = batch_for("mlp", seed=step)
        x, m = batch.inputs.reshape(6, -1), 6
        h1 = torch.tanh(x @ W[0].T + b[0])
        h2 = 1 / (1 + torch.exp(-(h1 @ W[1].T + b[1])))
        p = torch.softmax(h2 @ W[2].T + b[2], 1)
        delta3 = p - torch.eye(4, dtype=torch.float64)[batch.targets]
        delta2 = (delta3 @ W[2]) * h2 * (1 - h2)
        delta1 = (delta2 @ W[1]) * (1 - h1**2)
        report = algorithm.step(batch, moment(step, diagnose=step % 2 == 0))
        loss, count = report.measures["loss"]
        expected = -torch.log(p[torch.arange(6), batch.targets]).sum()
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        assert count == 6
        if report.signals is not None:
            for name, delta in zip(("layer1", "layer2", "layer3"), (delta1, delta2, delta3), strict=True):
                torch.testing.assert_close(report.signals[name], delta / m, rtol=1e-10, atol=1e-14)
        for place, (delta, below) in enumerate(((delta1, x), (delta2, h1), (delta3, h2))):
            W[place] -= 0.5 * delta.T @ below / m
            b[place] -= 0.5 * delta.sum(0) / m
    for place, layer in enumerate(network.layers):
        torch.testing.assert_close(layer.weight.detach(), W[place], rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(layer.bias.detach(), b[place], rtol=1e-10, atol=1e-13)


@every_network
def test_every_weight_moves_as_finite_differences_say(case: str) -> None:
    algorithm, batch = parts_of(case), batch_for(case)
    network, objective = algorithm.network, algorithm.objective
    drawn = algorithm.streams.state_dict()
    start = weights_of(algorithm)

    def loss() -> float:
        algorithm.streams.load_state_dict(drawn)  # the same dropout mask as the step saw
        with torch.no_grad(), untracked(network):
            return float(objective.loss(network(batch.inputs), batch.targets))

    gradients = gradients_of(algorithm, batch)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(start[name])
    generator = torch.Generator().manual_seed(1)
    distance = 1e-5
    for name, weight in network.named_parameters():
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            weight.add_(distance * direction)
            above = loss()
            weight.sub_(2 * distance * direction)
            below = loss()
            weight.copy_(start[name])
        slope = (above - below) / (2 * distance)
        assert float((gradients[name] * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-9), name


@every_network
def test_every_weight_moves_as_autograd_says(case: str) -> None:
    algorithm, batch = parts_of(case), batch_for(case)
    network = algorithm.network
    drawn = algorithm.streams.state_dict()
    with untracked(network):
        loss = algorithm.objective.loss(network(batch.inputs), batch.targets)
    named = dict(network.named_parameters())
    expected = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
    algorithm.streams.load_state_dict(drawn)
    for name, gradient in gradients_of(algorithm, batch).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-12)


@every_network
def test_diagnosed_steps_change_no_bit(case: str) -> None:
    plain, diagnosed = parts_of(case, optimizer="adam"), parts_of(case, optimizer="adam")
    for step in range(3):
        plain.step(batch_for(case, seed=step), moment(step))
        report = diagnosed.step(batch_for(case, seed=step), moment(step, diagnose=True))
        assert set(report.signals or {}) == {layer.name for layer in diagnosed.network.layers}
        assert set(report.directions or {}) == set(weights_of(diagnosed))
    ours, theirs = plain.network.state_dict(), diagnosed.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("case", ["mlp", "convnet", "residual_mlp", "recurrent lstm"])
def test_gradients_of_two_halves_average_to_those_of_the_whole(case: str) -> None:
    batch = batch_for(case)
    halves = [Batch(batch.inputs[rows], batch.targets[rows]) for rows in (slice(0, 3), slice(3, 6))]
    whole = gradients_of(parts_of(case), batch)
    first, second = (gradients_of(parts_of(case), half) for half in halves)
    for name, gradient in whole.items():
        torch.testing.assert_close((first[name] + second[name]) / 2, gradient, rtol=1e-10, atol=1e-13)


def test_a_recurrent_network_carries_its_state_but_no_gradient_across_chunks() -> None:
    algorithm = parts_of("recurrent lstm")
    batch = batch_for("recurrent lstm")
    algorithm.step(batch, moment())
    carried = algorithm.state_dict()["carried"]
    assert len(carried) == 2
    assert not any(value.requires_grad for value in carried.values())
    network, before = algorithm.network, weights_of(algorithm)
    goes_on = Batch(batch.inputs, batch.targets, starts=False)
    outputs, _ = network.run(batch.inputs, tuple(carried.values()))
    loss = algorithm.objective.loss(outputs, batch.targets)
    expected = torch.autograd.grad(loss, network.layers[0].recurrent_weight)[0]
    algorithm.step(goes_on, moment(1))
    moved = (before["cell.recurrent_weight"] - network.layers[0].recurrent_weight.detach()) / 0.5
    torch.testing.assert_close(moved, expected, rtol=1e-10, atol=1e-13)
    _, fresh = network.run(batch.inputs, None)
    algorithm.step(batch, moment(2))
    torch.testing.assert_close(algorithm.state_dict()["carried"]["0"], fresh[0].detach())


@pytest.mark.parametrize("case", ["mlp, norm and dropout", "resnet", "recurrent gru"])
def test_frozen_hidden_layers_keep_their_initial_weights(case: str) -> None:
    algorithm = parts_of(case, trained_layers="output")
    before = weights_of(algorithm)
    for step in range(3):
        algorithm.step(batch_for(case, seed=step), moment(step, diagnose=True))
    top = algorithm.network.layers[-1].name
    for name, weight in weights_of(algorithm).items():
        assert torch.equal(weight, before[name]) == (not name.startswith(top + "."))


@pytest.mark.parametrize("case", [case for case in NETWORKS_TO_CHECK if "recurrent" not in case])
def test_recomputed_activations_change_no_bit(case: str) -> None:
    plain, recomputing = parts_of(case, optimizer="adam"), parts_of(case, optimizer="adam", recompute_activations=True)
    for step in range(4):
        for algorithm in (plain, recomputing):
            algorithm.step(batch_for(case, seed=step), moment(step, diagnose=step == 2))
    assert_same_state(plain.state_dict(), recomputing.state_dict())


def test_recomputed_activations_are_not_kept() -> None:
    """Numbers that a step's graph holds between its two passes: only what layers hand to each other."""
    options = {"kind": "residual_mlp", "width": 16, "blocks": 4}
    network = NETWORKS["residual_mlp"].build(
        parse_model(NETWORKS["residual_mlp"].Options, options), IMAGES, StreamBook(3)
    )
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    inputs = torch.ones(64, 2, 6, 6)

    def kept(forward: Callable[[], Tensor]) -> int:
        held: dict[int, Tensor] = {}  # by address; held, so that no address comes twice

        def note(saved: Tensor) -> Tensor:
            if saved.untyped_storage().data_ptr() not in weights:
                held[saved.untyped_storage().data_ptr()] = saved
            return saved

        with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
            forward()
        return sum(saved.numel() for saved in held.values())

    handed_on = sum(h.numel() for h in network.activations(inputs)[:-1])
    assert kept(lambda: forward_recomputing(network, inputs)) == handed_on
    insides = 4 * 64 * 16  # each block's nonlinearity
    assert kept(lambda: network(inputs)) == handed_on + insides


def test_recomputing_is_refused_for_recurrent_networks() -> None:
    with pytest.raises(SpecError, match="feed-forward") as caught:
        resolve({
            "algorithm": "backprop", "dataset": "copy", "hyperparameters": {"recompute_activations": True},
            "training": {"steps_per_epoch": 1},
        })  # fmt: skip
    assert caught.value.errors[0].pointer == "#/hyperparameters/recompute_activations"


def test_label_smoothing_changes_the_update_and_not_the_reported_loss() -> None:
    plain, smoothed = parts_of("mlp"), parts_of("mlp", label_smoothing=0.2)
    reports = [algorithm.step(batch_for("mlp"), moment()) for algorithm in (plain, smoothed)]
    torch.testing.assert_close(*(report.measures["loss"][0] for report in reports))
    assert not torch.equal(weights_of(plain)["layer1.weight"], weights_of(smoothed)["layer1.weight"])


@pytest.mark.parametrize(
    ("network", "pointer"),
    [
        ({"kind": "mlp", "activation": "sign"}, "#/network/activation"),
        ({"kind": "mlp", "activation": ["relu", "step"]}, "#/network/activation"),
        ({"kind": "convnet", "activation": "step"}, "#/network/activation"),
        ({"kind": "mlp", "output_activation": "sign"}, "#/network/output_activation"),
        ({"kind": "mlp", "activation": "tanh", "transmit": "sign"}, "#/network/transmit"),
    ],
)
def test_units_without_a_slope_are_refused(network: dict[str, Any], pointer: str) -> None:
    with pytest.raises(UnsupportedNetwork, match="needs a usable derivative") as caught:
        resolve({"algorithm": "backprop", "dataset": "digits", "network": network})
    assert [error.pointer for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize("kind", RUNS)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_a_run_stopped_anywhere_resumes_bit_for_bit(kind: str, data: st.DataObject) -> None:
    whole, events = unbroken_run(kind)
    stop_at = data.draw(st.integers(1, whole.step), label="stop after steps")
    seen: list[Event] = []
    with TemporaryDirectory() as folder:
        broken = fit(spec_of(kind), on_event=seen.append, output=folder, stop=StopRequest(after_steps=stop_at))
        assert broken.step == stop_at
        assert broken.checkpoint is not None
        resumed = fit(broken.spec, on_event=seen.append, output=folder, resume=broken.checkpoint)
    assert broken.result is None
    assert metrics_of(seen) == metrics_of(events)
    for name in ("weights_sha256", "test_accuracy", "test_loss", "train_loss", "best", "confusion_matrix"):
        assert (resumed.result or {}).get(name) == (whole.result or {}).get(name), name
    assert_same_state(whole.parts.algorithm.state_dict(), resumed.parts.algorithm.state_dict())


@cache
def unbroken_run(kind: str) -> tuple[Outcome, list[Event]]:
    events: list[Event] = []
    outcome = fit(spec_of(kind), on_event=events.append)
    assert outcome.result is not None
    return outcome, events


def spec_of(kind: str) -> dict[str, Any]:
    run = RUNS[kind]
    training = {"epochs": 3, "batch_size": 40, "seed": 11, "threads": 1, "diagnose_every_steps": 5, "device": "cpu"}
    hyperparameters = {"optimizer": "adam", "schedule": "cosine"}
    return {"algorithm": "backprop", "hyperparameters": hyperparameters} | run | {
        "training": training | run.get("training", {})
    }  # fmt: skip


def metrics_of(events: list[Event]) -> list[tuple[int, dict[str, float]]]:
    return [(event.step, event.values) for event in events if isinstance(event, Metrics)]


def assert_same_state(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same_state(first[key], second[key])
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@contextmanager
def untracked(network: torch.nn.Module) -> Iterator[None]:
    """Runs that leave running statistics alone."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.track = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track = True

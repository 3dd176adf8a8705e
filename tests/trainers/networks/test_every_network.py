"""The contract of all networks: named layers, weights by seed and layer alone, predictions that leave no trace."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.base import BatchNorm, Network, RecurrentNetwork
from trainers.registry import NETWORKS
from trainers.spec import parse_model
from trainers.streams import StreamBook

IMAGES = Task("classification", (2, 8, 8), 5)
VECTORS = Task("sequence_bits", (3,), 4)
SYMBOLS = Task("next_symbol", (), 6, symbols=6)
COUNTS = Task("digit_counting", (6,), 8, time_steps=4, heads={"odd": 3, "threes": 5}, ticks=2)
ROWS = Task("sequence_classification", (8,), 5, time_steps=7)

CASES: dict[str, tuple[dict[str, Any], Task]] = {
    "mlp": ({"kind": "mlp", "hidden": [7, 6], "activation": ["tanh", "relu"]}, IMAGES),
    "mlp, norm and dropout": ({"kind": "mlp", "hidden": [7, 6], "batch_norm": True, "dropout": 0.3}, IMAGES),
    "mlp, samples": ({"kind": "mlp", "hidden": [7], "activation": "sigmoid", "transmit": "sample"}, IMAGES),
    "convnet": ({"kind": "convnet", "convolutions": [{"filters": 3, "pool": "max"}], "hidden": [6]}, IMAGES),
    "convnet, norm and dropout": (
        {
            "kind": "convnet",
            "convolutions": [{"filters": 3, "stride": 2}, {"filters": 4, "pool": "average", "pool_size": 3}],
            "hidden": [6],
            "activation": "elu",
            "batch_norm": True,
            "dropout": 0.3,
            "convolution_dropout": 0.2,
        },
        IMAGES,
    ),
    "resnet": ({"kind": "resnet", "blocks": [1, 2], "widths": [3, 5]}, IMAGES),
    "resnet of the HSIC bottleneck": (
        {
            "kind": "resnet",
            "blocks": [2],
            "widths": [3],
            "block": "single",
            "kernel": 5,
            "stem_kernel": 5,
            "stem_stride": 2,
            "hidden": [6],
            "global_pool": False,
        },
        IMAGES,
    ),
    "plain network": ({"kind": "resnet", "blocks": [1], "widths": [3], "shortcut": False, "batch_norm": False}, IMAGES),
    "residual_mlp": ({"kind": "residual_mlp", "width": 6, "blocks": 2, "activation": "sigmoid"}, IMAGES),
    "recurrent tanh": ({"kind": "recurrent", "cell": "tanh", "hidden": 5}, ROWS),
    "recurrent gru": ({"kind": "recurrent", "cell": "gru", "hidden": 5}, VECTORS),
    "recurrent lstm": ({"kind": "recurrent", "cell": "lstm", "hidden": 5}, SYMBOLS),
    "two networks": (
        {"kind": "two_networks", "features": [5, 4], "cell": "gru", "hidden": 3, "message": 2},
        COUNTS,
    ),
    "two cells, dropout": ({"kind": "recurrent", "cell": "lstm", "hidden": 5, "layers": 2, "dropout": 0.3}, VECTORS),
}
every_case = pytest.mark.parametrize("case", CASES)
# Two networks have two read-outs, so their layers are no chain; how they follow each other is in test_two_networks.py.
every_chain = pytest.mark.parametrize("case", [case for case in CASES if case != "two networks"])


def built(case: str, *, seed: int = 3, **changed: Any) -> tuple[Network, StreamBook]:
    options, task = CASES[case]
    streams = StreamBook(seed)
    kind = NETWORKS[options["kind"]]
    parsed = parse_model(kind.Options, {**options, **changed})
    kind.check(parsed, task)
    return kind.build(parsed, task, streams), streams


def inputs_for(case: str, batch: int = 4) -> Tensor:
    task = CASES[case][1]
    generator = torch.Generator().manual_seed(1)
    if task.symbols is not None:
        return torch.randint(0, task.symbols, (batch, 7), generator=generator)
    time = () if task.kind == "classification" else (task.time_steps or 7,)
    return torch.randn(batch, *time, *task.input_shape, generator=generator)


def test_every_registered_kind_has_a_case() -> None:
    assert {options["kind"] for options, _ in CASES.values()} == set(NETWORKS)


@every_case
def test_outputs_have_the_shape_that_the_task_asks_for(case: str) -> None:
    task = CASES[case][1]
    outputs = built(case)[0](inputs_for(case))
    steps = (7,) if task.kind in ("next_symbol", "sequence_bits") else (2,) if task.ticks else ()
    assert outputs.shape == (4, *steps, task.outputs)
    assert torch.isfinite(outputs).all()


@every_chain
def test_layers_fit_each_other_and_say_their_shapes(case: str) -> None:
    network, _ = built(case)
    assert network.out_shape == (CASES[case][1].outputs,)
    for below, above in zip(network.layers, network.layers[1:], strict=False):
        assert below.out_shape == above.in_shape
    if not isinstance(network, RecurrentNetwork):
        for layer, h in zip(network.layers, network.activations(inputs_for(case))[1:], strict=True):
            assert h.shape == (4, *layer.out_shape)


@every_chain
def test_layer_by_layer_equals_the_network(case: str) -> None:
    network, _ = built(case)
    inputs = inputs_for(case)
    watched: dict[str, list[Tensor]] = {}
    with network.evaluating(), torch.no_grad():
        whole = network(inputs, watched)
        if isinstance(network, RecurrentNetwork):
            *cells, readout = network.layers
            states: list[Any] = [None for _ in cells]
            outputs = []
            for t in range(inputs.shape[1]):
                h = inputs[:, t]
                for place, cell in enumerate(cells):
                    a = cell.affine(h, states[place])
                    torch.testing.assert_close(a, watched[cell.name][t])
                    states[place] = cell.advance(a, states[place])
                    h = states[place][0]
                outputs.append(readout(h))
            by_layer = torch.stack(outputs, dim=1) if whole.dim() == 3 else outputs[-1]
            torch.testing.assert_close(by_layer, whole)
        else:
            h = inputs
            for layer in network.layers:
                a = layer.affine(h)
                assert torch.equal(a, watched[layer.name][0])
                h = layer.activate(a)
            assert torch.equal(h, whole)


@every_case
def test_the_seed_alone_decides_the_weights(case: str) -> None:
    first, second, other = (built(case, seed=seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_layers_weights_do_not_depend_on_the_other_layers() -> None:
    shallow = built("mlp", hidden=[7], activation="tanh")[0].state_dict()
    deep = built("mlp", hidden=[7, 9, 9, 9], activation="tanh")[0].state_dict()
    assert torch.equal(shallow["layer1.weight"], deep["layer1.weight"])
    short = built("resnet", blocks=[1, 1])[0].state_dict()
    long = built("resnet", blocks=[1, 3])[0].state_dict()
    assert torch.equal(short["layer3.second.weight"], long["layer3.second.weight"])


@every_case
def test_building_and_running_leave_the_global_generator_alone(case: str) -> None:
    before = torch.get_rng_state()
    network, _ = built(case)
    network.train()(inputs_for(case))
    assert torch.equal(before, torch.get_rng_state())


@every_case
def test_a_twin_shares_nothing(case: str) -> None:
    network, streams = built(case)
    inputs = inputs_for(case)
    states = streams.state_dict()
    for layer in network.layers:
        twin = layer.twin()
        ours, theirs = layer.state_dict(), twin.state_dict()
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name])
            assert ours[name].data_ptr() != theirs[name].data_ptr()
        for generator in (each for module in twin.modules() for each in vars(module).values()):
            if isinstance(generator, torch.Generator):
                generator.manual_seed(0)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert any(bool(value.any()) for value in layer.parameters())
    assert same(states, streams.state_dict())
    network(inputs)


@every_case
def test_predictions_leave_no_trace(case: str) -> None:
    network, streams = built(case)
    inputs = inputs_for(case)
    network.train()
    network(inputs)  # running statistics that differ from their start
    before, generators = {name: value.clone() for name, value in network.state_dict().items()}, streams.state_dict()
    with network.evaluating(), torch.no_grad():
        first, second = network(inputs), network(inputs)
    assert torch.equal(first, second)
    assert same(before, network.state_dict())
    assert same(generators, streams.state_dict())
    assert network.training


@every_case
def test_a_batch_of_one_trains(case: str) -> None:
    network, _ = built(case)
    outputs = network.train()(inputs_for(case, batch=1))
    outputs.sum().backward()
    assert torch.isfinite(outputs).all()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters() if weight.grad is not None)


@every_case
def test_watched_pre_activations_carry_the_teaching_signal(case: str) -> None:
    network, _ = built(case)
    watched: dict[str, list[Tensor]] = {}
    outputs = network.train()(inputs_for(case), watched)
    for each in watched.values():
        for a in each:
            a.retain_grad()
    (outputs**2).sum().backward()
    assert list(watched) == [layer.name for layer in network.layers]
    for each in watched.values():
        assert all(a.grad is not None and a.grad.shape == a.shape for a in each)


@every_case
def test_watching_changes_no_bit(case: str) -> None:
    gradients = []
    for watched in (None, {}):
        network, _ = built(case)
        network.train()(inputs_for(case), watched).square().sum().backward()
        gradients.append({name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None})
    assert same(*gradients)


@every_case
def test_untracked_runs_leave_running_statistics_alone(case: str) -> None:
    network, _ = built(case)
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.track = False
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()(inputs_for(case))
    assert same(before, dict(network.named_buffers()))
    for norm in norms:
        norm.track = True
    network(inputs_for(case))
    assert all(not torch.equal(before[name], value) for name, value in network.named_buffers())


@pytest.mark.parametrize(
    ("kind", "task", "allowed"),
    [
        ("mlp", COUNTS, None),
        ("recurrent", COUNTS, None),
        ("mlp", SYMBOLS, "recurrent"),
        ("residual_mlp", ROWS, "recurrent"),
        ("convnet", ROWS, "recurrent"),
        ("resnet", SYMBOLS, "recurrent"),
        ("convnet", Task("classification", (64,), 10), "mlp"),
        ("resnet", Task("classification", (8, 8), 10), "mlp"),
        ("recurrent", IMAGES, "mlp"),
        ("two_networks", IMAGES, "mlp"),
        ("two_networks", VECTORS, "recurrent"),
    ],
)
def test_data_that_do_not_fit_are_refused_with_the_kind_that_does(kind: str, task: Task, allowed: str | None) -> None:
    network = NETWORKS[kind]
    with pytest.raises(SpecError) as caught:
        network.check(network.Options(), task)
    (error,) = caught.value.errors
    assert error.pointer == "#/network/kind"
    assert error.got == kind
    assert allowed in (error.allowed or (None,))
    assert kind in error.detail


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

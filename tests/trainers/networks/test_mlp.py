"""The MLP and its layer: equations, activations, what is passed up, and options that make no sense."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.activations import ACTIVATIONS
from trainers.networks.base import Dropout
from trainers.networks.initialization import initialize
from trainers.networks.mlp import MLP, DenseLayer, MLPOptions
from trainers.spec import parse_model
from trainers.streams import StreamBook, generator_for

TASK = Task("classification", (1, 2, 3), 4)


def mlp(**options: object) -> MLP:
    return MLP.build(parse_model(MLPOptions, options), TASK, StreamBook(5)).double()


def inputs(batch: int = 3) -> Tensor:
    return torch.randn(batch, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_hidden_layer_is_weights_then_norm_then_nonlinearity() -> None:
    network = mlp(hidden=[5], activation="tanh", batch_norm=True)
    x, layer = inputs(), network.layers[0]
    network.train()
    a = x.reshape(3, 6) @ layer.weight.t() + layer.bias
    normed = (a - a.mean(0)) / (a.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), torch.tanh(normed))


def test_evaluation_uses_the_running_statistics() -> None:
    network = mlp(hidden=[5], batch_norm=True)
    norm = network.layers[0].norm
    network.train()
    a = network.layers[0].weight @ inputs().reshape(3, 6).t() + network.layers[0].bias[:, None]
    network(inputs())
    torch.testing.assert_close(norm.running_mean, 0.1 * a.mean(1))
    torch.testing.assert_close(norm.running_variance, 0.9 + 0.1 * a.var(1))
    with network.evaluating():
        h = norm(torch.zeros(2, 5, dtype=torch.float64))
    expected = -norm.running_mean / (norm.running_variance + 1e-5).sqrt()
    torch.testing.assert_close(h, expected.expand(2, 5))


def test_a_single_sample_is_normed_by_the_running_statistics() -> None:
    network = mlp(hidden=[5], batch_norm=True)
    network.train()
    network(inputs())
    with network.evaluating():
        evaluated = network(inputs(1))
    statistics = network.layers[0].norm.running_mean.clone()
    assert torch.equal(network(inputs(1)), evaluated)
    assert torch.equal(network.layers[0].norm.running_mean, statistics)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"sign", "step"}))
def test_written_derivatives_equal_autograds(name: str) -> None:
    activation = ACTIVATIONS[name]
    a = torch.linspace(-4, 4, 82, dtype=torch.float64, requires_grad=True)
    h = activation(a)
    (expected,) = torch.autograd.grad(h.sum(), a)
    torch.testing.assert_close(activation.derivative(a.detach(), h.detach()), expected, rtol=1e-12, atol=1e-14)
    signal = torch.linspace(-1, 2, 82, dtype=torch.float64)
    torch.testing.assert_close(
        activation.times_derivative(signal, a.detach(), h.detach()), signal * expected, rtol=1e-12, atol=1e-14
    )


def test_sign_and_step_have_two_values_and_no_slope() -> None:
    a = torch.tensor([-2.0, 0.0, 0.5])
    assert ACTIVATIONS["sign"](a).tolist() == [-1, -1, 1]
    assert ACTIVATIONS["step"](a).tolist() == [0, 0, 1]
    for name in ("sign", "step"):
        assert not ACTIVATIONS[name].differentiable
        assert ACTIVATIONS[name].derivative(a, a).tolist() == [0, 0, 0]


def test_each_layer_may_have_its_own_nonlinearity() -> None:
    network = mlp(hidden=[5, 5], activation=["tanh", "relu"], output_activation="sigmoid")
    assert [layer.activation.name for layer in network.layers] == ["tanh", "relu", "sigmoid"]


def test_signs_are_passed_up_where_asked() -> None:
    network = mlp(hidden=[5, 5], activation="tanh", transmit=["value", "sign"])
    x, first, second, _ = network.activations(inputs())
    assert x.shape == (3, 1, 2, 3)
    assert set(second.unique().tolist()) == {-1.0, 1.0}
    assert not set(first.unique().tolist()) <= {-1.0, 1.0}


def test_samples_have_the_activation_as_probability_and_its_value_in_evaluation() -> None:
    layer = DenseLayer("layer1", (1,), 20_000, StreamBook(1), activation="sigmoid", transmit="sample")
    a = torch.full((1, 20_000), 1.0)
    sampled = layer.train().activate(a)
    assert set(sampled.unique().tolist()) == {0.0, 1.0}
    assert sampled.mean().item() == pytest.approx(torch.sigmoid(a[0, 0]).item(), abs=0.015)
    assert torch.equal(layer.eval().activate(a), torch.sigmoid(a))


def test_dropout_keeps_the_mean_and_draws_from_its_own_stream() -> None:
    h = torch.ones(100, 1000)
    dropout = Dropout(0.25, generator_for(1, "dropout/layer1")).train()
    first, second = dropout(h), dropout(h)
    assert set(first.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert first.mean().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(first, second)
    again = Dropout(0.25, generator_for(1, "dropout/layer1")).train()
    assert torch.equal(first, again(h))
    assert dropout.eval()(h) is h


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [
        ("kaiming", (2 / 400) ** 0.5),
        ("xavier", (2 / (400 + 300)) ** 0.5),
        ("uniform", (1 / 400 / 3) ** 0.5),
        ("normal(0.02)", 0.02),
        ("normal(1e-3)", 0.001),
    ],
)
def test_initial_weights_have_the_schemes_spread(scheme: str, deviation: float) -> None:
    weight = torch.empty(300, 400)
    initialize(weight, scheme, ACTIVATIONS["relu"].gain, generator_for(1, "weights/layer1"))
    assert weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(weight.mean().item()) < 0.02 * deviation


def test_orthogonal_weights_have_singular_values_of_one() -> None:
    weight = torch.empty(30, 40)
    initialize(weight, "orthogonal", 1.0, generator_for(1, "weights/layer1"))
    torch.testing.assert_close(torch.linalg.svdvals(weight), torch.ones(30), atol=1e-5, rtol=0)


def test_biases_and_affine_norm_can_be_left_out() -> None:
    network = mlp(hidden=[5], batch_norm=True, batch_norm_affine=False, hidden_bias=False, output_bias=False)
    assert [name for name, _ in network.named_parameters()] == ["layer1.weight", "layer2.weight"]
    assert set(mlp(hidden=[5], batch_norm_output=True).state_dict()) >= {"layer2.norm.running_mean"}


@given(st.lists(st.integers(1, 9), max_size=6))
def test_any_depth_and_width_can_be_built(hidden: list[int]) -> None:
    network = mlp(hidden=hidden)
    assert [layer.name for layer in network.layers] == [f"layer{n}" for n in range(1, len(hidden) + 2)]
    assert network(inputs()).shape == (3, 4)
    widths = [6, *hidden, 4]
    expected = sum(below * above + above for below, above in pairwise(widths))
    assert sum(weight.numel() for weight in network.parameters()) == expected


@pytest.mark.parametrize(
    ("options", "pointer", "says"),
    [
        ({"hiden": [5]}, "#/network/hiden", "Did you mean 'hidden'?"),
        ({"hidden": [0]}, "#/network/hidden/0", "greater than or equal to 1"),
        ({"activation": "swish"}, "#/network/activation", "relu"),
        ({"hidden": [5, 5], "activation": ["relu"]}, "#/network", "one for each of the 2 hidden layers"),
        ({"dropout": 1.0}, "#/network/dropout", "less than 1"),
        ({"initialization": "lecun"}, "#/network/initialization", "orthogonal"),
        ({"initialization": "normal(-1)"}, "#/network/initialization", "normal(0.01)"),
        ({"activation": "tanh", "transmit": "sample"}, "#/network", "sigmoid"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], pointer: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_model(MLPOptions, options, at="#/network")
    assert any(error.pointer.startswith(pointer) for error in caught.value.errors)
    assert says in str(caught.value)

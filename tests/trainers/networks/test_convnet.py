"""Convolutional networks: presets, sizes of maps, and options that do not fit the image."""

import pytest
import torch
from torch.nn import functional as F

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.convnet import ConvNet, ConvNetOptions
from trainers.spec import parse_model
from trainers.streams import StreamBook

MNIST, CIFAR = Task("classification", (1, 28, 28), 10), Task("classification", (3, 32, 32), 10)


def convnet(task: Task, **options: object) -> ConvNet:
    parsed = parse_model(ConvNetOptions, options, at="#/network")
    ConvNet.check(parsed, task)
    return ConvNet.build(parsed, task, StreamBook(1))


def parameters(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_lenet5_has_the_layers_of_its_paper() -> None:
    network = convnet(MNIST, preset="lenet5")
    assert [layer.out_shape for layer in network.layers] == [(6, 12, 12), (16, 4, 4), (120,), (84,), (10,)]
    convolutions = (6 * 25 + 6) + (16 * 6 * 25 + 16)
    dense = (16 * 4 * 4 + 1) * 120 + 121 * 84 + 85 * 10
    assert parameters(network) == convolutions + dense == 44_426


def test_lenet5_on_images_of_its_own_size_has_400_inputs_to_the_dense_layers() -> None:
    assert convnet(CIFAR, preset="lenet5").layers[2].weight.shape == (120, 400)


def test_vgg_is_what_a_convnet_is_when_nothing_is_said() -> None:
    network = convnet(CIFAR)
    assert [layer.out_shape for layer in network.layers] == [
        (32, 32, 32), (32, 16, 16), (64, 16, 16), (64, 8, 8), (128, 8, 8), (128, 4, 4), (128,), (10,)
    ]  # fmt: skip
    assert all(layer.norm is not None for layer in network.layers[:-1])


def test_what_a_preset_says_can_be_said_otherwise() -> None:
    network = convnet(CIFAR, preset="vgg", hidden=[], batch_norm=False)
    assert len(network.layers) == 7
    assert network.layers[0].norm is None


def test_a_filled_in_spec_means_the_same_network() -> None:
    first = parse_model(ConvNetOptions, {"preset": "lenet5", "activation": "tanh"})
    second = parse_model(ConvNetOptions, first.model_dump(mode="json"))
    assert first == second


def test_a_layer_convolves_then_bends_then_pools() -> None:
    network = convnet(MNIST, convolutions=[{"filters": 4, "kernel": 5, "pool": "average"}], activation="tanh")
    layer, images = network.layers[0], torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = F.avg_pool2d(torch.tanh(F.conv2d(images, layer.weight, layer.bias, padding=2)), 2)
    torch.testing.assert_close(layer(images), expected)


def test_overlapping_pools_of_the_synthetic_gradients_network_keep_their_sizes() -> None:
    filters = {"filters": 8, "kernel": 5, "pool_size": 3, "pool_stride": 2, "pool_padding": 1}
    network = convnet(CIFAR, convolutions=[{**filters, "pool": "max"}, {**filters, "pool": "average"}], hidden=[])
    assert [layer.out_shape for layer in network.layers] == [(8, 16, 16), (8, 8, 8), (10,)]
    ones = network.layers[1].pool(torch.ones(1, 8, 16, 16))
    assert torch.equal(ones, torch.ones(1, 8, 8, 8)), "a border's padding is no pixel"


@pytest.mark.parametrize(
    ("options", "pointer", "says"),
    [
        ({"preset": "lenet5"}, "#/network/convolutions/1", "maps of 2 x 2 pixels"),
        ({"convolutions": [{"filters": 2, "pool": "max", "pool_size": 16}]}, "#/network/convolutions/0", "8 x 8"),
        ({"convolutions": []}, "#/network", "at least one layer"),
        ({"convolutions": [{"filter": 2}]}, "#/network/convolutions/0/filter", "not a known key"),
        ({"convolutions": [{"filters": 2, "pool_padding": 2}]}, "#/network/convolutions/0", "at most half"),
        ({"convolutions": [{"filters": 2}], "activation": ["relu", "relu"]}, "#/network", "1 hidden layers"),
        ({"preset": "alexnet"}, "#/network/preset", "lenet5"),
    ],
)
def test_what_does_not_fit_an_image_of_8_by_8_is_named(options: dict[str, object], pointer: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        convnet(Task("classification", (1, 8, 8), 10), **options)
    assert any(error.pointer.startswith(pointer) for error in caught.value.errors)
    assert says in str(caught.value)

"""Residual networks: sizes of the paper, shortcuts, blocks, and their dense relative."""

import pytest
import torch
from torch.nn import functional as F

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.residual_mlp import ResidualMLP, ResidualMLPOptions
from trainers.networks.resnet import ResidualBlock, ResNet, ResNetOptions
from trainers.spec import parse_model
from trainers.streams import StreamBook

CIFAR = Task("classification", (3, 32, 32), 10)


def resnet(task: Task = CIFAR, **options: object) -> ResNet:
    return ResNet.build(parse_model(ResNetOptions, options, at="#/network"), task, StreamBook(1))


@pytest.mark.parametrize(("depth", "blocks", "millions"), [(20, 9, 0.27), (32, 15, 0.46), (56, 27, 0.85)])
def test_parameters_are_those_of_the_paper(depth: int, blocks: int, millions: float) -> None:
    network = resnet(depth=depth)
    parameters = sum(weight.numel() for weight in network.parameters())
    assert round(parameters / 1e6, 2) == millions  # table 6
    assert len(network.layers) == blocks + 2
    matrices = len(network.weights())
    assert matrices == depth


def test_resnet20_to_the_last_parameter() -> None:
    convolutions = 3 * 16 * 9 + 6 * 16 * 16 * 9 + (16 * 32 + 5 * 32 * 32) * 9 + (32 * 64 + 5 * 64 * 64) * 9
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    network = resnet()
    assert sum(weight.numel() for weight in network.parameters()) == convolutions + norms + 64 * 10 + 10 == 269_722
    shapes = [layer.out_shape for layer in network.layers]
    assert shapes == [(16, 32, 32)] * 4 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 2 + [(64,), (10,)]


def test_a_block_adds_its_body_to_what_passes_by() -> None:
    block = resnet(Task("classification", (3, 8, 8), 10), blocks=[2], widths=[3]).layers[1]
    assert isinstance(block, ResidualBlock)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    block.eval()
    inner = torch.relu(F.conv2d(x, block.first.weight, padding=1) * (1 + 1e-5) ** -0.5)
    body = F.conv2d(inner, block.second.weight, padding=1) * (1 + 1e-5) ** -0.5
    torch.testing.assert_close(block.affine(x), x + body)
    torch.testing.assert_close(block(x), torch.relu(x + body))


def test_the_shortcut_takes_every_second_pixel_and_pads_with_zeros() -> None:
    block = resnet(Task("classification", (3, 8, 8), 10), blocks=[1, 2], widths=[3, 5]).layers[2]
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        block.second.weight.zero_()
    a = block.eval().affine(x)
    assert torch.equal(a[:, :3], x[:, :, ::2, ::2])
    assert torch.equal(a[:, 3:], torch.zeros(4, 2, 4, 4))


def test_the_plain_network_has_the_same_weights_and_no_skip() -> None:
    task = Task("classification", (3, 8, 8), 10)
    skipping, plain = (resnet(task, blocks=[1], widths=[3], shortcut=shortcut) for shortcut in (True, False))
    assert all(torch.equal(skipping.state_dict()[name], value) for name, value in plain.state_dict().items())
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with skipping.evaluating(), plain.evaluating():
        torch.testing.assert_close(skipping.layers[1].affine(x) - x, plain.layers[1].affine(x))


def test_the_hsic_bottlenecks_residual_network_can_be_said() -> None:
    network = resnet(
        Task("classification", (1, 28, 28), 10),
        blocks=[5], widths=[64], block="single", kernel=5, stem_kernel=5, stem_stride=2, hidden=[512],
        global_pool=False,
    )  # fmt: skip
    shapes = [layer.out_shape for layer in network.layers]
    assert shapes == [(64, 14, 14)] * 6 + [(512,), (10,)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth": 21}, "20"),
        ({"depth": 20, "blocks": [1, 1, 1]}, "give one of the two"),
        ({"blocks": [1, 1]}, "the same stages"),
        ({"blocks": [1, 1], "widths": [8, 4]}, "must not shrink"),
        ({"widths": [8, 16]}, "three stages"),
        ({"depth": 20, "block": "single"}, "give blocks"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        resnet(**options)


def test_a_filled_in_spec_means_the_same_network() -> None:
    for options in ({}, {"depth": 32}, {"blocks": [1, 2], "widths": [4, 8]}):
        first = parse_model(ResNetOptions, options)
        assert parse_model(ResNetOptions, first.model_dump(mode="json")) == first


def signal_fall(network: torch.nn.Module) -> float:
    """Norm of the teaching signal at the first layer over that at the last hidden one."""
    watched: dict[str, list[torch.Tensor]] = {}
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = network(x, watched)
    for each in watched.values():
        each[0].retain_grad()
    F.cross_entropy(outputs, torch.arange(16) % 10).backward()
    norms = [each[0].grad.norm().item() for each in watched.values()]
    return norms[0] / norms[-2]


def test_skips_let_the_signal_through_where_a_plain_mlp_of_20_sigmoids_loses_it() -> None:
    from trainers.networks.mlp import MLP, MLPOptions

    task = Task("classification", (1, 8, 8), 10)
    plain = MLP.build(MLPOptions(hidden=[32] * 19, activation="sigmoid"), task, StreamBook(1))
    skipping = ResidualMLP.build(ResidualMLPOptions(width=32, blocks=9, activation="sigmoid"), task, StreamBook(1))
    assert len(plain.weights()) == len(skipping.weights()) == 20
    assert signal_fall(plain) < 1e-6
    assert signal_fall(skipping) > 0.1

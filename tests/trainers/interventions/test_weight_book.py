"""Which way round a weight is used is known whatever has been done to it on the way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.interventions.watches import Watch
from trainers.networks.base import Network
from trainers.networks.convolution import ConvLayer
from trainers.networks.dense import DenseLayer
from trainers.streams import StreamBook

BATCH = 11


def watched(network: Network) -> Watch:
    return Watch(seed=0).attach(network)


def square(width: int = 6) -> tuple[Watch, Tensor]:
    """A layer as wide as its input: no shape tells outputs from inputs."""
    layer = DenseLayer("layer1", (width,), width, StreamBook(0))
    return watched(Network([layer])), layer.weight.detach()


def directions(watch: Watch) -> list[str]:
    return [use.direction for use in watch.uses]


H = torch.randn(BATCH, 6, generator=torch.Generator().manual_seed(0))

FORWARDS: dict[str, Callable[[Tensor], object]] = {
    "linear": lambda W: F.linear(H, W),
    "matrix times vectors": lambda W: W @ H.t(),
    "vector": lambda W: torch.mv(W, H[0]),
    "einsum": lambda W: torch.einsum("bi,oi->bo", H, W),
    "batched": lambda W: torch.bmm(H[:, None, :], W.t().expand(BATCH, 6, 6)),
    "a copy": lambda W: H @ W.clone().t(),
    "a transposed copy": lambda W: H @ W.t().contiguous(),
    "scaled, shifted": lambda W: H @ (0.3 * W.t() + 0.01),
    "noisy": lambda W: H @ (W + torch.ones(6, 6)).t(),
    "a slice": lambda W: H @ W[1:4].t(),
    "flipped": lambda W: H.flip(1) @ W.flip(1).t(),
    "stacked": lambda W: H @ torch.stack([W, W])[1].t(),
    "written into a buffer": lambda W: H @ torch.zeros(6, 6).copy_(W).t(),
    "half precision": lambda W: H.bfloat16() @ W.bfloat16().t(),
    "a product and a sum": lambda W: (H[:, None, :] * W).sum(2),
}
BACKWARDS: dict[str, Callable[[Tensor], object]] = {
    "matrix": lambda W: H @ W,
    "transposed": lambda W: W.t() @ H.t(),
    "vector": lambda W: torch.mv(W.t(), H[0]),
    "einsum": lambda W: torch.einsum("bo,oi->bi", H, W),
    "batched": lambda W: torch.bmm(H[:, None, :], W.expand(BATCH, 6, 6)),
    "a copy": lambda W: H @ W.clone(),
    "a transposed copy": lambda W: F.linear(H, W.t().contiguous()),
    "scaled, shifted": lambda W: H @ (0.3 * W + 0.01),
    "noisy": lambda W: H @ (W + torch.ones(6, 6)),
    "a slice": lambda W: H[:, 1:4] @ W[1:4],
    "flipped": lambda W: H.flip(1) @ W.flip(0),
    "stacked": lambda W: H @ torch.stack([W, W])[1],
    "written into a buffer": lambda W: H @ torch.zeros(6, 6).copy_(W),
    "half precision": lambda W: H.bfloat16() @ W.bfloat16(),
    "a product and a sum": lambda W: (H[:, :, None] * W).sum(1),
    "rows by label": lambda W: F.embedding(torch.arange(5), W),
}


@pytest.mark.parametrize("use", FORWARDS.values(), ids=FORWARDS.keys())
def test_a_product_over_inputs_is_forward(use: Callable[[Tensor], object]) -> None:
    watch, W = square()
    with watch:
        use(W)
    assert set(directions(watch)) == {"forward"}


@pytest.mark.parametrize("use", BACKWARDS.values(), ids=BACKWARDS.keys())
def test_a_product_over_outputs_is_backward(use: Callable[[Tensor], object]) -> None:
    watch, W = square()
    with watch:
        use(W)
    assert set(directions(watch)) == {"backward"}


def test_autograd_goes_forward_once_and_back_once() -> None:
    watch, _ = square()
    layer = watch.network.layers[0]
    with watch:
        layer(H.clone().requires_grad_()).sum().backward()
    assert directions(watch) == ["forward", "backward"]
    assert all(use.exact for use in watch.uses)


def test_a_convolution_goes_forward_and_its_input_s_gradient_back() -> None:
    layer = ConvLayer("layer1", (4, 5, 5), 4, StreamBook(0))
    watch = watched(Network([layer]))
    maps = torch.randn(2, 4, 5, 5)
    with watch:
        layer(maps.requires_grad_()).sum().backward()
        F.conv_transpose2d(maps.detach(), layer.weight.detach(), padding=1)
    assert directions(watch) == ["forward", "backward", "backward"]
    watch.uses.clear()
    with watch:  # of weights alone
        torch.autograd.grad(layer(maps.detach()).sum(), layer.weight)
    assert directions(watch) == ["forward"]


def test_a_weight_s_gradient_and_its_decay_are_no_use() -> None:
    watch, W = square()
    with watch:
        gradient = H.t() @ H + 0.1 * W
        W.sub_(gradient)
    assert watch.uses == []
    assert watch.book.unclear == set()


def test_other_weights_are_not_taken_for_a_copy() -> None:
    watch, W = square()
    other = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    with watch:
        H @ other
        buffer = W.clone()
        buffer.normal_(generator=torch.Generator().manual_seed(2))
        H @ buffer
        H @ W.clone().copy_(other)
    assert watch.uses == []


def test_memory_that_is_written_over_holds_no_copy_any_more() -> None:
    watch, W = square()
    other = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    room = torch.empty(6, 6)
    with watch:
        torch.mul(W, 2, out=room)
        H @ room
        torch.mul(other, 2, out=room)
        H @ room
        torch.mm(other, other, out=room)
        H @ room
    assert directions(watch) == ["backward"]


def test_numbers_that_torch_did_not_copy_are_known_when_used() -> None:
    watch, W = square()
    mirrored = torch.tensor(W.t().tolist()) * 2
    with watch:
        F.linear(H, mirrored)
    assert [(use.direction, use.exact) for use in watch.uses] == [("backward", False)]


def test_a_copy_is_exact_until_the_weight_moves() -> None:
    watch, W = square()
    with watch:
        copy = W.clone()
        H @ copy
        W.mul_(0.5)
        H @ copy
    assert [use.exact for use in watch.uses] == [True, False]


def test_a_factor_of_a_weight_is_unclear_and_said_to_be() -> None:
    watch, W = square()
    with watch:
        H @ torch.linalg.svd(W.expand(2, 6, 6).contiguous()).U[0]
    assert watch.book.unclear

"""Products by whichever library is faster: the same numbers, and counted all the same."""

import copy
from itertools import starmap

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trainers import products
from trainers.algorithms.hsic_workspace import MOST_KEPT, Workspace
from trainers.datasets.declaration import Task
from trainers.networks.mlp import MLP, MLPOptions
from trainers.networks.recomputing import forward_recomputing
from trainers.products import product
from trainers.streams import StreamBook

HAS_OPERATOR = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


@pytest.fixture(params=[False, HAS_OPERATOR], ids=["by torch", "by oneDNN where it is there"])
def by_either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_is_right_by_either_library(by_either: None, dtype: torch.dtype, turned: bool) -> None:
    x, w, bias = drawn(33, 65, dtype=dtype), drawn(17, 65, dtype=dtype), drawn(17, dtype=dtype)
    expected = x.double() @ w.double().t()
    if turned:
        x, w = x.t().contiguous().t(), w.t().contiguous().t()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    assert torch.allclose(product(x, w).double(), expected, rtol=0, atol=tolerance * 65)
    assert torch.allclose(product(x, w, bias).double(), expected + bias.double(), rtol=0, atol=tolerance * 65)
    room = torch.empty(33, 17, dtype=dtype)
    assert torch.allclose(product(x, w, out=room).double(), expected, rtol=0, atol=tolerance * 65)


def test_a_product_is_counted_by_either_library(by_either: None) -> None:
    with FlopCounterMode(display=False) as counter:
        product(drawn(8, 16), drawn(4, 16))
    assert counter.get_total_flops() == 2 * 8 * 16 * 4


def test_a_product_is_repeated_to_the_last_bit(by_either: None) -> None:
    x, w = drawn(256, 784), drawn(256, 784)
    assert torch.equal(product(x, w), product(x.clone(), w.clone()))


def test_a_workspace_hands_out_the_same_memory_by_name_and_shape() -> None:
    workspace, like = Workspace(), torch.zeros(1)
    first = workspace.room("K", (4, 4), like)
    assert workspace.room("K", (4, 4), like) is first
    assert workspace.room("V", (4, 4), like) is not first
    assert workspace.room("K", (4, 5), like).shape == (4, 5)
    assert workspace.room("K", (4, 4), like.double()).dtype == torch.float64


def test_a_workspace_that_keeps_nothing_hands_out_fresh_memory() -> None:
    workspace, like = Workspace(keep=False), torch.zeros(1)
    first = workspace.room("K", (4, 4), like)
    assert workspace.room("K", (4, 4), like).data_ptr() != first.data_ptr()


def test_a_workspace_does_not_hoard() -> None:
    workspace, like = Workspace(), torch.zeros(1)
    first = workspace.room("K", (1, 1), like)
    for size in range(2, MOST_KEPT + 2):
        workspace.room("K", (size, 1), like)
    assert workspace.room("K", (1, 1), like) is not first


WIDE = MLPOptions(hidden=[128, 128], activation="tanh")


def wide(inputs: int = 128) -> MLP:
    """Large enough for tanh to come with the product, on batches of 128."""
    return MLP.build(WIDE, Task("classification", (inputs,), 10), StreamBook(1))


def gradients_of(one: MLP, other: MLP) -> list[tuple[Tensor, Tensor]]:
    """Of every weight in both; each has one."""
    found = []
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        found.append((ours.grad, theirs.grad))
    return found


def test_tanh_that_comes_with_the_product_is_right_and_so_are_its_gradients(by_either: None) -> None:
    network, x = wide(), drawn(128, 128)
    exact = copy.deepcopy(network).double()
    outputs, expected = network(x), exact(x.double())
    assert torch.allclose(outputs.double(), expected, rtol=0, atol=1e-5)
    outputs.square().sum().backward()
    expected.square().sum().backward()
    for ours, theirs in gradients_of(network, exact):
        assert torch.allclose(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_watching_pre_activations_changes_no_bit(by_either: None) -> None:
    x, watched = drawn(128, 128), dict[str, list[Tensor]]()
    plain, looked_at = wide(), wide()
    outputs, others = plain(x), looked_at(x, watched)
    assert torch.equal(outputs, others)
    for (a,) in watched.values():
        a.retain_grad()
    outputs.square().sum().backward()
    others.square().sum().backward()
    assert all(starmap(torch.equal, gradients_of(plain, looked_at)))
    assert all(a.grad is not None and a.grad.shape == a.shape for (a,) in watched.values())


def test_recomputing_layers_changes_no_bit(by_either: None) -> None:
    x, plain, recomputing = drawn(128, 128), wide(), wide()
    outputs, others = plain(x), forward_recomputing(recomputing, x)
    outputs.square().sum().backward()
    others.square().sum().backward()
    assert all(starmap(torch.equal, gradients_of(plain, recomputing)))

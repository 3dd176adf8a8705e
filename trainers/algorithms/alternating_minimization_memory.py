"""AM-mem: weights by surrogate statistics and block coordinate descent (arXiv 1806.09077; after Mairal et al. 2009).

    here          meaning                                                               shape
    a             σ(c_{l-1}), with a last column of ones where the layer has a bias      (batch, n)
    second        A, Σ a aᵀ over all samples so far                                      (layers, n, n)
    cross         B, Σ c_l aᵀ                                                            (layers, out, n)
    λ_w           sparsity

    A ← A + Σ a aᵀ,   B ← B + Σ c_l aᵀ;     with forgetting η > 0:  A ← (1−η) A + η Σ a aᵀ, B likewise
    w_j ← w_j + (b_j − W a_j) / A_jj        for the columns j in order; then a soft threshold by λ_w / A_jj
                                            minimises ½ tr W A Wᵀ − tr W Bᵀ + λ_w ‖W‖₁ over column j

Without a threshold a sweep over the columns is one Gauss-Seidel step, W' U = B − W (A − U) with U the upper triangle
of A: a triangular solve. Layers of equal shape are batched. Mairal's projection onto the unit ball is left out, as in
the authors' program.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainers.networks.dense import DenseLayer

DEAD_UNIT = 1e-10
"""Added to A_jj: a unit that was never active has an empty row."""


class SurrogateMemory:
    """A and B of some dense layers, and their weights' update."""

    def __init__(
        self, layers: Sequence[DenseLayer], *, sparsity: float, forgetting: float, sweeps: int, tolerance: float
    ) -> None:
        self.sparsity, self.forgetting, self.sweeps, self.tolerance = sparsity, forgetting, sweeps, tolerance
        groups: dict[tuple[int, int], list[DenseLayer]] = {}
        for layer in layers:
            groups.setdefault(_shape_of(layer), []).append(layer)
        self.groups = {"-".join(layer.name for layer in each): each for each in groups.values()}
        self.second: dict[str, Tensor] = {}
        self.cross: dict[str, Tensor] = {}
        for name, each in self.groups.items():
            out, n = _shape_of(each[0])
            self.second[name] = each[0].weight.new_zeros(len(each), n, n)
            self.cross[name] = each[0].weight.new_zeros(len(each), out, n)

    def clear(self) -> None:
        """Forget all: a new pass over the data begins (offline)."""
        for statistics in (*self.second.values(), *self.cross.values()):
            statistics.zero_()

    def remember(self, below: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> None:
        """Add a batch: layer → σ(c_{l-1}), (batch, in), and layer → c_l, (batch, out)."""
        keep, add = (1.0, 1.0) if self.forgetting == 0 else (1 - self.forgetting, self.forgetting)
        for name, layers in self.groups.items():
            a = torch.stack([_with_ones(below[layer.name], layer) for layer in layers])
            c = torch.stack([codes[layer.name] for layer in layers])
            self.second[name].baddbmm_(a.mT, a, beta=keep, alpha=add)
            self.cross[name].baddbmm_(c.mT, a, beta=keep, alpha=add)

    def update_weights(self) -> None:
        """Sweep over the columns of every layer; no layer reads another's weights."""
        for name, layers in self.groups.items():
            joined = torch.stack([_joined(layer) for layer in layers])
            moved = self._swept(joined, self.second[name], self.cross[name])
            for layer, weight in zip(layers, moved, strict=True):
                _split_into(layer, weight)

    def _swept(self, weight: Tensor, second: Tensor, cross: Tensor) -> Tensor:
        sweep = sweep_thresholded if self.sparsity else sweep_unthresholded
        settled: Tensor | None = None
        for _ in range(self.sweeps):
            moved = sweep(weight, second, cross, self.sparsity)
            if settled is not None:
                moved = torch.where(settled, weight, moved)
            if self.sweeps > 1:  # stays on the device: a settled layer is swept on, and left as it was
                still = (moved - weight).abs().amax((1, 2), keepdim=True) < self.tolerance
                settled = still if settled is None else settled | still
            weight = moved
        return weight

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        return {"second": dict(self.second), "cross": dict(self.cross)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name in self.groups:
            self.second[name].copy_(state["second"][name])
            self.cross[name].copy_(state["cross"][name])


def sweep_unthresholded(weight: Tensor, second: Tensor, cross: Tensor, sparsity: float = 0.0) -> Tensor:
    """One sweep over all columns, λ_w = 0, as a triangular solve. All (layers, …); returns the new weight."""
    diagonal = second.diagonal(dim1=-2, dim2=-1)
    upper = second.triu() + torch.diag_embed(torch.full_like(diagonal, DEAD_UNIT))
    # Column j sees the columns before it as they are now and those behind it as they were.
    right = cross - weight @ second.tril(-1)
    # The shift by DEAD_UNIT damps the step, w_j + (b_j − W a_j) / (A_jj + 1e-10), and must not move its goal.
    right += weight * DEAD_UNIT
    return torch.linalg.solve_triangular(upper, right, upper=True, left=False)


def sweep_thresholded(weight: Tensor, second: Tensor, cross: Tensor, sparsity: float) -> Tensor:
    """One sweep, column after column, each soft-thresholded by λ_w / A_jj. All (layers, …)."""
    weight = weight.clone()
    for j in range(weight.shape[-1]):
        weight[:, :, j] = best_column(weight, second, cross, j, sparsity)
    return weight


def best_column(weight: Tensor, second: Tensor, cross: Tensor, j: int, sparsity: float) -> Tensor:
    """Column j at the surrogate objective's minimum over it, all other columns as they are: (layers, out)."""
    scale = (second[:, j, j] + DEAD_UNIT).view(-1, 1)
    residual = cross[:, :, j] - (weight @ second[:, :, j].unsqueeze(-1)).squeeze(-1)
    column = weight[:, :, j] + residual / scale
    return column.sign() * (column.abs() - sparsity / scale).clamp(min=0)


def surrogate_objective(weight: Tensor, second: Tensor, cross: Tensor, sparsity: float) -> Tensor:
    """½ tr W A Wᵀ − tr W Bᵀ + λ_w ‖W‖₁, (layers,): what no column update raises."""
    quadratic = 0.5 * ((weight @ second) * weight).sum((-2, -1))
    return quadratic - (weight * cross).sum((-2, -1)) + sparsity * weight.abs().sum((-2, -1))


def _shape_of(layer: DenseLayer) -> tuple[int, int]:
    out, n = layer.weight.shape
    return out, n + (layer.bias is not None)


def _with_ones(h: Tensor, layer: DenseLayer) -> Tensor:
    h = h.flatten(1)
    return h if layer.bias is None else torch.cat([h, h.new_ones(len(h), 1)], dim=1)


def _joined(layer: DenseLayer) -> Tensor:
    weight = layer.weight.detach()
    return weight if layer.bias is None else torch.cat([weight, layer.bias.detach().unsqueeze(1)], dim=1)


def _split_into(layer: DenseLayer, joined: Tensor) -> None:
    inputs = layer.weight.shape[1]
    layer.weight.data.copy_(joined[:, :inputs])
    if layer.bias is not None:
        layer.bias.data.copy_(joined[:, inputs])

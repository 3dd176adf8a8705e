"""Alternating minimization in a network of tanh cells: a code for every time step of every cell.

c_t = W i_t + U σ(c_{t-1}) + b       i_t: the input, or σ of the cell below's code       all (time, batch, H)

codes      from the top cell to the first, and within a cell from the last step to the first, each by n_c steps on
           ℓ/μ where it is read out, mse to the next step's code and to that of the cell above, both already
           updated, and mse to its own forward value
weights    all codes known, no step waits for another: one product over the whole chunk; no backpropagation
           through time anywhere
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.algorithms.alternating_minimization_codes import CodeSettings, Descent
from trainers.networks.dense import DenseLayer
from trainers.networks.recurrent import CellLayer, Recurrent
from trainers.objective import Objective

Gradients = dict[str, Tensor]


@dataclass(slots=True)
class Chunk:
    """One chunk of sequences on its way through the phases; lists are by cell, bottom to top."""

    inputs: Tensor
    """(time, batch, …)"""
    before: list[Tensor]
    """Each cell's h at the chunk's start."""
    targets: Tensor
    masks: list[Tensor | None]
    start: list[Tensor]
    """c^init, (time, batch, H)."""
    outputs: Tensor
    after: tuple[Tensor, ...]
    codes: list[Tensor]


class RecurrentCodes:
    """The two phases; weights stay in the network."""

    def __init__(self, network: Recurrent, objective: Objective, settings: CodeSettings) -> None:
        self.network, self.objective, self.settings = network, objective, settings
        self.cells: tuple[CellLayer, ...] = network.cells
        self.readout: DenseLayer = network.readout

    def forward(self, inputs: Tensor, targets: Tensor, state: tuple[Tensor, ...] | None) -> Chunk:
        """The chunk at its forward values."""
        below = inputs.transpose(0, 1)
        if state is None:
            state = tuple(cell.zero_state(len(inputs))[0] for cell in self.cells)
        x, masks, start, after = below, list[Tensor | None](), [], []
        for cell, h in zip(self.cells, state, strict=True):
            projected, transposed = cell.project(below).to(h.dtype), cell.recurrent_weight.t()
            c = torch.empty_like(projected)
            for t in range(len(c)):
                torch.addmm(projected[t], h, transposed, out=c[t])
                h = torch.tanh(c[t])
            after.append(h)
            start.append(c)
            passed = torch.tanh(c)
            masks.append(None if cell.dropout is None else cell.dropout(torch.ones_like(passed)))
            below = _masked(passed, masks[-1])
        outputs = self._read_out(below)
        return Chunk(x, list(state), targets, masks, start, outputs, tuple(after), list(start))

    def _read_out(self, passed: Tensor) -> Tensor:
        a = self.readout.affine(passed if self.network.each_step else passed[-1])
        return a.transpose(0, 1) if self.network.each_step else a

    # -- codes --------------------------------------------------------------------------------------------------------

    def move_codes(self, chunk: Chunk, mu: float) -> None:
        """Replaces chunk.codes."""
        chunk.codes = [c.clone() for c in chunk.start]
        for k in range(len(self.cells) - 1, -1, -1):
            self._move_cell(chunk, k, mu)

    def _move_cell(self, chunk: Chunk, k: int, mu: float) -> None:
        cell, settings, codes = self.cells[k], self.settings, chunk.codes[k]
        steps, is_top = len(codes), k == len(self.cells) - 1
        U = cell.recurrent_weight
        projected = cell.project(self._inputs_of(chunk, k, chunk.start))
        above_weight, above_rest = U, projected
        if not is_top:  # what the cell above predicts but for this cell's share
            above = self.cells[k + 1]
            earlier = _shifted(torch.tanh(chunk.codes[k + 1]), chunk.before[k + 1])
            above_weight, above_rest = above.weight, earlier @ above.recurrent_weight.t() + above.bias
        coupling = settings.residual_scale(codes[0]) / (mu if settings.mu_on_all else 1.0)
        scale = self._error_scale(chunk)
        for t in range(steps - 1, -1, -1):
            mask = None if chunk.masks[k] is None else chunk.masks[k][t]  # type: ignore[index]
            descent, start = Descent(settings), chunk.start[k][t]
            for _ in range(settings.steps):
                c = start if descent.moved is None else start + descent.moved
                h = torch.tanh(c)
                d_h = torch.zeros_like(h)
                if is_top and (self.network.each_step or t == steps - 1):
                    outputs = self.readout.affine(_masked(h, mask))
                    wanted = chunk.targets[:, t] if self.network.each_step else chunk.targets
                    error = self.objective.error(outputs, wanted) * (scale / mu)
                    d_h += _masked(error @ self.readout.weight, mask)
                if t + 1 < steps:
                    apart = torch.addmm(projected[t + 1], h, U.t()) - codes[t + 1]
                    d_h.addmm_(apart, U, alpha=coupling)
                if not is_top:
                    apart = torch.addmm(above_rest[t], _masked(h, mask), above_weight.t()) - chunk.codes[k + 1][t]
                    d_h += _masked(apart @ above_weight, mask) * coupling
                gradient = torch.ops.aten.tanh_backward(d_h, h)
                if settings.proximity and descent.moved is not None:
                    gradient = gradient + descent.moved * settings.residual_scale(descent.moved)
                if settings.sparsity:
                    gradient = gradient + torch.sign(c) * settings.penalty_scale(c, mu)
                descent.step(gradient)
            if descent.moved is not None:
                codes[t] = start + descent.moved

    # -- weights ------------------------------------------------------------------------------------------------------

    def updates(self, chunk: Chunk) -> list[tuple[str, Callable[[], tuple[Gradients, Tensor]]]]:
        """Each layer's name, and what gives its gradients and signal at the weights as they are then."""
        cells = [(cell.name, partial(self.cell_gradients, chunk, k)) for k, cell in enumerate(self.cells)]
        return [*cells, (self.readout.name, partial(self.readout_gradients, chunk))]

    def cell_gradients(self, chunk: Chunk, k: int) -> tuple[Gradients, Tensor]:
        """Of cell k's weights: the regression of its codes on its inputs, and the residual signal (batch, time, H)."""
        cell = self.cells[k]
        inputs = self._inputs_of(chunk, k, chunk.codes)
        earlier = _shifted(torch.tanh(chunk.codes[k]), chunk.before[k])
        apart = cell.project(inputs) + earlier @ cell.recurrent_weight.t() - chunk.codes[k]
        d = apart * self.settings.regression_scale(apart[0])
        if cell.symbols is not None:
            inputs = F.one_hot(inputs, cell.symbols)
        flat = d.flatten(0, 1)
        gradients = {
            "weight": flat.t() @ inputs.reshape(len(flat), -1).to(d.dtype),
            "recurrent_weight": flat.t() @ earlier.flatten(0, 1),
            "bias": flat.sum(0),
        }
        return {f"{cell.name}.{name}": gradient for name, gradient in gradients.items()}, d.transpose(0, 1)

    def readout_gradients(self, chunk: Chunk) -> tuple[Gradients, Tensor]:
        """Of the read-out: the loss's, on the updated codes of the top cell; and the signal at its outputs."""
        passed = _masked(torch.tanh(chunk.codes[-1]), chunk.masks[-1])
        error = self.objective.error(self._read_out(passed), chunk.targets) * self._error_scale(chunk)
        seen, d = (passed.transpose(0, 1), error) if self.network.each_step else (passed[-1], error)
        flat = d.reshape(-1, d.shape[-1])
        gradients = {f"{self.readout.name}.weight": flat.t() @ seen.reshape(len(flat), -1)}
        if self.readout.bias is not None:
            gradients[f"{self.readout.name}.bias"] = flat.sum(0)
        return gradients, d

    def code_changes(self, chunk: Chunk) -> dict[str, Tensor]:
        """‖c − c^init‖ / ‖c^init‖, by cell, over all steps and samples."""
        return {
            cell.name: (code - start).norm() / start.norm().clamp(min=1e-30)
            for cell, code, start in zip(self.cells, chunk.codes, chunk.start, strict=True)
        }

    def _inputs_of(self, chunk: Chunk, k: int, codes: list[Tensor]) -> Tensor:
        return chunk.inputs if k == 0 else _masked(torch.tanh(codes[k - 1]), chunk.masks[k - 1])

    def _error_scale(self, chunk: Chunk) -> Tensor | float:
        """Per-sample errors times this are those of the mean loss: over samples, and time steps that have a target."""
        if not self.network.each_step:
            return 1 / len(chunk.targets)
        kept = (chunk.targets >= 0).sum().clamp(min=1).to(chunk.outputs.dtype)
        return (1 if self.objective.kind == "cross_entropy" else self.objective.outputs) / kept


def _masked(h: Tensor, mask: Tensor | None) -> Tensor:
    return h if mask is None else h * mask


def _shifted(h: Tensor, before: Tensor) -> Tensor:
    """h_0 … h_{T-1} of h_1 … h_T."""
    return torch.cat([before.unsqueeze(0), h[:-1]])

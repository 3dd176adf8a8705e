"""Decoupled neural interfaces through time (arXiv 1608.05343, section 2.2): the future beyond a chunk, predicted.

A chunk of T steps is unrolled and backpropagated through as in truncated backpropagation through time; but where that
takes the gradient by the chunk's last state for 0, a synthesizer predicts it.

    paper    here         meaning                                                                  shape
    h_T      after        state after the chunk: h, and c for lstm, of every cell, joined          (batch, Σ H)
    δ̂_T      predicted    synthesizer's ∂(all losses still to come)/∂h_T                            (batch, Σ H)
    δ_0      sent         what this chunk, with its own δ̂_T, sends back to its first state: the target of the
                          prediction that was applied at the end of the chunk before
    A        auxiliary    Aux: from a boundary's state, the δ̂ of the next boundary

    θ:          Σ_τ ∂L_τ/∂θ + γ δ̂_T ∂h_T/∂θ          γ = applied_scale, so the bootstrapped targets are discounted by it
    synthesizer ‖δ̂_0 − δ_0‖²,  δ_0 = Σ_τ ∂L_τ/∂h_0 + γ δ̂_T ∂h_T/∂h_0;  0 for the state that a sequence ended in
    Aux         w ‖A(h_0) − δ̂_T‖², δ̂_T fixed: a loss of the chunk before, that h_0 is the end of, and of A

Losses here are sums over a sample's time steps, whatever the chunk's length, so that chunks add up; the network's own
gradient is divided by batch and steps again.

The auxiliary loss is known a chunk late. The chunk before is then run again, from the state it began in, and the loss
is backpropagated through it. Sending its gradient by h_0 back as a part of δ_0 instead would be in vain: A regresses on
h_0, so that what it leaves over averages to nothing for a synthesizer that sees h_0 alone.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.backprop import enumerate_names, teaching_signals
from trainers.algorithms.base import Batch
from trainers.algorithms.synthetic_gradients_models import Gradients, Synthesizer, make_synthesizer
from trainers.networks.base import Watched
from trainers.networks.recurrent import Recurrent
from trainers.objective import Objective
from trainers.streams import StreamBook


@dataclass(slots=True)
class ChunkStep:
    """What one chunk gives."""

    outputs: Tensor
    loss: Tensor
    gradients: Gradients
    """Of the network's weights."""
    signals: dict[str, Tensor]
    synthesizer_loss: Tensor
    """Summed over the batch; 0 where no prediction could be checked."""
    synthesizer_gradients: Gradients = field(default_factory=dict)
    compared: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Layer → the prediction that was checked, and what it was checked against."""


class RecurrentInterface:
    """The border between chunks: carries the state, and keeps the synthesizer that predicts across it."""

    def __init__(self, network: Recurrent, objective: Objective, hyperparameters: Any, streams: StreamBook) -> None:
        self.network, self.objective, self.hyperparameters = network, objective, hyperparameters
        shape = (sum(shape[0] for shape in network.state_shapes),)
        self.synthesizer = make_synthesizer("synthesizer", shape, shape, 0, hyperparameters, streams)
        self.auxiliary: Synthesizer | None = None
        if hyperparameters.auxiliary:
            self.auxiliary = make_synthesizer("auxiliary", shape, shape, 0, hyperparameters, streams)
        self.carried: tuple[Tensor, ...] = ()
        self.chunk_before: tuple[Tensor, ...] = ()
        """Aux: its inputs, and the state it began in; () before the first chunk, and after an old checkpoint."""

    def models(self) -> dict[str, Synthesizer]:
        """By name."""
        auxiliary = {} if self.auxiliary is None else {"auxiliary": self.auxiliary}
        return {"state": self.synthesizer, **auxiliary}

    @property
    def parts(self) -> tuple[str, ...]:
        """How the names of its modules' weights begin: there is one module."""
        return ("",)

    def step(self, batch: Batch, *, watch: bool) -> ChunkStep:
        """The gradients of one chunk; moves the carried state on."""
        before = self.carried
        ended = bool(before) and batch.starts
        leaves = self._leaves(batch)
        weights = dict(self.network.named_parameters())
        watched: Watched | None = {} if watch else None
        with torch.enable_grad():
            outputs, after = self.network.run(batch.inputs, leaves, watched)
            loss = self.objective.loss(outputs, batch.targets)
            joined = torch.cat(after, dim=1)
        predicted = self.synthesizer.predict(joined.detach(), None)
        unit = self._unit(batch)
        readout = [] if watched is None else watched[self.network.readout.name]
        found = torch.autograd.grad(
            [loss, joined],
            [*weights.values(), *leaves, *readout],
            [torch.ones_like(loss), (predicted * (self.hyperparameters.applied_scale / unit)).to(joined.dtype)],
            allow_unused=True,
        )
        gradients = {name: each for name, each in zip(weights, found, strict=False) if each is not None}
        at_leaves = found[len(weights) : len(weights) + len(leaves)]
        sent = torch.cat(
            [
                leaf.new_zeros(leaf.shape) if each is None else each
                for leaf, each in zip(leaves, at_leaves, strict=True)
            ],
            dim=1,
        )
        signals = {}
        if watched is not None:
            readout[0].grad = found[-1]
            signals = teaching_signals(watched)
        step = ChunkStep(outputs.detach(), loss.detach(), gradients, signals, loss.new_zeros(()))
        if ended:
            self._check(step, torch.cat(before, dim=1), torch.zeros_like(predicted))
        elif before:
            self._check(step, torch.cat(leaves, dim=1).detach(), sent * unit)
            if self.auxiliary is not None and self.chunk_before:
                self._auxiliary_step(step, self.auxiliary, predicted, unit)
        self.carried = tuple(each.detach() for each in after)
        if self.auxiliary is not None:
            # The batch's memory may be that of the next one.
            self.chunk_before = (batch.inputs.clone(), *(each.detach() for each in leaves))
        return step

    def _leaves(self, batch: Batch) -> tuple[Tensor, ...]:
        state = self.carried
        if batch.starts or not state:
            state = tuple(each for cell in self.network.cells for each in cell.zero_state(len(batch.inputs)))
        return tuple(each.detach().clone().requires_grad_(True) for each in state)

    def _unit(self, batch: Batch) -> float:
        """What the gradient of the mean loss is multiplied by to be that of a sample's own, summed over its steps."""
        if self.hyperparameters.gradient_scale == "batch_mean":
            return 1.0
        return float(len(batch.inputs) * (batch.inputs.shape[1] if self.network.each_step else 1))

    def _check(self, step: ChunkStep, state: Tensor, target: Tensor) -> None:
        """Compare the prediction from `state`, with the synthesizer as it now is, to what has come."""
        prediction = self.synthesizer.predict(state, None)
        step.synthesizer_loss, gradients = self.synthesizer.gradients(target)
        step.synthesizer_gradients |= {f"state.{name}": each for name, each in gradients.items()}
        step.compared[self.network.layers[-2].name] = (prediction, target)

    def _auxiliary_step(self, step: ChunkStep, auxiliary: Synthesizer, predicted: Tensor, unit: float) -> None:
        """Its gradients join the step's: of A's weights, and of the network's through the chunk before."""
        inputs, *start = self.chunk_before
        weights, models = dict(self.network.named_parameters()), dict(auxiliary.named_parameters())
        with torch.enable_grad():
            _, boundary = self.network.run(inputs, tuple(start))
            difference = auxiliary(torch.cat(boundary, dim=1), None) - predicted
            loss = difference.square().sum() / len(inputs)
        found = torch.autograd.grad(loss, [*models.values(), *weights.values()], allow_unused=True)
        step.synthesizer_gradients |= {f"auxiliary.{name}": each for name, each in zip(models, found, strict=False)}
        samples = len(inputs) if self.hyperparameters.gradient_scale == "per_sample" else 1
        scale = self.hyperparameters.auxiliary_weight * samples / unit
        for name, each in zip(weights, found[len(models) :], strict=True):
            if each is not None:  # the readout has no part in it
                step.gradients[name] = step.gradients[name] + each * scale

    def state_dict(self) -> dict[str, Any]:
        """What is carried from chunk to chunk; the models are saved by their owner."""
        return {
            "carried": dict(enumerate_names(self.carried)),
            "chunk_before": dict(enumerate_names(self.chunk_before)),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.carried = tuple(each.to(device) for each in state["carried"].values())
        self.chunk_before = tuple(each.to(device) for each in state.get("chunk_before", {}).values())

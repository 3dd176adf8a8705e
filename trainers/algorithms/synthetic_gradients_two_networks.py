"""Decoupled neural interfaces between two networks that tick at different rates (arXiv 1608.05343, section 3.2).

A ticks at every step, B once in T, and what B answers to a message comes after A has moved on; what lies beyond a chunk
comes later still. So three gradients are predicted, each by a synthesizer at its border:

    paper  here          border                                             shape
    h_A    "a.cell"      A's state at the end of a chunk                    (batch, Σ H)
    m      "a.message"   A's message, before B has ticked                   (batch · ticks of B, message)
    h_B    "b.cell"      B's state after its last tick                      (batch, Σ H)

    A:  L_odd + δ̂(m, c) m + γ δ̂(h_A) h_A      by A's weights alone; A updates without waiting for B
    B:  L_threes + γ δ̂(h_B) h_B               by B's weights and by m; B returns δ(m) to A's synthesizer
    synthesizers  ‖δ̂ − δ‖²: δ(m) of the same step; δ of a state from the next chunk, 0 where a stream ended

c is the count that B will be asked for, if `conditioned`. By m alone the mean of δ(m) is near 0 as soon as B
says what can be said from m, so that nothing new is ever put into the message. γ is `applied_scale`, a discount
through time. Without a border's synthesizer no gradient passes there: nothing of B's task reaches A without
"a.message".
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.backprop import enumerate_names, teaching_signals
from trainers.algorithms.base import Batch
from trainers.algorithms.synthetic_gradients_hyperparameters import BORDERS
from trainers.algorithms.synthetic_gradients_models import Gradients, Synthesizer, make_synthesizer
from trainers.algorithms.synthetic_gradients_recurrent import ChunkStep
from trainers.networks.base import Layer, Watched
from trainers.networks.recurrence import State
from trainers.networks.two_networks import TwoNetworks
from trainers.objective import Objective
from trainers.streams import StreamBook


class TwoNetworkInterfaces:
    """The borders of both networks: carries their states, and keeps the synthesizers that predict across them."""

    def __init__(self, network: TwoNetworks, objective: Objective, hyperparameters: Any, streams: StreamBook) -> None:
        self.network, self.objective, self.hyperparameters = network, objective, hyperparameters
        widths = {
            "a.message": network.message.out_shape,
            **{cell.name: (cell.recurrence.states * cell.out_shape[0],) for cell in network.cells},
        }
        asked = network.readouts[1].out_shape[0] if hyperparameters.conditioned else 0
        self.synthesizers: dict[str, Synthesizer] = {
            at: make_synthesizer(
                f"synthesizer/{at}", widths[at], widths[at], asked * (at == "a.message"), hyperparameters, streams
            )
            for at in BORDERS
            if at in (hyperparameters.borders or ())
        }
        self.carried: State = ()
        a, b = (tuple(each for each in network.layers if each.name.startswith(part)) for part in ("a.", "b."))
        self.layers: tuple[tuple[Layer, ...], tuple[Layer, ...]] = (a, b)

    def models(self) -> dict[str, Synthesizer]:
        """By the layer that they predict a gradient for."""
        return dict(self.synthesizers)

    @property
    def parts(self) -> tuple[str, ...]:
        """How the names of each network's weights begin: each is clipped by itself."""
        return ("a.", "b.")

    def step(self, batch: Batch, *, watch: bool) -> ChunkStep:
        """The gradients of one chunk, A's before B has run; moves the carried states on."""
        before = self.carried
        ended = bool(before) and batch.starts
        start = self.network.zero_state(len(batch.inputs)) if batch.starts or not before else before
        of_a, of_b = self.network.split_state(tuple(each.detach().clone().requires_grad_(True) for each in start))
        watched: Watched | None = {} if watch else None
        targets = batch.targets.unsqueeze(1) if batch.targets.dim() == 2 else batch.targets
        ticks = targets.shape[1]
        unit = float(len(batch.inputs) * ticks) if self.hyperparameters.gradient_scale == "per_sample" else 1.0
        condition = targets[..., 1].flatten() if self.hyperparameters.conditioned else None
        turn = Turn(self, condition, unit, watched)

        with torch.enable_grad():
            odd, message, after_a = self.network.run_a(batch.inputs, of_a, watched)
            a_joined = torch.cat(after_a, dim=1)
            a_loss = self.objective.head_loss(odd[:, -ticks:], targets[..., 0])
        sent_a = turn.gradients(0, a_loss, {"a.cell": a_joined, "a.message": message}, of_a)

        arrived = message.detach().requires_grad_(True)
        with torch.enable_grad():
            threes, after_b = self.network.run_b(arrived, of_b, watched)
            b_joined = torch.cat(after_b, dim=1)
            b_loss = self.objective.head_loss(threes[:, -ticks:], targets[..., 1])
        *sent_b, answer = turn.gradients(1, b_loss, {"b.cell": b_joined}, [*of_b, arrived])

        step = ChunkStep(
            outputs=torch.cat([odd, threes], dim=-1).detach(),
            loss=(a_loss + b_loss).detach(),
            gradients=turn.found,
            signals={} if watched is None else teaching_signals(watched),
            synthesizer_loss=a_loss.new_zeros(()),
        )
        self._learn(step, "a.message", None, answer.flatten(0, 1) * unit)
        for at, state, sent in zip(("a.cell", "b.cell"), self._halves(before), (sent_a, sent_b), strict=True):
            if state is not None:
                target = torch.cat(list(sent), dim=1)
                self._learn(step, at, state, torch.zeros_like(target) if ended else target * unit)
        self.carried = tuple(each.detach() for each in (*after_a, *after_b))
        return step

    def _halves(self, state: State) -> tuple[Tensor | None, Tensor | None]:
        """A's and B's, each joined; None where nothing is carried yet."""
        if not state:
            return None, None
        of_a, of_b = self.network.split_state(state)
        return torch.cat(of_a, dim=1), torch.cat(of_b, dim=1)

    def _learn(self, step: ChunkStep, at: str, state: Tensor | None, target: Tensor) -> None:
        """The synthesizer at a border against what has come: for `state` predicted anew, else its last prediction."""
        model = self.synthesizers.get(at)
        if model is None:
            return
        if state is not None:
            model.predict(state, None)
        step.compared[at] = (model.prediction.reshape(target.shape), target)
        loss, gradients = model.gradients(target)
        step.synthesizer_loss = step.synthesizer_loss + loss
        step.synthesizer_gradients |= {f"{at}.{name}": each for name, each in gradients.items()}

    def state_dict(self) -> dict[str, Any]:
        """What is carried from chunk to chunk; the models are saved by their owner."""
        return {"carried": dict(enumerate_names(self.carried))}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.carried = tuple(each.to(device) for each in state["carried"].values())


class Turn:
    """One network's backward pass after the other, with what is predicted at their borders."""

    def __init__(
        self, interfaces: TwoNetworkInterfaces, condition: Tensor | None, unit: float, watched: Watched | None
    ) -> None:
        self.interfaces, self.unit, self.watched = interfaces, unit, watched
        self.condition = condition
        """c: what B is asked for at each message, (batch · ticks of B,)."""
        self.found: Gradients = {}
        """Of the weights of all networks that had their turn."""

    def gradients(self, part: int, loss: Tensor, borders: dict[str, Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
        """Of loss and predictions, by the part's weights (kept in `found`) and by the leaves, which are returned."""
        weights = {
            f"{layer.name}.{name}": weight
            for layer in self.interfaces.layers[part]
            for name, weight in layer.named_parameters()
        }
        watched = self.watched or {}
        dense = [layer.name for layer in self.interfaces.layers[part] if layer not in self.interfaces.network.cells]
        dense = [name for name in dense if name in watched]
        known = {at: border for at, border in borders.items() if at in self.interfaces.synthesizers}
        found = torch.autograd.grad(
            [loss, *known.values()],
            [*weights.values(), *leaves, *(watched[name][0] for name in dense)],
            [torch.ones_like(loss), *(self._applied(at, border) for at, border in known.items())],
            allow_unused=True,
        )
        self.found |= {name: each for name, each in zip(weights, found, strict=False) if each is not None}
        for name, signal in zip(dense, found[len(weights) + len(leaves) :], strict=True):
            if signal is None:
                del watched[name]  # without a border at the message nothing teaches it
            else:
                watched[name][0].grad = signal  # those of cells are filled in on the way
        at_leaves = found[len(weights) : len(weights) + len(leaves)]
        return [torch.zeros_like(leaf) if each is None else each for leaf, each in zip(leaves, at_leaves, strict=True)]

    def _applied(self, at: str, border: Tensor) -> Tensor:
        """What is predicted there, as a gradient of the mean loss, in the border's shape."""
        of_message = at == "a.message"
        rows = border.detach().flatten(0, -2)
        predicted = self.interfaces.synthesizers[at].predict(rows, self.condition if of_message else None)
        scale = 1.0 if of_message else self.interfaces.hyperparameters.applied_scale
        return (predicted * (scale / self.unit)).to(border.dtype).view_as(border)

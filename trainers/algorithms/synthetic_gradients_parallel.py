"""Decoupled neural interfaces with the modules in several processes, in lock step: the numbers are the same.

Every process runs the same loop over the same batches and owns a stretch of neighbouring modules, with the synthesizer
above each and the input synthesizer of each. In a step it

    takes the message of the process below, runs its modules, and sends its own up as soon as it is there;
    updates its modules at once, from their synthesizers;
    sends down what its lowest module sends back, and does not wait for the answer to its own message.

That answer trains the synthesizer at its upper border; it is waited for only when that synthesizer predicts again, in
the next step. So the process below runs the next batch while the one above is still at this one.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.algorithms.synthetic_gradients import SyntheticGradients, Update
from trainers.layer_parallel.group import LayerGroup


class SyntheticGradientsPart:
    """One process's share of the algorithm. Measures come once a pass, at its last step, and at a stop."""

    def __init__(self, whole: SyntheticGradients, group: LayerGroup) -> None:
        if whole.synthesizer_optimizer is None:
            raise AssertionError("modules in several processes have a synthesizer at each border")
        self.whole, self.group, self.network = whole, group, whole.network
        self.synthesizer_optimizer = whole.synthesizer_optimizer
        costs = [sum(each.numel() for layer in m.layers for each in layer.parameters()) for m in whole.modules]
        for i, model in whole.synthesizers.items():
            costs[i] += sum(each.numel() for each in model.parameters())
        self.own = group.share(costs)
        self.layers = {layer.name for i in self.own for layer in whole.modules[i].layers}
        self.models = {whole.interface_name(i) for i in self.own if i in whole.synthesizers}
        self.models |= {f"input-{whole.interface_name(i - 1)}" for i in self.own if i in whole.input_synthesizers}
        self.stop_wanted = self.stop_agreed = False
        self._answer: tuple[Any, Tensor, float] | None = None
        self._totals: dict[str, tuple[Tensor, int]] = {}
        self._fresh = True
        """The whole network is here as its owners have it."""

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        return self.whole.phases(epoch, epochs)

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        self._fresh = False
        self.group.flush()
        update = PartOfUpdate(self, batch, moment)
        word, message = int(self.stop_wanted), batch.inputs
        if not self.group.is_first:
            shape = self.whole.modules[self.own.start - 1].layers[-1].out_shape
            like = torch.empty(len(batch.inputs), *shape, dtype=next(self.network.parameters()).dtype)
            word, message = self.group.receive_from_below(like)
        self.stop_agreed = update.last = bool(word)
        for i in self.own:
            message = update.run_module(i, message)
        if self.group.is_last:
            self._count(self.whole.objective.measure(message, batch.targets, update.loss))
        samples = len(batch.inputs) if self.group.is_last else 0  # counted once
        self._count({"synthesizer_loss": (update.synthesizer_loss(), samples)})
        if moment.step + 1 < moment.steps and not self.stop_agreed:
            return StepReport({})
        self.settle()
        return StepReport(self._everyones_totals())

    def expect(self, like: Tensor, progress: float) -> None:
        """The answer to the message that has just gone up."""
        self._answer = (*self.group.expect_answer(like), progress)

    @torch.no_grad()
    def settle(self) -> None:
        """Train the synthesizer at the upper border by the answer, if one is still to come."""
        if self._answer is None:
            return
        handle, answer, progress = self._answer
        self._answer = None
        handle.wait()
        border = self.own[-1]
        loss, gradients = self.whole.synthesizers[border].gradients(answer)
        name = self.whole.interface_name(border)
        self._count({"synthesizer_loss": (loss, 0)})
        self.synthesizer_optimizer.step_with(
            {f"{name}.{each}": gradient for each, gradient in gradients.items()}, progress
        )

    def predict(self, inputs: Tensor) -> Tensor:
        self.synchronise()
        return self.whole.predict(inputs)

    # -- what the processes know together -----------------------------------------------------------------------------

    def _count(self, measures: dict[str, tuple[Tensor, int]]) -> None:
        for name, (value, count) in measures.items():
            before, counted = self._totals.get(name, (0.0, 0))
            self._totals[name] = (before + value.double(), counted + count)

    def _everyones_totals(self) -> dict[str, tuple[Tensor, int]]:
        totals: dict[str, tuple[Tensor, int]] = {}
        for own in reversed(self.group.gather(self._totals)):  # the last process's first: it has the loss
            for name, (value, count) in own.items():
                before, counted = totals.get(name, (torch.zeros((), dtype=torch.float64), 0))
                totals[name] = (before + value, counted + count)
        self._totals = {}
        return totals

    def synchronise(self) -> None:
        """Every process gets the network as the owners have it; all must call it at the same place of the run."""
        if self._fresh:
            return
        own = {name: each for name, each in self.network.state_dict().items() if name.split(".")[0] in self.layers}
        merged: dict[str, Tensor] = {}
        for part in self.group.gather(own):
            merged |= part
        self.network.load_state_dict(merged)
        self._fresh = True

    def state_dict(self) -> dict[str, Any]:
        """The whole algorithm's, so that a checkpoint resumes in one process or in any number."""
        self.settle()
        self.synchronise()
        state = self.whole.state_dict()
        own = {
            "optimizer": {k: v for k, v in state["optimizer"].items() if k.split(".")[0] in self.layers},
            "synthesizers": {k: v for k, v in state["synthesizers"].items() if k in self.models},
            "synthesizer_optimizer": {
                k: v for k, v in state["synthesizer_optimizer"].items() if k.split(".")[0] in self.models
            },
        }
        for key in own:
            state[key] = {}
        for part in self.group.gather(own):
            for key, values in part.items():
                state[key] |= values
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.whole.load_state_dict(state)


class PartOfUpdate(Update):
    """Of the modules of one process; what crosses its borders is sent."""

    def __init__(self, part: SyntheticGradientsPart, batch: Batch, moment: Moment) -> None:
        super().__init__(part.whole, batch, moment)
        self.part, self.last = part, False

    def sent_up(self, i: int, message: Tensor) -> None:
        part = self.part
        if i == part.own[-1] and not part.group.is_last:
            part.group.send_up(int(self.last), message)
            part.settle()  # before the synthesizer predicts again
            if self.updating[i + 1]:
                part.expect(message, self.progress)

    def train_synthesizers_below(self, i: int, sent: Tensor, message: Tensor) -> None:
        if i > self.part.own[0]:
            super().train_synthesizers_below(i, sent, message)
            return
        self.part.group.answer_below(sent)
        self.train_input_synthesizer(i, message)

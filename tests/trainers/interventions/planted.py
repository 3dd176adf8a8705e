"""Algorithms that are in no registry: honest ones, and liars whose declarations an intervention must refute.

All are plain gradient descent on each layer of an mlp with a teaching signal of their own making; what they declare is
theirs to choose, whatever they do.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import Batch, Moment, Properties, Property, StepReport
from trainers.networks.base import Network
from trainers.objective import Objective
from trainers.resolve import Resolved, resolve_parts
from trainers.spec import StrictModel
from trainers.streams import StreamBook

NETWORK = {"kind": "mlp", "hidden": [24, 20, 16], "activation": "tanh"}
NO_NEEDS = dict.fromkeys(
    ("weight_transport", "global_error_signal", "backward_locking", "update_locking", "needs_derivative",
     "symmetric_feedback"), "no"
) | {"forward_locking": "yes", "layer_parallel": "yes"}  # fmt: skip


class Nothing(StrictModel):
    """No hyperparameters."""


class Planted:
    """Base: forward, signals from above or from elsewhere, one local update a layer."""

    Hyperparameters = Nothing
    declares: dict[str, Any] = {}

    @staticmethod
    def complete(hyperparameters: Any, network: Any, training: Any) -> Any:
        return hyperparameters

    @classmethod
    def properties(cls, hyperparameters: Any, network: Any) -> Properties:
        answers = NO_NEEDS | cls.declares
        declared = {name: Property(answer, "as planted") for name, answer in answers.items()}  # type: ignore[arg-type]
        return Properties(**declared, extra_state="", trains=frozenset({"mlp"}))

    def setup(self, network: Network, objective: Objective, hyperparameters: Any, streams: StreamBook) -> None:
        self.network, self.objective, self.streams = network, objective, streams
        self.layers: list[Any] = list(network.layers)
        self.steps_done = 0
        self.prepare()

    def prepare(self) -> None:
        """Make feedback weights."""

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        return ("train",)

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        h, a = [batch.inputs.flatten(1)], []
        for layer in self.layers:
            a.append(layer.affine(h[-1]))
            h.append(layer.activate(a[-1]))
        error = self.objective.error(h[-1], batch.targets)
        signals = [*self.signals(h, a, error, batch), error]
        for layer, signal, below in zip(self.layers, signals, h, strict=False):
            layer.weight.sub_(signal.t() @ below, alpha=0.01)
            layer.bias.sub_(signal.sum(0), alpha=0.01)
        self.steps_done += 1
        return StepReport({})

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        """Of every hidden layer, at its pre-activations, bottom to top."""
        raise NotImplementedError

    def slope(self, place: int, h: list[Tensor], a: list[Tensor]) -> Tensor:
        return self.layers[place].activation.derivative(a[place], h[place + 1])

    def random(self, name: str, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.streams.once(name)) / shape[-1] ** 0.5

    def predict(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)


# -- feedback alignment, honest and not -------------------------------------------------------------------------------


class FeedbackAlignment(Planted):
    """Fixed random feedback weights in place of the transposed forward weights (arXiv 1411.0247)."""

    declares = {"global_error_signal": "yes", "backward_locking": "yes", "update_locking": "yes",
                "needs_derivative": "yes", "layer_parallel": "no"}  # fmt: skip

    def prepare(self) -> None:
        self.feedback_weights = [self.random(layer.name, *layer.weight.shape) for layer in self.layers[1:]]

    def feedback(self, place: int) -> Tensor:
        """Of the layer above this one, (out, in)."""
        return self.feedback_weights[place]

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        found, signal = [], error
        for place in range(len(self.layers) - 2, -1, -1):
            signal = (signal @ self.feedback(place)) * self.slope(place, h, a)
            found.append(signal)
        return found[::-1]


class CopiesAtStart(FeedbackAlignment):
    """Feedback weights that start as copies of the forward ones, and stay as they are."""

    def prepare(self) -> None:
        self.feedback_weights = [layer.weight.detach().t().clone().t() for layer in self.layers[1:]]


class CopiesAtStartThenLearns(CopiesAtStart):
    def feedback(self, place: int) -> Tensor:
        self.feedback_weights[place].mul_(0.9)
        return self.feedback_weights[place] + 0.05 * self.random(f"noise{place}", *self.feedback_weights[place].shape)


class CopiesEachStep(FeedbackAlignment):
    def feedback(self, place: int) -> Tensor:
        self.feedback_weights[place].copy_(self.layers[place + 1].weight)
        return self.feedback_weights[place]


class CopiesThroughNumpy(FeedbackAlignment):
    def feedback(self, place: int) -> Tensor:
        array = self.layers[place + 1].weight.detach().numpy()
        return torch.from_numpy(array.T.copy()).t() * 0.5


class UsesInverses(FeedbackAlignment):
    """Pseudo-inverses of the forward weights: computed from them alone."""

    def feedback(self, place: int) -> Tensor:
        return torch.linalg.pinv(self.layers[place + 1].weight.detach()).t()


class SumsByHand(FeedbackAlignment):
    """A product that is written as a broadcast multiplication and a sum."""

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        found, signal = [], error
        for place in range(len(self.layers) - 2, -1, -1):
            signal = (signal[:, :, None] * self.layers[place + 1].weight).sum(1) * self.slope(place, h, a)
            found.append(signal)
        return found[::-1]


class TransportsAfterThreeSteps(FeedbackAlignment):
    def feedback(self, place: int) -> Tensor:
        late = self.steps_done >= 3
        return self.layers[place + 1].weight.detach() if late else super().feedback(place)


class DirectFeedbackAlignment(FeedbackAlignment):
    """The error goes from the outputs straight to every layer (arXiv 1609.01596): no layer waits for a way back."""

    declares = FeedbackAlignment.declares | {"backward_locking": "no"}

    def prepare(self) -> None:
        outputs = self.objective.outputs
        self.feedback_weights = [self.random(layer.name, outputs, layer.out_shape[0]) for layer in self.layers[:-1]]

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        return [(error @ feedback) * self.slope(place, h, a) for place, feedback in enumerate(self.feedback_weights)]


class ClaimsNoBackwardLocking(FeedbackAlignment):
    declares = FeedbackAlignment.declares | {"backward_locking": "no"}


# -- local learning from the label, honest and not --------------------------------------------------------------------


class LabelTargets(Planted):
    """Each layer is drawn towards a fixed random pattern of the label: local, and without any derivative."""

    def prepare(self) -> None:
        self.patterns = [self.random(layer.name, self.objective.outputs, *layer.out_shape) for layer in self.layers]

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        label = self.objective.one_hot(batch.targets)
        return [h[place + 1] - label @ self.patterns[place] for place in range(len(self.layers) - 1)]


class UsesDerivatives(LabelTargets):
    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        own = super().signals(h, a, error, batch)
        return [signal * self.slope(place, h, a) for place, signal in enumerate(own)]


class ReadsLayerAbove(LabelTargets):
    """A pull of the layer above, forwards through its weights."""

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        own = super().signals(h, a, error, batch)
        return [signal + 1e-3 * a[place + 1].mean(1, keepdim=True) for place, signal in enumerate(own)]


class ReadsSizeOfLayerAbove(LabelTargets):
    """No product with its weights: their norm alone, and as a number that torch does not follow."""

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        own = super().signals(h, a, error, batch)
        return [signal * float(self.layers[place + 1].weight.norm()) for place, signal in enumerate(own)]


class ReadsAboveAfterThreeSteps(ReadsLayerAbove):
    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        late = self.steps_done >= 3
        return super().signals(h, a, error, batch) if late else LabelTargets.signals(self, h, a, error, batch)


class PeeksAtLossAfterThreeSteps(LabelTargets):
    """A reward: the size of the error at the output."""

    def signals(self, h: list[Tensor], a: list[Tensor], error: Tensor, batch: Batch) -> list[Tensor]:
        own = super().signals(h, a, error, batch)
        return [signal * error.square().mean() for signal in own] if self.steps_done >= 3 else own


class ClaimsNoForwardLocking(LabelTargets):
    declares = {"forward_locking": "no"}


class UnlockedForwards(LabelTargets):
    """Hidden layers run on random features of the network's own inputs, whatever those below do."""

    declares = {"forward_locking": "no"}

    def prepare(self) -> None:
        super().prepare()
        inputs = self.layers[0].weight.shape[1]
        self.features = [self.random(f"f{layer.name}", inputs, layer.weight.shape[1]) for layer in self.layers[1:]]

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        x = batch.inputs.flatten(1)
        label = self.objective.one_hot(batch.targets)
        for place, layer in enumerate(self.layers):
            below = x @ self.features[place - 1] if place else x
            signal = layer.activate(layer.affine(below)) - label @ self.patterns[place]
            layer.weight.sub_(signal.t() @ below, alpha=0.01)
        return StepReport({})


class ClaimsToNeed(LabelTargets):
    """A modest one, that needs less than it says."""

    declares = {"weight_transport": "yes", "global_error_signal": "yes", "update_locking": "yes",
                "backward_locking": "yes", "needs_derivative": "yes", "symmetric_feedback": "yes",
                "layer_parallel": "no"}  # fmt: skip


def planted(algorithm: type[Planted], *, seed: int = 3, network: dict[str, Any] | None = None) -> Resolved:
    """The algorithm on a small mlp with the shapes of digits."""
    training = {"seed": seed, "threads": 1, "device": "cpu"}
    spec = {"algorithm": "backprop", "dataset": "digits", "network": network or NETWORK, "training": training}
    return dataclasses.replace(resolve_parts(spec), algorithm=algorithm, hyperparameters=Nothing())

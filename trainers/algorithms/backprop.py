"""Backpropagation (Rumelhart, Hinton & Williams 1986), through time for recurrent networks: the incumbent.

    δ_L = ∂ℓ/∂a_L                                    error at the output
    δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ s'(a_l)               carried down through the transposed weights
    ∇W_l = δ_l h_{l-1}ᵀ / m                          m samples in the batch

torch's autograd computes exactly this; it is the one algorithm here that may let it run across layers. A recurrent
network is truncated at the chunk of T steps that a batch holds; its state is carried over, detached.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainers.algorithms.base import Batch, Moment, Properties, Property, StepReport
from trainers.errors import SpecError, UnsupportedNetwork
from trainers.networks.base import Network, RecurrentNetwork, Watched
from trainers.networks.discrete import Through, forward_through, mean_of_samples, transmits_of
from trainers.networks.recomputing import forward_recomputing
from trainers.objective import Objective
from trainers.optimizers import Optimizer, OptimizerOptions
from trainers.streams import StreamBook, generator_for

CHUNKED = ("recurrent", "two_networks")
"""Kinds of network that are run along a sequence, chunk by chunk."""


class BackpropHyperparameters(OptimizerOptions):
    """The optimizer's, and what is done to the loss."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    trained_layers: Literal["all", "output"] = Field(
        default="all", description="output: hidden layers keep their initial weights (the control `frozen`)"
    )
    recompute_activations: bool = Field(
        default=False,
        description="layers' insides are computed again on the way back instead of kept: activation checkpointing "
        "(the control of equal memory)",
    )
    through_discrete: Through = Field(
        default="refuse",
        description="what the gradient does where a hidden layer passes up its sign or a sample: zero stops it, "
        "straight_through ignores the sign or sample, discretize_at_test trains without and predicts with it",
    )
    input_noise: float = Field(
        default=0.0, ge=0, le=100, description="standard deviation of noise added to the inputs in training"
    )
    prediction_samples: int = Field(
        default=100, ge=1, le=10_000, description="passes whose class probabilities a stochastic network averages"
    )


class Backprop:
    """Gradient descent on the loss, by the chain rule through all layers."""

    Hyperparameters = BackpropHyperparameters

    @staticmethod
    def complete(hyperparameters: BackpropHyperparameters, network: Any, training: Any) -> BackpropHyperparameters:
        named = [("activation", each) for each in getattr(network, "activations", list)()]
        named.append(("output_activation", getattr(network, "output_activation", "identity")))
        for field, activation in named:
            if activation in ("sign", "step"):
                raise UnsupportedNetwork(
                    f"#/network/{field}",
                    f"backprop needs a usable derivative; that of {activation!r} is 0 almost everywhere. "
                    "Choose tanh; for discrete units, transmit sign and train with difference_target_propagation.",
                    got=activation,
                    allowed=["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "elu", "identity"],
                )
        for transmit in getattr(network, "transmits", list)():
            if transmit != "value" and hyperparameters.through_discrete == "refuse":
                raise UnsupportedNetwork(
                    "#/network/transmit",
                    f"backprop needs a usable derivative; that of passing up a {transmit} is 0 almost everywhere. "
                    "Choose value, say in hyperparameters.through_discrete what the gradient does there, or train it "
                    "with difference_target_propagation.",
                    got=transmit,
                    allowed=["value"],
                )
        transmits = set(getattr(network, "transmits", list)())
        if hyperparameters.recompute_activations and (network.kind in CHUNKED or not transmits <= {"value"}):
            raise SpecError(
                "#/hyperparameters/recompute_activations",
                "recompute_activations needs a feed-forward network whose layers pass up their activations; "
                "set it to false for this one.",
                got=True,
                allowed=[False],
            )
        return hyperparameters

    @staticmethod
    def properties(hyperparameters: BackpropHyperparameters, network: Any) -> Properties:
        if hyperparameters.trained_layers == "output":
            from trainers.algorithms.controls import Frozen  # which is this, and imports this

            return Frozen.properties(hyperparameters, network)
        return Properties(
            weight_transport=Property("yes", "δ_l needs W_{l+1}ᵀ, the weights of the layer above."),
            global_error_signal=Property("yes", "Every δ_l is computed from the error at the output."),
            forward_locking=Property("yes", "Layers run from bottom to top."),
            backward_locking=Property("yes", "δ_l needs δ_{l+1}, so layers run backwards from top to bottom."),
            update_locking=Property("yes", "No layer moves before the whole forward and backward pass is done."),
            needs_derivative=Property("yes", "δ_l is multiplied by s'(a_l)."),
            symmetric_feedback=Property("yes", "Feedback uses exactly the transposed forward weights."),
            layer_parallel=Property("no", "A layer waits for those above it."),
            extra_state="none beyond the optimizer's",
            trains=frozenset({"mlp", "convnet", "resnet", "residual_mlp", "recurrent", "two_networks"}),
        )

    def setup(
        self, network: Network, objective: Objective, hyperparameters: BackpropHyperparameters, streams: StreamBook
    ) -> None:
        self.network, self.objective, self.hyperparameters, self.streams = network, objective, hyperparameters, streams
        named = dict(network.named_parameters())
        if hyperparameters.trained_layers == "output":
            top = network.layers[-1].name + "."
            named = {name: weight for name, weight in named.items() if name.startswith(top)}
            for name, weight in network.named_parameters():
                weight.requires_grad_(name in named)
        self.optimizer = Optimizer(named, hyperparameters)
        self._transmits = set(transmits_of(network))
        self._carried: tuple[Tensor, ...] = ()
        self._loss_is_plain = not hyperparameters.label_smoothing
        self.network.train()

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        return ("train",)

    def step(self, batch: Batch, moment: Moment) -> StepReport:
        watched: Watched | None = {} if moment.diagnose else None
        outputs = self._forward(self._noisy(batch), watched)
        for a in [a for all_of_layer in (watched or {}).values() for a in all_of_layer if a.requires_grad]:
            a.retain_grad()
        loss = self._loss(outputs, batch)
        loss.backward()
        plain = loss.detach() if self._loss_is_plain else None  # spares its recomputation
        report = StepReport(self.objective.measure(outputs.detach(), batch.targets, plain))
        if watched is not None:
            report.signals = teaching_signals(watched)
            report.directions = {
                name: -weight.grad for name, weight in self.optimizer.parameters.items() if weight.grad is not None
            }
        self.optimizer.step(moment.progress)
        return report

    def predict(self, inputs: Tensor) -> Tensor:
        with self.network.evaluating():
            if "sample" in self._transmits:
                generator = generator_for(self.streams.seed, "prediction samples", inputs.device)
                return mean_of_samples(self.network, inputs, self.hyperparameters.prediction_samples, generator)
            return self.network(inputs)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "streams": self.streams.state_dict(),
            "carried": dict(enumerate_names(self._carried)),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.streams.load_state_dict(state["streams"])
        device = next(self.network.parameters()).device
        self._carried = tuple(value.to(device) for value in state["carried"].values())

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return self.objective.loss(outputs, batch.targets, label_smoothing=self.hyperparameters.label_smoothing)

    def _noisy(self, batch: Batch) -> Batch:
        sigma = self.hyperparameters.input_noise
        if not sigma or not batch.inputs.is_floating_point():
            return batch
        noise = torch.empty_like(batch.inputs).normal_(0, sigma, generator=self.streams("input noise"))
        return replace(batch, inputs=batch.inputs + noise)

    def _forward(self, batch: Batch, watched: Watched | None) -> Tensor:
        if not isinstance(self.network, RecurrentNetwork):
            if self._transmits != {"value"}:
                return forward_through(self.network, batch.inputs, self.hyperparameters.through_discrete, watched)
            if self.hyperparameters.recompute_activations and watched is None:  # watched ones are kept
                return forward_recomputing(self.network, batch.inputs)
            return self.network(batch.inputs, watched)
        # Truncated backpropagation through time: the state goes on, its gradient does not.
        state = None if batch.starts or not self._carried else self._carried
        outputs, state = self.network.run(batch.inputs, state, watched)
        self._carried = tuple(each.detach() for each in state)
        return outputs


def teaching_signals(watched: Watched) -> dict[str, Tensor]:
    """Layer → ∂ℓ/∂a, (batch, *shape), or (batch, time, *shape) where a layer ran once a time step."""
    signals = {}
    for name, each in watched.items():
        gradients = [a.grad for a in each if a.grad is not None]
        if gradients:
            signals[name] = gradients[0] if len(each) == 1 else torch.stack(gradients, dim=1)
    return signals


def enumerate_names(tensors: tuple[Tensor, ...]) -> list[tuple[str, Tensor]]:
    """Tensors with their places as names, for a state dict."""
    return [(str(place), tensor) for place, tensor in enumerate(tensors)]

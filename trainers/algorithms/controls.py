"""Controls: what a comparison with backprop needs beside it, so that a win is not owed to something else.

    frozen                 hidden layers keep their initial weights; only the output layer learns. An algorithm that
                           is not ahead of it has not trained the hidden layers at all
    backprop_checkpointed  backprop that keeps no layer's insides and computes them again: equal memory
    backprop_extra_heads   backprop with a linear classifier on every hidden layer: equal parameters, for algorithms
                           that have auxiliary models at each layer (deeply supervised nets, arXiv 1409.5185)

Each is backprop with a setting fixed, so they share its step and inherit from it.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.algorithms.backprop import CHUNKED, Backprop, BackpropHyperparameters
from trainers.algorithms.base import Batch, Properties, Property
from trainers.errors import UnsupportedNetwork
from trainers.networks.base import Network, Watched
from trainers.networks.initialization import initialize
from trainers.objective import Objective
from trainers.optimizers import Optimizer, OptimizerOptions
from trainers.streams import StreamBook


class FrozenHyperparameters(OptimizerOptions):
    """The optimizer's, for the output layer."""


class Frozen(Backprop):
    """Only the output layer learns: the floor that every algorithm has to beat."""

    Hyperparameters = FrozenHyperparameters  # type: ignore[assignment]

    @staticmethod
    def complete(hyperparameters: Any, network: Any, training: Any) -> Any:
        if network.kind == "two_networks":
            raise UnsupportedNetwork(
                "#/network/kind",
                "frozen trains the one output layer of a network; two networks have two. Train them with backprop, or "
                "choose another kind.",
                got=network.kind,
                allowed=sorted(Frozen.properties(hyperparameters, network).trains - {"non_differentiable"}),
            )
        return hyperparameters  # no derivative of a hidden layer is needed, so there is nothing else to refuse

    @staticmethod
    def properties(hyperparameters: Any, network: Any) -> Properties:
        hidden = "Hidden layers are never updated"
        return Properties(
            weight_transport=Property("no", f"{hidden}; no error travels back."),
            global_error_signal=Property("no", f"{hidden}; the error reaches the output layer alone."),
            forward_locking=Property("yes", "Layers run from bottom to top."),
            backward_locking=Property("no", f"{hidden}; there is no backward pass."),
            update_locking=Property("no", "The output layer has nothing above it to wait for."),
            needs_derivative=Property("no", f"{hidden}; the output layer's error needs no derivative of theirs."),
            symmetric_feedback=Property("no", "There is no feedback."),
            layer_parallel=Property("no", "One layer learns."),
            extra_state="none beyond the optimizer's",
            trains=Backprop.properties(BackpropHyperparameters(), network).trains - {"two_networks"}
            | {"non_differentiable"},
        )

    def setup(self, network: Network, objective: Objective, hyperparameters: Any, streams: StreamBook) -> None:
        settings = {**hyperparameters.model_dump(), "trained_layers": "output", "through_discrete": "zero"}
        super().setup(network, objective, BackpropHyperparameters(**settings), streams)


class CheckpointedHyperparameters(OptimizerOptions):
    """The optimizer's."""


class BackpropCheckpointed(Backprop):
    """Backprop with activation checkpointing: the same weights to the last bit, in less memory and more time."""

    Hyperparameters = CheckpointedHyperparameters  # type: ignore[assignment]

    @staticmethod
    def complete(hyperparameters: Any, network: Any, training: Any) -> Any:
        _refuse_recurrent("backprop_checkpointed", network)
        Backprop.complete(_checkpointed(hyperparameters), network, training)
        return hyperparameters

    @staticmethod
    def properties(hyperparameters: Any, network: Any) -> Properties:
        return _feed_forward(network)

    def setup(self, network: Network, objective: Objective, hyperparameters: Any, streams: StreamBook) -> None:
        super().setup(network, objective, _checkpointed(hyperparameters), streams)


def _checkpointed(hyperparameters: CheckpointedHyperparameters) -> BackpropHyperparameters:
    return BackpropHyperparameters(**hyperparameters.model_dump(), recompute_activations=True)


class ExtraHeadsHyperparameters(OptimizerOptions):
    """The optimizer's, and the heads' share of the loss."""

    head_weight: float = Field(default=0.3, ge=0, le=100, description="of each head's loss, beside the output's 1")


class BackpropExtraHeads(Backprop):
    """Backprop of the output's loss and of a linear head's at every hidden layer."""

    Hyperparameters = ExtraHeadsHyperparameters  # type: ignore[assignment]

    @staticmethod
    def complete(hyperparameters: Any, network: Any, training: Any) -> Any:
        _refuse_recurrent("backprop_extra_heads", network)
        Backprop.complete(_without_heads(hyperparameters), network, training)
        return hyperparameters

    @staticmethod
    def properties(hyperparameters: Any, network: Any) -> Properties:
        return _feed_forward(network)

    def setup(self, network: Network, objective: Objective, hyperparameters: Any, streams: StreamBook) -> None:
        super().setup(network, objective, _without_heads(hyperparameters), streams)
        self._head_weight = hyperparameters.head_weight
        self.heads = nn.ModuleDict(
            {
                layer.name: _head(layer.name, math.prod(layer.out_shape), objective.outputs, streams)
                for layer in network.layers[:-1]
            }
        ).to(next(network.parameters()))
        named = {f"heads.{name}": weight for name, weight in self.heads.named_parameters()}
        self.optimizer = Optimizer(self.optimizer.parameters | named, self.hyperparameters)
        self._head_outputs: list[Tensor] = []
        self._loss_is_plain = False

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "heads": dict(self.heads.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.heads.load_state_dict(state["heads"])

    def _forward(self, batch: Batch, watched: Watched | None) -> Tensor:
        self._head_outputs = []
        h = batch.inputs
        for layer in self.network.layers:
            if watched is None:
                h = layer(h)
            else:
                a, h = layer.with_pre_activation(h)
                watched[layer.name] = [a]
            if layer.name in self.heads:
                self._head_outputs.append(self.heads[layer.name](h.flatten(1)))
        return h

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        loss = super()._loss(outputs, batch)
        for head in self._head_outputs:
            loss = loss + self._head_weight * self.objective.loss(head, batch.targets)
        return loss


def _without_heads(hyperparameters: ExtraHeadsHyperparameters) -> BackpropHyperparameters:
    return BackpropHyperparameters(**hyperparameters.model_dump(exclude={"head_weight"}))


def _head(layer: str, width: int, outputs: int, streams: StreamBook) -> nn.Linear:
    head = nn.utils.skip_init(nn.Linear, width, outputs)
    initialize(head.weight, "kaiming", 1.0, streams.once(f"weights/head of {layer}"))
    with torch.no_grad():
        head.bias.zero_()
    return head


def _feed_forward(network: Any) -> Properties:
    """Backprop's properties, for feed-forward networks alone."""
    properties = Backprop.properties(BackpropHyperparameters(), network)
    return replace(properties, trains=properties.trains - set(CHUNKED))


def _refuse_recurrent(name: str, network: Any) -> None:
    if network.kind in CHUNKED:
        raise UnsupportedNetwork(
            "#/network/kind",
            f"{name} works layer by layer of a feed-forward network, not along a sequence; choose another kind, "
            "or train recurrent networks with backprop.",
            got=network.kind,
            allowed=sorted(_feed_forward(network).trains),
        )

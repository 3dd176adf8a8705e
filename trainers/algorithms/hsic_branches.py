"""Branches of hidden layers: what HSIC trains, each branch with a σ of its own.

One branch is the network's own hidden layers. Where several σ are combined (arXiv 1908.01580, section 3.3), the others
are layers of the same shapes with weights of their own; the outputs of all are averaged and batch-normed for the
read-out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainers.algorithms.hsic_objective import RandomFeatures as Features
from trainers.algorithms.hsic_objective import (
    References,
    Settings,
    feature_factor,
    label_contrast,
    label_factor,
    normalized_input,
)
from trainers.algorithms.hsic_workspace import Workspace
from trainers.networks.base import BatchNorm, Layer, Network
from trainers.networks.initialization import initialize, initialize_bias
from trainers.streams import StreamBook


@dataclass(slots=True)
class Branch:
    """Layers bottom to top, how each is judged, and where random features of input and layers are kept."""

    name: str  # "" for the network's own
    layers: list[Layer]
    settings: Settings
    input_sigma: float
    label_sigma: float
    label_kernel: str
    features: dict[str, Features] = field(default_factory=dict)  # by layer name, and "input"; empty: exact kernels

    def key(self, layer: Layer) -> str:
        """The layer's name in measures and states: layer1, or branch2.layer1."""
        return f"{self.name}{layer.name}"

    def draw_features(self, shapes: Mapping[str, int], count: int, streams: StreamBook, like: Tensor) -> None:
        """Random features for "input" and each layer, by their number of units: a function of the seed alone."""
        for key, units in shapes.items():
            sigma = self.input_sigma if key == "input" else self.settings.sigma
            generator = streams.once(f"random features/{self.name}{key}")
            self.features[key] = Features.draw(units, count, sigma, generator).to(like)

    def references(self, x: Tensor, y: Tensor, workspace: Workspace | None = None) -> tuple[References, Tensor]:
        """What all layers of the branch share of a batch, inputs x and one-hot labels (or values) y; and 0, or NaN
        where a kernel was not positive."""
        settings = self.settings
        contrast = label_contrast(self.label_kernel, self.label_sigma, y.shape[1])
        if settings.criterion == "phsic":
            return References(y, None, contrast), y.new_zeros(())
        label, failed = label_factor(y, contrast, settings.epsilon)
        given = gram = None
        if settings.input_term:
            if self.features:
                phi = self.features["input"](x)
                given, also = feature_factor(phi - phi.mean(0), settings.epsilon)
            else:
                given, also, gram = normalized_input(x, self.input_sigma, settings.epsilon, workspace)
            failed = failed + also
        return References(label, given, gram=gram), torch.where(failed > 0, torch.nan, 0.0)


def twin_layers(layers: Sequence[Layer], branch: int, scheme: str, streams: StreamBook) -> list[Layer]:
    """Layers of the same shapes, weights drawn anew from the streams "weights/branch<n>.<layer>"."""
    twins = []
    for layer in layers:
        twin = layer.twin()
        generator = streams.once(f"weights/branch{branch}.{layer.name}")
        gain = getattr(getattr(layer, "activation", None), "gain", 1.0)
        fan_in = 1
        for weight in twin.parameters():
            if weight.dim() > 1:
                initialize(weight.data, scheme, gain, generator)
                fan_in = weight[0].numel()
        for name, bias in twin.named_parameters():
            if name.rsplit(".", 1)[-1].endswith("bias") and "norm" not in name:
                initialize_bias(bias.data, scheme, fan_in, generator)
        twins.append(twin)
    return twins


class Aggregator(nn.Module):
    """The branches' outputs made one: their mean, batch-normed without scale and shift."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = BatchNorm(features, affine=False)

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        return self.norm(torch.stack([each.flatten(1) for each in outputs]).mean(0))


def run_layers(layers: Sequence[Layer], h: Tensor) -> Tensor:
    """The last layer's activation."""
    for layer in layers:
        h = layer(h)
    return h


def branch_state(branches: Sequence[Branch], aggregator: Aggregator | None) -> dict[str, Any]:
    """Of all that the network itself does not hold."""
    state: dict[str, Any] = {
        branch.name.rstrip("."): {layer.name: dict(layer.state_dict()) for layer in branch.layers}
        for branch in branches
        if branch.name
    }
    if aggregator is not None:
        state["aggregator"] = dict(aggregator.state_dict())
    return state


def load_branch_state(branches: Sequence[Branch], aggregator: Aggregator | None, state: Mapping[str, Any]) -> None:
    """Inverse of `branch_state`."""
    for branch in branches:
        if branch.name:
            for layer in branch.layers:
                layer.load_state_dict(state[branch.name.rstrip(".")][layer.name])
    if aggregator is not None:
        aggregator.load_state_dict(state["aggregator"])


def hidden_layers(network: Network) -> list[Layer]:
    """All but the output layer, which is the read-out."""
    return list(network.layers[:-1])

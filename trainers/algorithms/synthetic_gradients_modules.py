"""Modules: the pieces that interfaces cut a feed-forward network into; each knows its own layers and nothing above.

`forward` takes a message from below and keeps what `backward` needs; `backward` turns the gradient by the module's
output into the gradients of its weights and, if asked, by its input. A single dense layer is written out by hand;
anything else has a graph of its own, which never crosses an interface.

Signals are in the synthesizers' unit (a sample's own gradient, say), weights' gradients are of the mean loss; `scale`
leads from the one to the other. It is linear, so it is taken into the product for the weights: no pass over memory.
All of it runs within a step, so without autograd but where a module switches it on for itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from trainers.networks.base import Layer
from trainers.networks.dense import DenseLayer
from trainers.products import product

Gradients = dict[str, Tensor]
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
}
"""Nonlinearities whose derivative needs nothing of the pre-activation but what is left of it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a module's backward pass gives."""

    gradients: Gradients
    """Weight, by its name in the network, → ∂L/∂W."""
    below: Tensor | None
    """The signal at the module's input, in the message's shape, where it was asked for."""
    signals: dict[str, Tensor]
    """Layer → ∂L/∂a of the mean loss, where watched."""


class Module(Protocol):
    layers: Sequence[Layer]

    def forward(self, message: Tensor) -> Tensor: ...

    def backward(self, signal: Tensor, scale: float, *, to_input: bool, watch: bool) -> Sent: ...


class DenseModule:
    """One dense layer: h = s(W x + b). All by hand: a product forwards, and one or two backwards."""

    def __init__(self, layer: DenseLayer) -> None:
        self.layers: Sequence[Layer] = (layer,)
        self.layer = layer

    def forward(self, message: Tensor) -> Tensor:
        self._shape = message.shape
        self._input = message.flatten(1)
        self._a = self.layer.affine(message)
        in_place = IN_PLACE.get(self.layer.activation.name)
        self._h = self.layer.activation.function(self._a) if in_place is None else in_place(self._a)
        return self._h

    def backward(self, signal: Tensor, scale: float, *, to_input: bool, watch: bool) -> Sent:
        layer, dtype = self.layer, self.layer.weight.dtype
        delta = layer.activation.times_derivative(signal, self._a, self._h)
        of_weight = product(delta.t(), self._input.t()).mul_(scale)
        gradients = {f"{layer.name}.weight": of_weight.to(dtype)}
        if layer.bias is not None:
            gradients[f"{layer.name}.bias"] = (delta.sum(0) * scale).to(dtype)
        below = product(delta, layer.weight.t()).view(self._shape) if to_input else None
        return Sent(gradients, below, {layer.name: delta * scale} if watch else {})


class GraphModule:
    """Any layers, one or several, by autograd inside the module."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers: Sequence[Layer] = tuple(layers)
        self.parameters = {
            f"{layer.name}.{name}": weight for layer in layers for name, weight in layer.named_parameters()
        }

    def forward(self, message: Tensor) -> Tensor:
        self._pre_activations: dict[str, Tensor] = {}
        with torch.enable_grad():
            h = self._input = message.detach().requires_grad_(message.is_floating_point())
            for layer in self.layers:
                a = self._pre_activations[layer.name] = layer.affine(h)
                h = layer.activate(a)
        self._output = h
        return h.detach()

    def backward(self, signal: Tensor, scale: float, *, to_input: bool, watch: bool) -> Sent:
        sources = [*self.parameters.values(), *(self._pre_activations.values() if watch else ())]
        if to_input:
            sources.append(self._input)
        applied = (signal * scale).to(self._output.dtype)
        found = torch.autograd.grad(self._output, sources, applied, allow_unused=True)
        known = {
            name: gradient
            for name, gradient in zip(
                [*self.parameters, *(self._pre_activations if watch else ())], found, strict=False
            )
            if gradient is not None
        }
        return Sent(
            {name: known[name] for name in self.parameters if name in known},
            found[-1] * (1 / scale) if to_input else None,
            {name: known[name] for name in self._pre_activations if watch and name in known},
        )


def modules_of(layers: Sequence[Layer], interfaces: Sequence[int]) -> list[Module]:
    """The chain of layers cut above the layers numbered (from 1) in `interfaces`."""
    borders = [0, *interfaces, len(layers)]
    return [module_of(layers[low:high]) for low, high in pairwise(borders)]


def module_of(layers: Sequence[Layer]) -> Module:
    """The quickest kind that fits."""
    only = layers[0]
    if (
        len(layers) == 1
        and isinstance(only, DenseLayer)
        and only.norm is None
        and only.dropout is None
        and only.transmit == "value"
    ):
        return DenseModule(only)
    return GraphModule(layers)

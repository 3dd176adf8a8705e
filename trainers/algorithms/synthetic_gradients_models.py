"""Synthesizers: small models that predict, from the message at an interface, what the neighbour has yet to send.

    paper    here         meaning                                                            shape
    h_i      message      activation sent up, detached                                       (batch, *shape)
    c        condition    label (cDNI), in effect one-hot and as planes beside maps, or       (batch,) int64
                          values, for regression; None without                               (batch, values)
    φ_w, φ_b weight, bias last layer, zero at first: a new synthesizer predicts nothing
    δ̂_i      prediction   ≈ ∂L/∂h_i; of a synthetic input: ≈ h_i

`predict` keeps what `gradients` needs; the target comes later, from above. The linear one is written out by hand: its
input is detached, so that it costs one product forwards and one backwards, and a label costs a look into a table and
an addition to a row of it. A deeper one has a graph of its own.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.networks.base import BatchNorm, Shape
from trainers.networks.initialization import initialize
from trainers.products import linear, product
from trainers.streams import StreamBook

Loss = Literal["l2", "l1"]
Gradients = dict[str, Tensor]


class Synthesizer(nn.Module, ABC):
    """Base: what a model at an interface does, within a step and so without autograd but for its own graph."""

    prediction: Tensor
    """The last one."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    @abstractmethod
    def predict(self, message: Tensor, condition: Tensor | None) -> Tensor:
        """The prediction, without a graph, in the target's shape; `gradients` is about this one."""

    @abstractmethod
    def gradients(self, target: Tensor) -> tuple[Tensor, Gradients]:
        """The last prediction's loss against the target, summed over the batch, and the gradients of its mean."""

    def _signal(self, difference: Tensor) -> Tensor:
        """Gradient by the prediction of the loss's mean over the batch."""
        if self.loss == "l1":
            return difference.sign().div_(len(difference))
        return difference * (2 / len(difference))

    def _distance(self, difference: Tensor) -> Tensor:
        flat = difference.reshape(-1)
        return flat.abs().sum() if self.loss == "l1" else torch.dot(flat, flat)


class LinearSynthesizer(Synthesizer):
    """δ̂ = φ_w h + φ_c c + φ_b, of flat messages; `condition_weight`, φ_cᵀ, has a row a label."""

    def __init__(self, inputs: int, outputs: int, condition: int, *, loss: Loss) -> None:
        super().__init__(loss)
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.condition_weight = nn.Parameter(torch.zeros(condition, outputs)) if condition else None
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, message: Tensor, condition: Tensor | None) -> Tensor:
        message = message.flatten(1)
        if self.condition_weight is None or condition is None:
            return linear(message, self.weight, self.bias)
        if condition.dim() > 1:
            return torch.addmm(linear(message, self.weight, self.bias), condition, self.condition_weight)
        of_label = F.embedding(condition, self.condition_weight + self.bias)
        if torch.is_autocast_enabled(message.device.type):
            return linear(message, self.weight) + of_label
        return of_label.add_(linear(message, self.weight))

    def predict(self, message: Tensor, condition: Tensor | None) -> Tensor:
        self.prediction = self.forward(message, condition)
        self._message, self._condition = message.flatten(1), condition
        return self.prediction

    def gradients(self, target: Tensor) -> tuple[Tensor, Gradients]:
        difference = self.prediction - target.flatten(1)
        signal = difference.sign() if self.loss == "l1" else difference
        factor = (1 if self.loss == "l1" else 2) / len(difference)  # taken into the products: a pass less over memory
        gradients = {"weight": product(signal.t(), self._message.t()).mul_(factor)}
        if self.condition_weight is None or self._condition is None:
            gradients["bias"] = signal.sum(0) * factor
        elif self._condition.dim() > 1:
            gradients["bias"] = signal.sum(0) * factor
            gradients["condition_weight"] = self._condition.t() @ signal * factor
        else:
            rows = signal.new_zeros(self.condition_weight.shape)
            rows.index_add_(0, self._condition, signal).mul_(factor)
            gradients |= {"condition_weight": rows, "bias": rows.sum(0)}  # each sample has one label
        return self._distance(difference), _in_dtype_of(gradients, self.weight)


class LayeredSynthesizer(Synthesizer):
    """Hidden layers of weights, batch norm and ReLU, then a linear layer of zeros; convolutions on maps."""

    def __init__(
        self,
        shape: Shape,
        out_shape: Shape,
        condition: int,
        *,
        hidden_layers: int,
        width: int,
        kernel: int,
        batch_norm: bool,
        loss: Loss,
        generator: torch.Generator,
    ) -> None:
        super().__init__(loss)
        self.out_shape, self.condition = out_shape, condition
        # Convolutions need maps at both ends, and of equal size.
        self.on_maps = len(shape) == 3 and len(out_shape) == 3 and shape[1:] == out_shape[1:]
        self.sides = shape[1:]
        inputs, outputs = (shape[0], out_shape[0]) if self.on_maps else (_numel(shape), _numel(out_shape))
        sides = (kernel, kernel) if self.on_maps else ()
        widths = [inputs + condition, *[width] * hidden_layers, outputs]
        self.weights, self.biases, self.norms = nn.ParameterList(), nn.ParameterList(), nn.ModuleList()
        for below, here in pairwise(widths):
            weight = torch.zeros(here, below, *sides)
            if len(self.weights) < hidden_layers:
                initialize(weight, "kaiming", 2**0.5, generator)
                if batch_norm:
                    self.norms.append(BatchNorm(here))
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(here)))

    def predict(self, message: Tensor, condition: Tensor | None) -> Tensor:
        with torch.enable_grad():
            self._graph = self(message.detach(), condition)
        self.prediction = self._graph.detach()
        return self.prediction

    def forward(self, message: Tensor, condition: Tensor | None) -> Tensor:
        h = message if self.on_maps else message.flatten(1)
        if condition is not None:
            if condition.dim() == 1:
                condition = F.one_hot(condition, self.condition).to(self.weights[0].dtype)
            planes = condition[:, :, None, None].expand(-1, -1, *self.sides) if self.on_maps else condition
            h = torch.cat([h, planes], dim=1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if number:
                h = torch.relu(self.norms[number - 1](h) if len(self.norms) else h)
            h = F.conv2d(h, weight, bias, padding="same") if self.on_maps else linear(h, weight, bias)
        return h.reshape(len(h), *self.out_shape)

    def gradients(self, target: Tensor) -> tuple[Tensor, Gradients]:
        difference = self.prediction - target.reshape(self.prediction.shape)
        named = dict(self.named_parameters())
        found = torch.autograd.grad(self._graph, list(named.values()), self._signal(difference))
        return self._distance(difference), dict(zip(named, found, strict=True))


def make_synthesizer(
    name: str, shape: Shape, out_shape: Shape, condition: int, hyperparameters: Any, streams: StreamBook
) -> Synthesizer:
    """The model that the hyperparameters ask for, from messages of `shape` to targets of `out_shape`."""
    hidden_layers = hyperparameters.synthesizer_layers
    maps = len(shape) == 3 and len(out_shape) == 3 and shape[1:] == out_shape[1:]
    if not hidden_layers and not maps:
        return LinearSynthesizer(_numel(shape), _numel(out_shape), condition, loss=hyperparameters.synthesizer_loss)
    return LayeredSynthesizer(
        shape,
        out_shape,
        condition,
        hidden_layers=hidden_layers,
        width=hyperparameters.synthesizer_filters if maps else hyperparameters.synthesizer_width,
        kernel=hyperparameters.synthesizer_kernel,
        batch_norm=hyperparameters.synthesizer_batch_norm,
        loss=hyperparameters.synthesizer_loss,
        generator=streams.once(f"weights/{name}"),
    )


def _numel(shape: Shape) -> int:
    return int(torch.Size(shape).numel())


def _in_dtype_of(gradients: Gradients, weight: Tensor) -> Gradients:
    """Under autocast products are in bfloat16, and the weights are not."""
    if weight.dtype == gradients["weight"].dtype:
        return gradients
    return {name: gradient.to(weight.dtype) for name, gradient in gradients.items()}

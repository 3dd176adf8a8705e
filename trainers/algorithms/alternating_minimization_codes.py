"""The code phase of alternating minimization in a feed-forward network: weights fixed, codes move, top to first.

    c_l = start_l + moved_l        kept apart: lower codes move by 1e-5 of their norm, which a sum would round away
    top        (1/μ) ℓ(y, W_{L+1} σ(c_L))                  + mse(c_L, prediction_L)
    below            mse(c_{l+1}, prediction from σ(c_l))  + mse(c_l, prediction_l)

Each code takes n_c steps of gradient descent with momentum, c_{l+1} already updated; each gradient is written out and
reaches from one layer to its neighbour only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.algorithms.alternating_minimization_layers import Activated, CodedLayer, Prediction
from trainers.objective import Objective
from trainers.products import product


@dataclass(frozen=True, slots=True)
class CodeSettings:
    """What moves codes, in numbers; see the hyperparameters of the same names."""

    steps: int
    learning_rate: float
    momentum: float
    nesterov: bool
    proximity: bool
    sparsity: float
    mu_on_all: bool
    mean_over_units: bool
    regression_weight: float = 1.0

    def residual_scale(self, prediction: Tensor) -> float:
        """d mse / d prediction is this times the difference: a mean over the batch, and over units or a sum."""
        over = prediction.numel() if self.mean_over_units else len(prediction)
        return 2 / over

    def regression_scale(self, prediction: Tensor) -> float:
        """The same, of a layer's regression on its code in the weights' phase."""
        return self.residual_scale(prediction) * self.regression_weight

    def penalty_scale(self, code: Tensor, mu: float) -> float:
        """Of sign(c), for λ_c · mean|c| / μ."""
        over = code.numel() if self.mean_over_units else len(code)
        return self.sparsity / (mu * over)


class Descent:
    """A code's steps: SGD with momentum of its own, fresh for every batch.

    Nesterov's steps are kept as two sequences, y' = moved − rate · gradient and moved' = y' + momentum (y' − y): the
    same numbers as torch's velocity gives, in two passes over a code instead of three.
    """

    def __init__(self, settings: CodeSettings, scale: float = 1.0) -> None:
        """`scale` multiplies every gradient: kept out of the gradients, it costs no pass over them."""
        self.rate, self.momentum, self.nesterov = settings.learning_rate * scale, settings.momentum, settings.nesterov
        self.moved: Tensor | None = None
        self.before: Tensor | None = None
        """y with Nesterov's momentum, the velocity with plain momentum."""

    def step(self, gradient: Tensor) -> None:
        rate, momentum = self.rate, self.momentum
        if self.moved is None:  # from rest at 0: the first velocity is the gradient itself
            self.moved = gradient * (-rate * (1 + momentum) if self.nesterov else -rate)
            self.before = None if not momentum else gradient * -rate if self.nesterov else gradient
        elif self.before is None:
            self.moved = torch.sub(self.moved, gradient, alpha=rate)
        elif self.nesterov:
            after = torch.sub(self.moved, gradient, alpha=rate)
            self.moved, self.before = torch.lerp(self.before, after, 1 + momentum), after
        else:
            self.before = torch.add(gradient, self.before, alpha=momentum)
            self.moved = torch.sub(self.moved, self.before, alpha=rate)


class OutputError:
    """The loss of one batch, seen from the output layer: ∂ℓ/∂a of the batch mean, for any prediction."""

    def __init__(self, output: CodedLayer, objective: Objective, targets: Tensor, dtype: torch.dtype) -> None:
        self.output, self.objective, self.targets, self.dtype = output, objective, targets, dtype
        self.share = 1 / len(targets)
        self.by_class: Tensor | None = None
        if objective.kind == "cross_entropy" and targets.dim() == 1:
            # Once for all code steps, and classes first: a softmax over ten neighbours is ten times as slow.
            self.by_class = objective.one_hot(targets, dtype).t().contiguous()
            self.weight = (targets >= 0).to(dtype) * self.share
        self.is_linear = output.is_plain and output.activation.name == "identity"

    def __call__(self, prediction: Prediction) -> Tensor:
        return self.of(self.output.activate(prediction.a))

    def of(self, outputs: Activated) -> Tensor:
        """∂ℓ/∂a where the outputs are known."""
        if self.by_class is None:
            return self.output.to_code(outputs, self.objective.error(outputs.h, self.targets) * self.share)
        return self.output.to_code(outputs, self._error(outputs.h.t().contiguous(), self.by_class).t())

    def to_input(self, h: Tensor) -> Tensor:
        """∂ℓ/∂h, of the activation below the output layer."""
        if self.by_class is None or not self.is_linear:
            prediction = self.output.predict(h)
            return self.output.to_input(prediction, self(prediction))
        weight, bias = self.output.weight, self.output.bias
        # Classes first all the way: neither direction moves anything in memory.
        h = h if h.dim() == 2 else h.flatten(1)
        a = product(weight, h)
        if bias is not None:
            a = a.add_(bias.unsqueeze(1))
        return product(self._error(a, self.by_class).t(), weight.t())

    def _error(self, a: Tensor, wanted: Tensor) -> Tensor:
        """(classes, batch), of pre-activations and wanted outputs in that shape."""
        return torch.softmax(a, 0, dtype=self.dtype).sub_(wanted).mul_(self.weight)


def move_codes(
    layers: Sequence[CodedLayer],
    start: Sequence[Tensor],
    predictions: Sequence[Prediction],
    activated: Sequence[Activated],
    error_of: OutputError,
    top_error: Tensor,
    *,
    mu: float,
    settings: CodeSettings,
) -> list[Tensor]:
    """How far each hidden layer's code moves from `start`.

    predictions[l] is what layer l predicts at `start`, and activated[l] = σ(start[l]), l = 0 for the first hidden
    layer; the last prediction is the output layer's, and `top_error` the loss's derivative there. So the first of the
    n_c steps needs no product forwards.
    """
    moved: list[Tensor] = [top_error] * len(start)  # each is replaced below
    for l in range(len(start) - 1, -1, -1):
        layer, above = layers[l], layers[l + 1]
        is_top = l == len(start) - 1
        c, sigma, prediction = start[l], activated[l], predictions[l + 1]
        # Gradients are in units of the pull from above: 1/μ, or the mean squared difference's 2 / units.
        pull = 1 / mu if is_top or settings.mu_on_all else 1.0
        if not is_top:
            pull *= settings.residual_scale(prediction.a)
        hold, penalty = settings.residual_scale(c) / pull, settings.penalty_scale(c, mu) / pull
        apart = None if predictions[l].a is c else c - predictions[l].a  # online, codes start where they are predicted
        descent = Descent(settings, pull)
        for k in range(settings.steps):
            if descent.moved is not None:
                c = start[l] + descent.moved
                sigma = layer.activate(c)
            if is_top and k:
                d_h = error_of.to_input(sigma.h)
            else:
                prediction = above.predict(sigma.h) if k else prediction
                d = top_error if is_top else _apart(prediction, start[l + 1], moved[l + 1])
                d_h = above.to_input(prediction, d)
            gradient = layer.to_code(sigma, d_h)
            if settings.proximity and descent.moved is not None:
                gradient = torch.add(gradient, descent.moved, alpha=hold)
            if settings.proximity and apart is not None:
                gradient = torch.add(gradient, apart, alpha=hold)
            if settings.sparsity:
                gradient = torch.add(gradient, torch.sign(c), alpha=penalty)
            descent.step(gradient)
        moved[l] = torch.zeros_like(c) if descent.moved is None else descent.moved
    return moved


def _apart(prediction: Prediction, start: Tensor, moved: Tensor) -> Tensor:
    """(prediction − start) − moved: both are small where codes move little, and neither is rounded away."""
    return -moved if prediction.a is start else (prediction.a - start).sub_(moved)


def code_objective(
    layers: Sequence[CodedLayer],
    codes: Sequence[Tensor],
    x: Tensor,
    *,
    objective: Objective,
    targets: Tensor,
    mu: float,
    settings: CodeSettings,
) -> Tensor:
    """ℓ(y, W_{L+1} σ(c_L)) + μ Σ_l mse(c_l, W_l σ(c_{l-1})) + λ_c Σ_l mean|c_l|: the batch's, at these codes."""
    h, total = x, x.new_zeros(())
    for layer, code in zip(layers, codes, strict=False):
        apart = layer.predict(h).a - code
        # With mu_on all, a code also weighs its coupling by 1/μ; that is no objective's gradient, and not in here.
        total = total + mu * apart.square().sum() * (settings.residual_scale(apart) / 2)
        total = total + code.abs().sum() * (settings.penalty_scale(code, mu) * mu)
        h = layer.activate(code).h
    outputs = layers[-1].activate(layers[-1].predict(h).a).h
    return total + objective.loss(outputs, targets)

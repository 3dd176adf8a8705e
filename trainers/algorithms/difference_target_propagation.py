"""Difference target propagation (Lee, Zhang, Fischer & Bengio 2015, arXiv 1412.7525).

Each layer gets a target instead of a gradient. Targets travel down through learned approximate inverses and are
corrected for the inverses' own error; each layer then moves towards its target by its own, local loss.

    paper   here              meaning                                                  shape
    h_l     h[l]              activation of layer l; h_0 is the input                  (batch, width_l)
            u[l]              what layer l+1 sees of it: h_l, its sign, or a sample    (batch, width_l)
    f_l     network.layers    h_l = f_l(h_{l-1}) = s(W_l u_{l-1} + b_l)
    g_l     inverses[l]       h_{l-1} ≈ g_l(h_l) = s̄(V_l h_l + c_l)
    ĥ_l     target[l]         what layer l should have been                            (batch, width_l)
    η̂       target_step       length of the step that makes the first target

    ĥ_{L-1} = h_{L-1} − η̂ ∂ℓ/∂h_{L-1}                     top target; ℓ is the mean over the batch   (10-11)
    ĥ_{l-1} = h_{l-1} − g_l(h_l) + g_l(ĥ_l)               difference target                              (15)
    ‖f_l(h_{l-1}) − ĥ_l‖²                                 trains W_l; the output layer has its own loss
    ‖g_l(f_l(h_{l-1} + ε)) − (h_{l-1} + ε)‖²              trains V_l, ε ~ N(0, σ²)                       (13)

Its successors are settings: `inverse_loss` local_difference_reconstruction (Ernoult et al. 2022, arXiv 2201.13415) and
fixed (FW-DTP, Shibuya et al. 2022, arXiv 2212.10352). All gradients are of one layer and written out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from trainers.algorithms.base import Batch, Moment, Properties, Property, StepReport
from trainers.algorithms.target_propagation_autoencoder import autoencoder_step, draw_autoencoder
from trainers.algorithms.target_propagation_hyperparameters import DifferenceTargetPropagationHyperparameters
from trainers.algorithms.target_propagation_inverses import (
    Gradients,
    Inverse,
    autoencoder_loss,
    local_difference_reconstruction_loss,
    propagate_targets,
)
from trainers.algorithms.target_propagation_networks import (
    layer_gradients,
    not_finite,
    refuse_unequal_ends,
    refuse_untrainable,
)
from trainers.events import Artefact
from trainers.networks.base import Network
from trainers.networks.discrete import mean_of_samples
from trainers.objective import Objective
from trainers.optimizers import Optimizer
from trainers.streams import StreamBook, generator_for


class DifferenceTargetPropagation:
    """Layers numbered as in the paper, from 1; L is the output layer."""

    Hyperparameters = DifferenceTargetPropagationHyperparameters
    cures: ClassVar[Mapping[str, str]] = {
        "saturated": "Lower target_step; or, with feedback_schedule step, warm the inverses up with feedback_warmup.",
        "vanishing": "Raise target_step, or set inverse_sees to value: an inverse that sees signs sends nothing down "
        "before a target has changed one.",
    }
    """What to change, by the code of a finding of `trainers.diagnostics`, where the usual cure is not the best here."""

    @staticmethod
    def complete(
        hyperparameters: DifferenceTargetPropagationHyperparameters, network: Any, training: Any
    ) -> DifferenceTargetPropagationHyperparameters:
        refuse_untrainable(hyperparameters, network)
        sign = "sign" in network.transmits()
        return hyperparameters.model_copy(
            update={
                "inverse_sees": hyperparameters.inverse_sees or ("sign" if sign else "value"),
                "feedback_initialization": hyperparameters.feedback_initialization or network.initialization,
                "feedback_optimizer": hyperparameters.feedback_optimizer or hyperparameters.optimizer,
            }
        )

    @staticmethod
    def properties(hyperparameters: DifferenceTargetPropagationHyperparameters, network: Any) -> Properties:
        transport = Property("partly", "Only the output layer's: ∂ℓ/∂h_{L-1} needs W_Lᵀ. Below, V carries targets.")
        symmetric = Property("partly", "The output layer's transposed weights, exactly; V_l is learned apart from W_l.")
        if hyperparameters.targets_start == "output":
            transport = Property("no", "The first target is at the outputs; learned inverses carry it from there.")
            symmetric = Property("no", "V_l is learned (or fixed) apart from W_l, and started from other numbers.")
        return Properties(
            weight_transport=transport,
            global_error_signal=Property("partly", "The error enters at the top only; other layers see a target."),
            forward_locking=Property("yes", "Layers run from bottom to top."),
            backward_locking=Property("yes", "ĥ_{l-1} needs ĥ_l, so targets travel from top to bottom."),
            update_locking=Property("yes", "No layer has a target before all those above it have run."),
            needs_derivative=Property(
                "partly", "Of each layer's own s; what layers pass up may be a sign or a sample."
            ),
            symmetric_feedback=symmetric,
            layer_parallel=Property("no", "A layer waits for the target from above; inverses alone could be parallel."),
            extra_state="inverse weights V and c, their optimizer, the noise generators",
            trains=frozenset({"mlp", "non_differentiable"}),
        )

    # -- setting up ---------------------------------------------------------------------------------------------------

    def setup(
        self,
        network: Network,
        objective: Objective,
        hyperparameters: DifferenceTargetPropagationHyperparameters,
        streams: StreamBook,
    ) -> None:
        self.network, self.objective, self.hyperparameters, self.streams = network, objective, hyperparameters, streams
        self.layers: dict[int, Any] = dict(enumerate(network.layers, start=1))
        self.depth = len(self.layers)  # L
        # The layer of the first target: L − 1, or L itself.
        self.top = self.depth if hyperparameters.targets_start == "output" else self.depth - 1
        self.stochastic = any(layer.transmit == "sample" for layer in network.layers)
        self.inverses = self._make_inverses()
        self.optimizer = Optimizer(dict(network.named_parameters()), hyperparameters)
        feedback = hyperparameters.model_copy(
            update={
                "optimizer": hyperparameters.feedback_optimizer,
                "learning_rate": hyperparameters.feedback_learning_rate,
            }
        )
        self.feedback_weights = {k: v for g in self.inverses.values() for k, v in g.parameters().items()}
        self.feedback_optimizer = Optimizer(self.feedback_weights, feedback) if self.feedback_weights else None
        self.network.train()

    def _make_inverses(self) -> dict[int, Inverse]:
        """g_l for l = 2 … top; none where the encoder itself serves."""
        if self.hyperparameters.inverse_loss == "encoder":
            refuse_unequal_ends(self.network)
            return {}
        return {
            l: Inverse(
                self.layers[l],
                self.hyperparameters.inverse_activation or self.layers[l - 1].activation.name,
                sees_sign=self.hyperparameters.inverse_sees == "sign",
                initialization=self.hyperparameters.feedback_initialization or "orthogonal",
                streams=self.streams,
            )
            for l in range(2, self.top + 1)
        }

    @property
    def _inverses_learn(self) -> bool:
        return bool(self.inverses) and self.hyperparameters.inverse_loss != "fixed"

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        if not self._inverses_learn:
            return ("weights",)
        warmup = ("inverses",) * (self.hyperparameters.feedback_warmup if epoch == 0 else 0)
        if self.hyperparameters.feedback_schedule == "step":
            return (*warmup, "train")
        return (*warmup, "inverses", "weights")

    # -- one step -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        if self.hyperparameters.inverse_loss == "encoder":
            return self._step_of_autoencoder(batch, moment)
        x = self._noisy(batch.inputs.flatten(1))
        if moment.phase == "inverses":
            # The local difference compares with f_l(h_{l-1}) itself, so it needs one layer more.
            compares = self.hyperparameters.inverse_loss == "local_difference_reconstruction"
            h, _, _ = self._forward(x, self.top if compares else self.top - 1)
            loss = self._train_inverses(h, moment)
            return StepReport({"loss": (loss + not_finite(x, self.feedback_weights.values()), len(x))})
        h, u, a = self._forward(x, self.depth)
        inverse_loss = self._train_inverses(h, moment) if moment.phase == "train" else None
        report = self._train_weights(h, u, a, batch.targets, moment)
        loss, count = report.measures["loss"]
        report.measures["loss"] = (loss + not_finite(x, self.optimizer.parameters.values()), count)
        if inverse_loss is not None:
            report.measures["inverse_loss"] = (inverse_loss, len(x))
        return report

    def _forward(self, x: Tensor, last: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """h_l, u_l and pre-activations a_l for l = 0 … last (a_0 stands for nothing)."""
        h, u, a = [x], [x], [x]
        for l in range(1, last + 1):
            layer = self.layers[l]
            pre_activation, activation = layer.activation_of(u[-1])
            a.append(pre_activation)
            h.append(activation)
            u.append(layer.passed_up(activation))
        return h, u, a

    def _train_inverses(self, h: Sequence[Tensor], moment: Moment) -> Tensor:
        """Update every V_l, c_l; returns the sum of their losses over the batch, by the last of the updates."""
        total = h[0].new_zeros(())
        if self.feedback_optimizer is None:
            return total
        for _ in range(self.hyperparameters.feedback_steps):
            losses: list[Tensor] = []
            gradients: Gradients = {}
            noise, noise_above = self._feedback_noise(h, moment.epoch)
            for l, inverse in self.inverses.items():
                below, layer = self.layers[l - 1], self.layers[l]
                corrupted = h[l - 1] + noise[l]
                # A probability that noise pushed out of 0..1 is sampled as the nearest one.
                passed = below.passed_up(corrupted.clamp(0, 1) if below.transmit == "sample" else corrupted)
                _, above = layer.activation_of(passed)  # f_l(h_{l-1} + ε)
                if noise_above:
                    loss, its = local_difference_reconstruction_loss(inverse, noise[l], h[l], above, noise_above[l])
                else:
                    loss, its = autoencoder_loss(inverse, corrupted, above)
                losses.append(loss)
                gradients |= its
            self.feedback_optimizer.step_with(gradients, moment.progress)
            total = torch.stack(losses).sum()
        return total

    def _train_weights(
        self, h: Sequence[Tensor], u: Sequence[Tensor], a: Sequence[Tensor], labels: Tensor, moment: Moment
    ) -> StepReport:
        """Targets from the top down, then every layer towards its own."""
        m, step = len(h[0]), self._step_length(len(h[0]))
        outputs, output = h[self.depth], self.layers[self.depth]
        loss, error = self.objective.loss_and_error(outputs, labels)  # ℓ, m ∂ℓ/∂h_L
        delta: dict[int, Tensor] = {}  # ∂loss_l/∂a_l, by layer; each loss is a mean over the batch
        if self.top == self.depth:
            top_target = outputs - step * error
        else:
            error = output.activation.times_derivative(error, a[self.depth], outputs)
            delta[self.depth] = error / m
            top_target = h[self.top] - step * (error @ output.weight)  # eq. 10-11
        target: dict[int, Tensor] = {}
        back: dict[int, Tensor] = {}
        if self.top:  # a network without hidden layers has only its output layer's own loss
            target, back = propagate_targets(self.inverses, h, top_target, self.hyperparameters.correction)
        for l, wanted in target.items():
            # ∂‖f_l(h_{l-1}) − ĥ_l‖² / ∂a_l, h_{l-1} and ĥ_l constant
            delta[l] = self.layers[l].activation.times_derivative(h[l] - wanted, a[l], h[l]).mul_(2 / m)
        gradients: Gradients = {}
        for l, signal in delta.items():
            gradients |= layer_gradients(self.layers[l], signal, u[l - 1])
        report = StepReport(self.objective.measure(outputs, labels, loss))
        if moment.diagnose:
            report.signals = {self.layers[l].name: delta[l] for l in sorted(delta)}
            report.directions = {name: -gradient for name, gradient in gradients.items()}
            report.details = self._details(h, target, back)
        self.optimizer.step_with(gradients, moment.progress)
        return report

    def _step_of_autoencoder(self, batch: Batch, moment: Moment) -> StepReport:
        x = batch.inputs.flatten(1)
        encoder, decoder = self.layers[1], self.layers[2]
        noise = self._noise("feedback noise", (len(x), len(encoder.weight)), self._sigma(moment.epoch), x)
        step = self._step_length(len(x))
        passed = autoencoder_step(
            encoder,
            decoder,
            x,
            corrupted=self._noisy(x),
            noise=noise,
            towards=lambda z: z - step * self.objective.error(z, batch.targets),
        )
        report = StepReport(self.objective.measure(passed.outputs, batch.targets))
        if moment.diagnose:
            report.signals, report.details = passed.signals, {"target_distance": passed.distances}
            report.directions = {name: -gradient for name, gradient in passed.gradients.items()}
        self.optimizer.step_with(passed.gradients, moment.progress)
        return report

    # -- noise and lengths --------------------------------------------------------------------------------------------

    def _step_length(self, m: int) -> float:
        """η̂ as a factor of each sample's own gradient."""
        step = self.hyperparameters.target_step
        return step / m if self.hyperparameters.target_step_of == "batch_mean" else step

    def _sigma(self, epoch: int) -> float:
        sigma, decay = self.hyperparameters.feedback_noise, self.hyperparameters.feedback_noise_decay_epochs
        return sigma if decay is None else sigma / (1 + epoch / decay)

    def _noise(self, stream: str, shape: tuple[int, ...], sigma: float, like: Tensor) -> Tensor:
        return torch.empty(shape, dtype=like.dtype, device=like.device).normal_(
            0, sigma, generator=self.streams(stream)
        )

    def _noisy(self, x: Tensor) -> Tensor:
        sigma = self.hyperparameters.input_noise
        return x + self._noise("input noise", tuple(x.shape), sigma, x) if sigma else x

    def as_seen(self, batch: Batch) -> Batch:
        """With the input noise of the coming step, drawn ahead."""
        if not self.hyperparameters.input_noise:
            return batch
        generator = self.streams("input noise")
        state = generator.get_state()
        noisy = self._noisy(batch.inputs)
        generator.set_state(state)
        return replace(batch, inputs=noisy)

    def _feedback_noise(self, h: Sequence[Tensor], epoch: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """ε at h_{l-1} for each inverse l, and ε′ at h_l where the loss asks for it: all from one call."""
        widths = [h[l - 1].shape[1] for l in self.inverses]
        if self.hyperparameters.inverse_loss == "local_difference_reconstruction":
            widths += [h[l].shape[1] for l in self.inverses]
        m = len(h[0])
        drawn = self._noise("feedback noise", (m * sum(widths),), self._sigma(epoch), h[0])
        pieces = [each.view(m, -1) for each in drawn.split([m * width for width in widths])]
        count = len(self.inverses)
        below, above = pieces[:count], pieces[count:]
        return dict(zip(self.inverses, below, strict=True)), dict(zip(self.inverses, above, strict=False))

    # -- looking ------------------------------------------------------------------------------------------------------

    def predict(self, inputs: Tensor) -> Tensor:
        """Outputs; of a stochastic network the log of the class probabilities' mean over `prediction_samples`."""
        with self.network.evaluating():
            if not self.stochastic:
                return self.network(inputs)
            return mean_of_samples(
                self.network,
                inputs,
                self.hyperparameters.prediction_samples,
                generator_for(self.streams.seed, "prediction samples", inputs.device),
            )

    def _details(
        self, h: Sequence[Tensor], target: Mapping[int, Tensor], back: Mapping[int, Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        """‖ĥ_l − h_l‖, and ‖g_l(h_l) − h_{l-1}‖² as a share of ‖h_{l-1}‖²: means over the batch, by layer."""
        name = {l: layer.name for l, layer in self.layers.items()}
        back = back or {l: inverse(h[l]) for l, inverse in self.inverses.items()}
        return {
            "target_distance": {name[l]: (target[l] - h[l]).norm(dim=1).mean() for l in sorted(target)},
            "reconstruction_error": {
                name[l]: (back[l] - h[l - 1]).square().sum() / h[l - 1].square().sum().clamp(min=1e-12)
                for l in sorted(back)
            },
        }

    @torch.no_grad()
    def artefacts(self, batch: Batch, folder: Path) -> list[Artefact]:
        """Pictures of an auto-encoder: what its hidden units look for, and samples beside their reconstructions."""
        shape = tuple(self.network.in_shape)
        if self.objective.kind != "squared_error" or math.prod(shape) != math.prod(self.network.out_shape):
            return []
        return draw_autoencoder(self.layers[1].weight, batch.inputs, self.predict(batch.inputs), shape, folder)

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        feedback = self.feedback_optimizer
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "inverses": {name: weight.data for name, weight in self.feedback_weights.items()},
            "feedback_optimizer": {} if feedback is None else feedback.state_dict(),
            "streams": self.streams.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, weight in self.feedback_weights.items():
            weight.data.copy_(state["inverses"][name])
        if self.feedback_optimizer is not None:
            self.feedback_optimizer.load_state_dict(state["feedback_optimizer"])
        self.streams.load_state_dict(state["streams"])

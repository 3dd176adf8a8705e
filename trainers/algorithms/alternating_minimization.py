"""Online alternating minimization with auxiliary variables (Choromanska et al. 2019, arXiv 1806.09077).

Every hidden layer gets a code for its pre-activation, which cuts the chain of gradients: codes move with the weights
fixed, each towards what its two neighbours want; then each layer's weights move with the codes fixed, by a regression
of their own that no other layer takes part in. Not the offline method of Taylor et al. 2016 (ADMM with multipliers):
nothing is kept from one mini-batch to the next but the weights, unless `mode` is offline.

    paper    here                 meaning                                                          shape
    c_l      start[l] + moved[l]  code of hidden layer l, after batch norm, before the nonlinearity (batch, *shape_l)
    σ        layers[l].activate   activation of a code, as passed up
    μ        mu                   weight of the layers' agreement with their codes, against the loss
    n_c,n_w  code_steps, weight_steps
    A, B     memory               AM-mem's second moments; alternating_minimization_memory.py

    min over W, C of  Σ ℓ(y, W_{L+1} σ(c_L)) + μ Σ_l ‖c_l − W_l σ(c_{l-1})‖²,  σ(c_0) = x                           (1)

    forward                        c_l = its forward value
    codes, from L to 1             n_c steps each; alternating_minimization_codes.py
    weights, all l, in any order   output: ∇ ℓ(y, W_{L+1} σ(c_L)); hidden: ∇ mse(W_l σ(c_{l-1}), c_l); own optimizers

AM-Adam and AM-SGD are `weight_update` gradient with that optimizer, AM-mem is memory.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.alternating_minimization_codes import CodeSettings, OutputError, code_objective, move_codes
from trainers.algorithms.alternating_minimization_hyperparameters import AlternatingMinimizationHyperparameters
from trainers.algorithms.alternating_minimization_kept_codes import KeptCodes, rows_of
from trainers.algorithms.alternating_minimization_layers import (
    Activated,
    CodedLayer,
    Gradients,
    Prediction,
)
from trainers.algorithms.alternating_minimization_memory import SurrogateMemory
from trainers.algorithms.alternating_minimization_networks import refuse_untrainable
from trainers.algorithms.alternating_minimization_recurrent import RecurrentCodes
from trainers.algorithms.base import Batch, Moment, Properties, Property, StepReport
from trainers.networks.base import Network
from trainers.networks.recurrent import Recurrent
from trainers.objective import Objective
from trainers.optimizers import Optimizer
from trainers.streams import StreamBook

MU_CEILING = 10.0
"""A growing μ stops at this multiple of its first value (the authors' program)."""


class AlternatingMinimization:
    """Layers and codes are numbered from 0 here: code l is layers[l]'s, and the last layer has none."""

    Hyperparameters = AlternatingMinimizationHyperparameters

    @staticmethod
    def complete(
        hyperparameters: AlternatingMinimizationHyperparameters, network: Any, training: Any
    ) -> AlternatingMinimizationHyperparameters:
        refuse_untrainable(hyperparameters, network)
        return hyperparameters

    @staticmethod
    def properties(hyperparameters: AlternatingMinimizationHyperparameters, network: Any) -> Properties:
        kept = ["the weights' optimizers"]
        if hyperparameters.weight_update == "memory":
            kept = ["second moments A and B of every hidden layer", "the output layer's optimizer"]
        if hyperparameters.mode == "offline":
            kept.append("a code for every sample and hidden layer")
        return Properties(
            weight_transport=Property("yes", "A code step carries the difference at c_{l+1} down through W_{l+1}ᵀ."),
            global_error_signal=Property(
                "partly",
                "The loss reaches the top code alone; each code below sees the one above, and so what is left of it.",
            ),
            forward_locking=Property("yes", "Codes start at their forward values, from bottom to top."),
            backward_locking=Property(
                "partly", "Codes move from top to bottom, c_{l+1} before c_l; the weights then wait for no other layer."
            ),
            update_locking=Property("yes", "Codes, and so all weights, wait for the forward pass."),
            needs_derivative=Property(
                "partly", "In the code steps only, where a surrogate may stand for it; the weights' update has none."
            ),
            symmetric_feedback=Property("yes", "Code steps use exactly the transposed forward weights."),
            layer_parallel=Property(
                "partly", "Weight updates are independent of each other; forward pass and codes are not."
            ),
            extra_state=", ".join(kept),
            trains=frozenset({"mlp", "convnet", "recurrent", "non_differentiable"}),
        )

    # -- setting up ---------------------------------------------------------------------------------------------------

    def setup(
        self,
        network: Network,
        objective: Objective,
        hyperparameters: AlternatingMinimizationHyperparameters,
        streams: StreamBook,
    ) -> None:
        self.network, self.objective, self.hyperparameters, self.streams = network, objective, hyperparameters, streams
        self.settings = CodeSettings(
            steps=hyperparameters.code_steps,
            learning_rate=hyperparameters.code_learning_rate,
            momentum=hyperparameters.code_momentum,
            nesterov=hyperparameters.code_nesterov,
            proximity=hyperparameters.proximity,
            sparsity=hyperparameters.code_sparsity,
            mu_on_all=hyperparameters.mu_on == "all",
            mean_over_units=hyperparameters.reduction == "mean",
            regression_weight=hyperparameters.regression_weight,
        )
        self.recurrent: RecurrentCodes | None = None
        self.layers: list[CodedLayer] = []
        if isinstance(network, Recurrent):
            self.recurrent = RecurrentCodes(network, objective, self.settings)
        else:
            self.layers = [CodedLayer(layer, hyperparameters.surrogate) for layer in network.layers]
        self.memory = self._make_memory()
        self.optimized = {layer.name for layer in network.layers} - self._remembered()
        options = hyperparameters.model_copy(update={"clip_norm": None})  # clipped layer by layer, in `_penalised`
        own = {name: each for name, each in network.named_parameters() if name.split(".")[0] in self.optimized}
        self.optimizer = Optimizer(own, options) if own else None
        self.carried: tuple[Tensor, ...] = ()
        self.kept = KeptCodes()
        self.network.train()

    def _make_memory(self) -> SurrogateMemory | None:
        hyperparameters = self.hyperparameters
        if hyperparameters.weight_update != "memory":
            return None
        # The output layer's loss is a least-squares one, too, where values are learned.
        squared = self.objective.kind == "squared_error" and self.layers[-1].activation.name == "identity"
        layers = self.layers if squared else self.layers[:-1]
        return SurrogateMemory(
            [each.layer for each in layers],  # type: ignore[misc]  # dense, as `complete` has made sure
            sparsity=hyperparameters.weight_sparsity,
            forgetting=hyperparameters.memory_forgetting,
            sweeps=hyperparameters.memory_sweeps,
            tolerance=hyperparameters.memory_tolerance,
        )

    def _remembered(self) -> set[str]:
        """Layers whose weights the memory updates."""
        if self.memory is None:
            return set()
        return {layer.name for group in self.memory.groups.values() for layer in group}

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        return ("codes", "weights") if self.hyperparameters.mode == "offline" else ("train",)

    def _mu(self, moment: Moment) -> float:
        hyperparameters = self.hyperparameters
        batches = moment.epoch * moment.steps + moment.step
        return min(hyperparameters.mu + batches * hyperparameters.mu_growth, MU_CEILING * hyperparameters.mu)

    # -- one step -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        if self.recurrent is not None:
            # Codes of many time steps are sums over time: like the recurrence itself, never in bfloat16.
            with torch.autocast(batch.inputs.device.type, enabled=False):
                return self._recurrent_step(self.recurrent, batch, moment)
        if moment.phase == "codes":
            return self._offline_codes(batch, moment)
        if moment.phase == "weights":
            return self._offline_weights(batch, moment)
        predictions, activated = self._forward(batch.inputs)
        error_of = self._error_of(batch)
        outputs = self.layers[-1].activate(predictions[-1].a)
        report = StepReport(self._measures(outputs.h, batch.targets, predictions))
        start = [each.a for each in predictions[:-1]]
        moved = self._move_codes(start, predictions, activated, error_of, error_of.of(outputs), moment)
        if moment.diagnose:
            self._describe_codes(report, start, moved)
        # Layer 1's input is no code, so its prediction stands as the forward pass made it.
        self._update_weights(batch, start, moved, error_of, moment, report, first_prediction=predictions[0])
        return report

    def _forward(self, x: Tensor) -> tuple[list[Prediction], list[Activated]]:
        """Every layer's prediction, and every hidden layer's activation; the batch's dropout masks are drawn."""
        predictions: list[Prediction] = []
        activated: list[Activated] = []
        h = x
        for layer in self.layers[:-1]:
            predictions.append(layer.predict(h, track=True))
            layer.draw_mask(predictions[-1].a)
            activated.append(layer.activate(predictions[-1].a))
            h = activated[-1].h
        predictions.append(self.layers[-1].predict(h, track=True))
        return predictions, activated

    def _error_of(self, batch: Batch) -> OutputError:
        output = self.layers[-1]
        return OutputError(output, self.objective, batch.targets, output.weight.dtype)

    def _measures(
        self, outputs: Tensor, targets: Tensor, predictions: list[Prediction]
    ) -> dict[str, tuple[Tensor, int]]:
        measures = self.objective.measure(outputs, targets)
        loss, count = measures["loss"]
        # Bounded units make an infinite pre-activation a tame 1 through which no code moves: nothing else would show.
        # Batch norm makes it NaN, which shows by itself.
        plain = [each.z.sum() for each in predictions[:-1] if each.z is each.a]
        measures["loss"] = (loss + torch.stack(plain).sum() * 0 if plain else loss, count)
        return measures

    def _move_codes(
        self,
        start: list[Tensor],
        predictions: list[Prediction],
        activated: list[Activated],
        error_of: OutputError,
        top_error: Tensor,
        moment: Moment,
    ) -> list[Tensor]:
        return move_codes(
            self.layers,
            start,
            predictions,
            activated,
            error_of,
            top_error,
            mu=self._mu(moment),
            settings=self.settings,
        )

    # -- weights ------------------------------------------------------------------------------------------------------

    def _update_weights(
        self,
        batch: Batch,
        start: list[Tensor],
        moved: list[Tensor],
        error_of: OutputError,
        moment: Moment,
        report: StepReport,
        first_prediction: Prediction | None = None,
    ) -> None:
        """Every layer's, from the codes alone: no layer reads what another's update writes."""
        codes = [each + change for each, change in zip(start, moved, strict=True)]
        below = [batch.inputs]
        below += [layer.activate(code).h for layer, code in zip(self.layers, codes, strict=False)]
        if self.memory is not None:
            self._remember(self.memory, batch, codes, below, moment)
        for k in range(self.hyperparameters.weight_steps):
            gradients: Gradients = {}
            for l, layer in enumerate(self.layers):
                if layer.name not in self.optimized:
                    continue
                code = (start[l], moved[l]) if l < len(start) else None
                prediction = first_prediction if k == l == 0 else None
                signal, its = self.layer_gradients(l, below[l], code, error_of, prediction)
                if moment.diagnose and k == 0:
                    report.signals = {**(report.signals or {}), layer.name: signal}
                gradients |= its
            self._step_weights(gradients, moment, report if k == 0 else None)

    def layer_gradients(
        self,
        l: int,
        h: Tensor,
        code: tuple[Tensor, Tensor] | None,
        error_of: OutputError,
        prediction: Prediction | None = None,
    ) -> tuple[Tensor, Gradients]:
        """Signal at a_l and gradients of layer l, from the activation below and its code (start, moved), or the loss.

        Reads no other layer: the layers' gradients may be computed in any order, or at once.
        """
        layer = self.layers[l]
        if prediction is None:
            prediction = layer.predict(h)
        if code is None:
            d = error_of(prediction)
        elif prediction.a is code[0]:
            d = code[1] * -self.settings.regression_scale(code[1])
        else:
            d = (prediction.a - code[0]).sub_(code[1])
            d *= self.settings.regression_scale(d)
        return d, self._penalised(layer.weight_gradients(prediction, d))

    def _penalised(self, gradients: Gradients) -> Gradients:
        """One layer's, with λ_w · mean |W| on weight matrices, and clipped: a norm over all layers would tie them."""
        sparsity, longest = self.hyperparameters.weight_sparsity, self.hyperparameters.clip_norm
        if sparsity:
            for name, gradient in gradients.items():
                if gradient.dim() > 1:
                    weight = self.network.get_parameter(name)
                    gradient.add_(torch.sign(weight), alpha=sparsity / weight.numel())
        if longest is not None:
            length = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
            shrink = (longest / (length + 1e-6)).clamp(max=1)
            gradients = {name: gradient * shrink for name, gradient in gradients.items()}
        return gradients

    def _step_weights(self, gradients: Gradients, moment: Moment, report: StepReport | None) -> None:
        if moment.diagnose and report is not None:
            report.directions = {name: -gradient for name, gradient in gradients.items()}
        # The optimizers work on each weight by itself, so one call for all is each layer's own step, bit for bit.
        if self.optimizer is not None:
            self.optimizer.step_with(gradients, moment.progress)

    def _remember(
        self, memory: SurrogateMemory, batch: Batch, codes: list[Tensor], below: list[Tensor], moment: Moment
    ) -> None:
        """Offline, the weights move once a pass, when the moments hold every sample's code as it is now."""
        offline = moment.phase == "weights"
        if offline and moment.step == 0:
            memory.clear()
        names = [layer.name for layer in self.layers]
        wanted = [*codes, batch.targets.to(below[-1].dtype)]
        with torch.autocast(batch.inputs.device.type, enabled=False):  # sums over the whole run need every digit
            memory.remember(dict(zip(names, below, strict=True)), dict(zip(names, wanted, strict=True)))
            if not offline or moment.step == moment.steps - 1:
                memory.update_weights()

    # -- offline ------------------------------------------------------------------------------------------------------

    def _offline_codes(self, batch: Batch, moment: Moment) -> StepReport:
        """The batch's kept codes move, all weights fixed."""
        rows = rows_of(batch)
        predictions, _ = self._forward(batch.inputs)
        outputs = self.layers[-1].activate(predictions[-1].a).h
        report = StepReport(self._measures(outputs, batch.targets, predictions))
        start = self.kept.recall(rows, [each.a for each in predictions[:-1]], first_epoch=moment.epoch == 0)
        activated = [layer.activate(code) for layer, code in zip(self.layers, start, strict=False)]
        held = [predictions[0]]
        held += [layer.predict(sigma.h) for layer, sigma in zip(self.layers[1:], activated, strict=True)]
        error_of = self._error_of(batch)
        moved = self._move_codes(start, held, activated, error_of, error_of(held[-1]), moment)
        self.kept.keep(rows, [code + change for code, change in zip(start, moved, strict=True)])
        if moment.diagnose:
            self._describe_codes(report, start, moved)
        return report

    def _offline_weights(self, batch: Batch, moment: Moment) -> StepReport:
        """Weights move towards the kept codes, all codes fixed; reports the objective of eq. 1 as it was before."""
        rows = rows_of(batch)
        codes = self.kept.of(rows)
        for layer, code in zip(self.layers, codes, strict=False):
            layer.draw_mask(code)
        value = code_objective(
            self.layers,
            codes,
            batch.inputs,
            objective=self.objective,
            targets=batch.targets,
            mu=self._mu(moment),
            settings=self.settings,
        )
        report = StepReport({"objective": (value * len(rows), len(rows))})
        self._update_weights(
            batch, codes, [torch.zeros_like(code) for code in codes], self._error_of(batch), moment, report
        )
        return report

    # -- recurrent ----------------------------------------------------------------------------------------------------

    def _recurrent_step(self, recurrent: RecurrentCodes, batch: Batch, moment: Moment) -> StepReport:
        state = None if batch.starts or not self.carried else self.carried
        chunk = recurrent.forward(batch.inputs, batch.targets, state)
        self.carried = chunk.after
        measures = self.objective.measure(chunk.outputs, batch.targets)
        loss, count = measures["loss"]
        measures["loss"] = (loss + torch.stack([c.sum() for c in chunk.start]).sum() * 0, count)
        report = StepReport(measures)
        recurrent.move_codes(chunk, self._mu(moment))
        if moment.diagnose:
            report.details = {"code_change": recurrent.code_changes(chunk)}
        for k in range(self.hyperparameters.weight_steps):
            gradients: Gradients = {}
            for name, gradients_of in recurrent.updates(chunk):
                its, signal = gradients_of()
                if moment.diagnose and k == 0:
                    report.signals = {**(report.signals or {}), name: signal}
                gradients |= self._penalised(its)
            self._step_weights(gradients, moment, report if k == 0 else None)
        return report

    # -- looking ------------------------------------------------------------------------------------------------------

    def _describe_codes(self, report: StepReport, start: list[Tensor], moved: list[Tensor]) -> None:
        """‖moved‖ / ‖start‖ over the batch, by layer: how far codes move at all."""
        report.details = {
            "code_change": {
                layer.name: change.norm() / code.norm().clamp(min=1e-30)
                for layer, code, change in zip(self.layers, start, moved, strict=False)
            }
        }

    def predict(self, inputs: Tensor) -> Tensor:
        with self.network.evaluating():
            return self.network(inputs)

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": {} if self.optimizer is None else self.optimizer.state_dict(),
            "memory": {} if self.memory is None else self.memory.state_dict(),
            "carried": {str(place): each for place, each in enumerate(self.carried)},
            "kept_codes": self.kept.state_dict(),
            "streams": self.streams.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])
        device = next(self.network.parameters()).device
        self.carried = tuple(each.to(device) for each in state["carried"].values())
        self.kept.load_state_dict(state["kept_codes"], device)
        self.streams.load_state_dict(state["streams"])

"""Decoupled neural interfaces using synthetic gradients (Jaderberg et al. 2017, arXiv 1608.05343): DNI and cDNI.

A small model at each interface predicts the gradient by the activation that is sent up, so that a layer updates at
once, before the layers above have run. Not a layer-wise loss: what is predicted is the gradient of the network's one
loss, bootstrapped from interface to interface. This file trains feed-forward networks; the border between chunks of a
recurrent one is in synthetic_gradients_recurrent.py, those of two networks at different rates in _two_networks.py.

    paper    here               meaning                                                       shape
    f_i      modules[i]         layers between two interfaces                                  -
    h_i      message            activation that module i sends up                              (batch, *shape_i)
    M_{i+1}  synthesizers[i]    model at the interface above module i; _models.py              -
    c        condition          label, for cDNI                                                (batch,)
    I_i      input_synthesizers[i]  full unlock: model of what module i is sent from below     -

    δ̂_i = M_{i+1}(h_i, c) ≈ ∂L/∂h_i                                                           (1)
    θ_n ← θ_n − α δ̂_i ∂h_i/∂θ_n    for every θ_n of module i, at once                           (2)
    δ_i = δ̂_{i+1} ∂h_{i+1}/∂h_i    before module i+1 moves; next to the loss the true ∂L/∂h_i     (3)
    M_{i+1}: ‖δ̂_i − δ_i‖²                                                                      (4)
    I_i: ‖I_i(x) − h_{i−1}‖²       full unlock: module i runs on I_i(x), and waits for nobody   (5)

The order is f_1, update; f_2, update, then M_2; …; the output layer, then its M.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.algorithms.base import Batch, Moment, Properties, Property, StepReport
from trainers.algorithms.synthetic_gradients_history import SynthesizerHistory
from trainers.algorithms.synthetic_gradients_hyperparameters import (
    BORDERS,
    CHUNKED,
    SyntheticGradientsHyperparameters,
    completed,
)
from trainers.algorithms.synthetic_gradients_models import Gradients, Synthesizer, make_synthesizer
from trainers.algorithms.synthetic_gradients_modules import Module, modules_of
from trainers.algorithms.synthetic_gradients_recurrent import RecurrentInterface
from trainers.algorithms.synthetic_gradients_two_networks import TwoNetworkInterfaces
from trainers.algorithms.synthetic_gradients_updates import FusedAdam, updates_of
from trainers.events import Artefact
from trainers.networks.base import Network
from trainers.networks.recurrent import Recurrent
from trainers.networks.two_networks import TwoNetworks
from trainers.objective import Objective
from trainers.optimizers import Optimizer
from trainers.streams import StreamBook, generator_for

if TYPE_CHECKING:
    from trainers.algorithms.synthetic_gradients_parallel import SyntheticGradientsPart
    from trainers.layer_parallel.group import LayerGroup


class SyntheticGradients:
    """Modules update from a predicted gradient, before those above them have run."""

    Hyperparameters = SyntheticGradientsHyperparameters

    @staticmethod
    def complete(
        hyperparameters: SyntheticGradientsHyperparameters, network: Any, training: Any
    ) -> SyntheticGradientsHyperparameters:
        return completed(hyperparameters, network)

    @staticmethod
    def properties(hyperparameters: SyntheticGradientsHyperparameters, network: Any) -> Properties:
        full = hyperparameters.unlock == "full"
        forward = Property("yes", "A module takes the message of the module below.")
        if full:
            forward = Property("no", "A module runs on a synthetic input, predicted from the network's own.")
        transport = "One module up, for a synthesizer's target only; never for the same step's weight update."
        backward = Property("no", "A module updates before those above it have run backwards.")
        update = Property("no", "A module updates before those above it have run at all.")
        parallel = Property("yes", "A module's update needs its message and its synthesizer alone.")
        if network.kind in CHUNKED:
            transport = "Inside a chunk, as in backprop; past its border for a synthesizer's target only."
            backward = Property("partly", "Inside a chunk, from top to bottom; not for the chunks to come.")
            update = Property("partly", "Inside a chunk, for the layers above; not for the chunks to come.")
            parallel = Property("no", "The layers of a chunk are one module.")
            if network.kind == "two_networks":
                parallel = Property("partly", "One network beside the other; the layers of a network's chunk are one.")
        elif hyperparameters.interfaces is not None and len(hyperparameters.interfaces) < len(network.activations()):
            transport = "Inside a module, as in backprop; one module up for a synthesizer's target only."
            backward = Property("partly", "Inside a module of several layers, not for the modules above.")
            update = Property("partly", "Inside a module of several layers, not for the modules above.")
            parallel = Property("partly", "Modules side by side; not the layers inside one.")
        return Properties(
            weight_transport=Property("partly", transport),
            global_error_signal=Property(
                "partly", "Not in the same step; it enters at the top, and targets are bootstrapped down from there."
            ),
            forward_locking=forward,
            backward_locking=backward,
            update_locking=update,
            needs_derivative=Property("yes", "Inside a module the gradient goes through its nonlinearity."),
            symmetric_feedback=Property(
                "partly", "A synthesizer's target comes through exactly the weights above; synthesizers are learned."
            ),
            layer_parallel=parallel,
            extra_state="synthesizers, their optimizer" + (", synthesizers of inputs" if full else ""),
            trains=frozenset({"mlp", "convnet", "recurrent", "two_networks"}),
        )

    @staticmethod
    def most_processes(hyperparameters: SyntheticGradientsHyperparameters, network: Any) -> int:
        """That the modules can be shared out to, with completed hyperparameters; 1: none beside the one."""
        return 1 if network.kind in CHUNKED else len(hyperparameters.interfaces or ()) + 1

    # -- setting up ---------------------------------------------------------------------------------------------------

    def setup(
        self,
        network: Network,
        objective: Objective,
        hyperparameters: SyntheticGradientsHyperparameters,
        streams: StreamBook,
    ) -> None:
        self.network, self.objective, self.hyperparameters, self.streams = network, objective, hyperparameters, streams
        self.recurrent: RecurrentInterface | TwoNetworkInterfaces | None = None
        self.history = SynthesizerHistory()
        self.modules: list[Module] = []
        self.synthesizers: dict[int, Synthesizer] = {}
        self.input_synthesizers: dict[int, Synthesizer] = {}
        if isinstance(network, Recurrent):
            self.recurrent = RecurrentInterface(network, objective, hyperparameters, streams)
        elif isinstance(network, TwoNetworks):
            self.recurrent = TwoNetworkInterfaces(network, objective, hyperparameters, streams)
        else:
            self.modules = modules_of(network.layers, hyperparameters.interfaces or [])
            self._make_synthesizers()
        weight = next(network.parameters())
        for model in self.models().values():
            model.to(weight.device, weight.dtype)
        rate = hyperparameters.synthesizer_learning_rate or hyperparameters.learning_rate
        self.optimizer = updates_of(dict(network.named_parameters()), hyperparameters)
        learned = {
            f"{at}.{name}": each for at, model in self.models().items() for name, each in model.named_parameters()
        }
        self.synthesizer_optimizer: Optimizer | FusedAdam | None = None
        """None where there is no border to predict across."""
        if learned:
            options = hyperparameters.model_copy(update={"learning_rate": rate, "weight_decay": 0.0})
            self.synthesizer_optimizer = updates_of(learned, options)
        self.network.train()

    def _make_synthesizers(self) -> None:
        condition = self.objective.outputs if self.hyperparameters.conditioned else 0
        for i, module in enumerate(self.modules[:-1]):
            layer = module.layers[-1]
            shape = layer.out_shape
            self.synthesizers[i] = make_synthesizer(
                f"synthesizer/{layer.name}", shape, shape, condition, self.hyperparameters, self.streams
            )
            if self.hyperparameters.unlock == "full":
                self.input_synthesizers[i + 1] = make_synthesizer(
                    f"input synthesizer/{layer.name}",
                    self.network.in_shape,
                    shape,
                    0,
                    self.hyperparameters,
                    self.streams,
                )

    def models(self) -> dict[str, Synthesizer]:
        """All synthesizers, by the layer that they are above, or whose output they stand for."""
        if self.recurrent is not None:
            return self.recurrent.models()
        named = {self.interface_name(i): model for i, model in self.synthesizers.items()}
        return named | {f"input-{self.interface_name(i - 1)}": model for i, model in self.input_synthesizers.items()}

    def interface_name(self, i: int) -> str:
        """The name of the layer below the interface above module i."""
        return self.modules[i].layers[-1].name

    @property
    def carried(self) -> tuple[Tensor, ...]:
        """The state that a recurrent network goes on from."""
        return () if self.recurrent is None else self.recurrent.carried

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        return ("train",)

    # -- one step -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        if self.recurrent is not None:
            return self._recurrent_step(self.recurrent, batch, moment)
        update = Update(self, batch, moment)
        message = batch.inputs
        for i in range(len(self.modules)):
            message = update.run_module(i, message)
        report = StepReport(self.objective.measure(message, batch.targets, update.loss))
        update.tell(report)
        self.history.add(moment, report.details)
        return report

    def updating(self, moment: Moment) -> list[bool]:
        """Which modules update in this step: each with probability p, by (seed, epoch, step), so no state is kept."""
        p = self.hyperparameters.update_probability
        if p == 1:
            return [True] * len(self.modules)
        generator = generator_for(self.streams.seed, f"random updates/{moment.epoch}/{moment.step}")
        return [drawn < p for drawn in torch.rand(len(self.modules), generator=generator).tolist()]

    def condition(self, batch: Batch) -> Tensor | None:
        """c: the label; for regression the wanted values."""
        if not self.hyperparameters.conditioned:
            return None
        if self.objective.kind == "cross_entropy":
            return batch.targets.clone()  # an answer that comes in the next step finds the batch's buffer overwritten
        return batch.targets.flatten(1).to(next(self.network.parameters()).dtype)

    def clipped(self, gradients: Gradients) -> Gradients:
        """Of one module, scaled to clip_norm: no norm is shared between modules, or they would wait for each other."""
        most = self.hyperparameters.clip_norm
        if most is None or not gradients:
            return gradients
        norm = torch.stack([each.norm() for each in gradients.values()]).norm()
        scale = (most / (norm + 1e-6)).clamp(max=1)
        return {name: each * scale for name, each in gradients.items()}

    def _recurrent_step(
        self, interface: RecurrentInterface | TwoNetworkInterfaces, batch: Batch, moment: Moment
    ) -> StepReport:
        chunk = interface.step(batch, watch=moment.diagnose)
        report = StepReport(self.objective.measure(chunk.outputs, batch.targets, chunk.loss))
        gradients: Gradients = {}
        for part in interface.parts:
            own = {name: each for name, each in chunk.gradients.items() if name.startswith(part)}
            gradients |= self.clipped(own)
        self.optimizer.step_with(gradients, moment.progress)
        if self.synthesizer_optimizer is not None:
            loss, count = report.measures["loss"]
            # A synthesizer that went bad shows in the loss of this step, not of one to come.
            report.measures["loss"] = (loss + chunk.synthesizer_loss * 0, count)
            report.measures["synthesizer_loss"] = (chunk.synthesizer_loss, len(batch.inputs))
            self.synthesizer_optimizer.step_with(chunk.synthesizer_gradients, moment.progress)
        if moment.diagnose:
            report.signals = chunk.signals
            report.directions = {name: -gradient for name, gradient in gradients.items()}
            if chunk.compared:
                report.details = compared(chunk.compared)
        if self.history.is_due(moment):
            self.history.add(moment, report.details or compared(chunk.compared))
        return report

    def predict(self, inputs: Tensor) -> Tensor:
        with self.network.evaluating():
            return self.network(inputs)

    def artefacts(self, batch: Batch, folder: Path) -> list[Artefact]:
        """How well the synthesizers predicted, over the run."""
        order = BORDERS if isinstance(self.network, TwoNetworks) else [layer.name for layer in self.network.layers]
        drawn = self.history.draw(folder, order)
        return [] if drawn is None else [drawn]

    def layer_parallel(self, group: "LayerGroup") -> "SyntheticGradientsPart":
        """The share of the modules that one of several processes runs; synthetic_gradients_parallel.py."""
        from trainers.algorithms.synthetic_gradients_parallel import SyntheticGradientsPart

        return SyntheticGradientsPart(self, group)

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.synthesizer_optimizer
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "synthesizers": {name: dict(model.state_dict()) for name, model in self.models().items()},
            "synthesizer_optimizer": {} if optimizer is None else optimizer.state_dict(),
            "streams": self.streams.state_dict(),
            "history": self.history.state_dict(),
            **({} if self.recurrent is None else self.recurrent.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, model in self.models().items():
            model.load_state_dict(state["synthesizers"][name])
        if self.synthesizer_optimizer is not None:
            self.synthesizer_optimizer.load_state_dict(state["synthesizer_optimizer"])
        self.streams.load_state_dict(state["streams"])
        device = next(self.network.parameters()).device
        self.history.load_state_dict(state.get("history", {}), device)  # which old checkpoints lack
        if self.recurrent is not None:
            self.recurrent.load_state_dict(state, device)


class Update:
    """One step of a feed-forward network, module by module, each updated at once."""

    def __init__(self, algorithm: SyntheticGradients, batch: Batch, moment: Moment) -> None:
        self.algorithm, self.batch, self.diagnose = algorithm, batch, moment.diagnose
        self.progress = moment.progress
        self.updating = algorithm.updating(moment)
        self.condition = algorithm.condition(batch)
        self.samples = len(batch.inputs)
        self.unit = self.samples if algorithm.hyperparameters.gradient_scale == "per_sample" else 1
        applied = algorithm.hyperparameters.applied_scale
        self.scale = 1.0 if applied is None else applied
        self.loss: Tensor | None = None
        """Of the output layer, once it has run."""
        self.directions: Gradients = {}
        self.synthesizer_losses: list[Tensor] = []
        self.signals: dict[str, Tensor] = {}
        self.compared: dict[str, tuple[Tensor, Tensor]] = {}

    def run_module(self, i: int, message: Tensor) -> Tensor:
        """Module i forwards, its update by eq. 2, and those of the synthesizers below it; returns its message."""
        module = self.algorithm.modules[i]
        sent_up = module.forward(self._input_of(i, message))
        self.sent_up(i, sent_up)
        signal = self._signal_at(i, sent_up)
        if self.updating[i]:
            sent = module.backward(signal, 1 / self.unit, to_input=i > 0, watch=self.diagnose)
            gradients = self.algorithm.clipped(sent.gradients)
            if self.diagnose:
                self.signals |= sent.signals
                self.directions |= {name: -gradient for name, gradient in gradients.items()}
            if sent.below is not None:  # first, while the message is still in the processor's cache
                self.train_synthesizers_below(i, sent.below, message)
            self.algorithm.optimizer.step_with(gradients, self.progress)
        return sent_up

    def sent_up(self, i: int, message: Tensor) -> None:
        """Module i's message is there, and nothing has been predicted from it yet; other processes may want it."""

    def _input_of(self, i: int, message: Tensor) -> Tensor:
        model = self.algorithm.input_synthesizers.get(i)
        if model is None:
            return message
        return model.predict(self.batch.inputs, None).reshape(message.shape)

    def _signal_at(self, i: int, sent_up: Tensor) -> Tensor:
        """∂L/∂h_i in the synthesizers' unit: predicted (eq. 1), at the output true."""
        model = self.algorithm.synthesizers.get(i)
        if model is None:
            self.loss, error = self.algorithm.objective.loss_and_error(sent_up, self.batch.targets)
            return error if self.unit == self.samples else error / self.samples
        predicted = model.predict(sent_up, self.condition).reshape(sent_up.shape)
        return predicted if self.scale == 1 else predicted * self.scale

    def train_synthesizers_below(self, i: int, target: Tensor, message: Tensor) -> None:
        """Eqs. 3-5, with what module i sends down, and what it was sent."""
        model = self.algorithm.synthesizers[i - 1]
        name = self.algorithm.interface_name(i - 1)
        if self.diagnose:
            self.compared[name] = (model.prediction.reshape(target.shape), target)
        self._move_synthesizer(name, *model.gradients(target))
        self.train_input_synthesizer(i, message)

    def train_input_synthesizer(self, i: int, message: Tensor) -> None:
        """Eq. 5."""
        inputs = self.algorithm.input_synthesizers.get(i)
        if inputs is not None:
            self._move_synthesizer(f"input-{self.algorithm.interface_name(i - 1)}", *inputs.gradients(message))

    def _move_synthesizer(self, name: str, loss: Tensor, gradients: Gradients) -> None:
        self.synthesizer_losses.append(loss)
        optimizer = self.algorithm.synthesizer_optimizer
        if optimizer is not None:
            optimizer.step_with({f"{name}.{each}": gradient for each, gradient in gradients.items()}, self.progress)

    def synthesizer_loss(self) -> Tensor:
        """Summed over samples and synthesizers; a step may train none."""
        if not self.synthesizer_losses:
            return next(self.algorithm.network.parameters()).new_zeros(())
        return torch.stack(self.synthesizer_losses).sum()

    def tell(self, report: StepReport) -> None:
        """Add to the report what is known of the synthesizers, and what diagnostics ask for."""
        if self.algorithm.synthesizers:
            total = self.synthesizer_loss()
            loss, count = report.measures["loss"]
            # A synthesizer that went bad shows in the loss of this step, not of one to come.
            report.measures["loss"] = (loss + total * 0, count)
            report.measures["synthesizer_loss"] = (total, self.samples)
        if self.diagnose:
            order = [layer.name for layer in self.algorithm.network.layers]
            report.signals = {name: self.signals[name] for name in order if name in self.signals}
            report.directions = self.directions
            report.details = compared(self.compared)


def compared(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Predictions against what came, by layer: cosine over the batch, and distance as a share of the target's norm.

    NaN, so blank, where the target is 0: at the end of a sequence, and in the first steps of a zero model.
    """
    return {
        "synthesizer_cosine": {name: (p * t).sum() / (p.norm() * t.norm()) for name, (p, t) in pairs.items()},
        "synthesizer_error": {
            name: torch.where(t.norm() > 0, (p - t).norm() / t.norm(), torch.nan) for name, (p, t) in pairs.items()
        },
    }

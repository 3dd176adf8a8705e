"""The HSIC bottleneck (Ma, Lewis & Kleijn 2020, arXiv 1908.01580): layers that learn with no error from above.

Each layer makes its activation depend on the label and forget the input, both measured over the batch by a kernel
criterion. No gradient, target or error travels between layers.

    paper     here                meaning                                                       shape
    Z_i       ran.z               activation of layer i, s(BN(W_i Z_{i-1} + b_i)); Z_0 = X      (batch, *shape)
    K̂_X, K̂_Y  references          normalised kernels of inputs and labels, once a batch         (batch, batch)
    β         label_weight        weight of the dependence on the label
    σ         sigma               width of the Gaussian kernels, in units of √features

    min over W_i, b_i of   nHSIC(Z_i, X) − β nHSIC(Z_i, Y),   Z_{i-1} constant                  (eq. 6)

Algorithm 1 goes up the layers batch by batch: forward, own objective, own step (`layer_order` sequential); parallel
takes one forward pass for all. Classes are read off by a linear layer, the network's output layer, trained after the
others or with them; or by matching the output units to classes one to one ("unformatted"). Combined σ: `hsic_branches`.
The successor pHSIC (Pogodin & Latham 2020, arXiv 2006.07123) is the criterion phsic, its grouping a setting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.algorithms.base import Batch, Moment, Properties, Property, StepReport
from trainers.algorithms.hsic_branches import (
    Aggregator,
    Branch,
    branch_state,
    hidden_layers,
    load_branch_state,
    run_layers,
    twin_layers,
)
from trainers.algorithms.hsic_checks import TRAINS, check_group_width, check_memory, refuse_untrainable
from trainers.algorithms.hsic_history import History, draw_activations
from trainers.algorithms.hsic_hyperparameters import HSICBottleneckHyperparameters
from trainers.algorithms.hsic_layers import Backward, Ran, descend, run_again, run_layer, settling
from trainers.algorithms.hsic_objective import (
    LayerObjective,
    References,
    Settings,
    layer_objective,
    layer_objective_by_features,
    step_bytes,
)
from trainers.algorithms.hsic_readout import Matching
from trainers.algorithms.hsic_workspace import Workspace
from trainers.errors import SpecError
from trainers.events import Artefact
from trainers.networks.base import Layer, Network
from trainers.objective import Objective
from trainers.optimizers import Optimizer, scheduled_rate
from trainers.streams import StreamBook


class HSICBottleneck:
    """Each layer depends on the label and forgets the input, by a kernel criterion of its own; no error travels."""

    Hyperparameters = HSICBottleneckHyperparameters

    @staticmethod
    def complete(
        hyperparameters: HSICBottleneckHyperparameters, network: Any, training: Any
    ) -> HSICBottleneckHyperparameters:
        given, plausible = hyperparameters, hyperparameters.criterion == "phsic"
        whole = given.model_copy(
            update={
                "label_weight": given.label_weight or (2.0 if plausible else 50.0),
                "kernel": given.kernel or ("cosine" if plausible else "gaussian"),
                "label_kernel": given.label_kernel or ("cosine" if plausible else "gaussian"),
                "branch_initialization": given.branch_initialization or network.initialization
                if hasattr(network, "initialization")
                else given.branch_initialization,
                "readout_optimizer": given.readout_optimizer or given.optimizer,
                "readout_learning_rate": given.readout_learning_rate or given.learning_rate,
                "readout_weight_decay": given.weight_decay
                if given.readout_weight_decay is None
                else given.readout_weight_decay,
            }
        )
        if whole.readout == "after" and whole.readout_epochs is None:
            whole.readout_epochs = max(1, min(5, training.epochs - 1))
        refuse_untrainable(whole, network, training.epochs)
        return whole

    @staticmethod
    def properties(hyperparameters: HSICBottleneckHyperparameters, network: Any) -> Properties:
        sequential = hyperparameters.layer_order == "sequential"
        transport = Property("no", "No error travels down; a layer needs no weights but its own.")
        symmetric = Property("no", "There is no feedback.")
        if network.kind == "residual_mlp" or (network.kind == "resnet" and network.block == "basic"):
            inside = "Inside a block only, whose first weights are trained through its second; nothing leaves it."
            transport = symmetric = Property("partly", inside)
        return Properties(
            weight_transport=transport,
            global_error_signal=Property("no", "Labels reach every layer, as a kernel over the batch; no error does."),
            forward_locking=Property(
                "yes", "A layer needs the activation of those below" + (", as just updated." if sequential else ".")
            ),
            backward_locking=Property("no", "There is no backward pass across layers."),
            update_locking=Property("no", "A layer updates as soon as it has run; nothing above has to."),
            needs_derivative=Property("partly", "Of the layer's own nonlinearity and norm; of no other layer's."),
            symmetric_feedback=symmetric,
            layer_parallel=Property(
                "yes", "Each layer's objective needs its input, the inputs' kernel and the labels' kernel alone."
            ),
            extra_state="batch-norm statistics; weights of further branches; the pairing of units with classes",
            trains=frozenset(TRAINS),
        )

    # -- setting up ---------------------------------------------------------------------------------------------------

    def setup(
        self,
        network: Network,
        objective: Objective,
        hyperparameters: HSICBottleneckHyperparameters,
        streams: StreamBook,
    ) -> None:
        self.network, self.objective, self.hyperparameters, self.streams = network, objective, hyperparameters, streams
        weight = next(network.parameters())
        self.device = weight.device
        self.matches = hyperparameters.readout == "match"
        self._refuse_task()
        self.branches = self._make_branches(weight)
        self.aggregator: Aggregator | None = None
        if len(self.branches) > 1:
            self.aggregator = Aggregator(network.layers[-2].out_shape[0]).to(weight)
            if len(network.layers[-2].out_shape) > 1:
                raise SpecError("#/hyperparameters/branch_sigmas", "Branches must end in a dense hidden layer.")
        self.optimizers = {
            branch.key(layer): Optimizer(dict(layer.named_parameters()), hyperparameters)
            for branch in self.branches
            for layer in branch.layers
        }
        self.readout_optimizer: Optimizer | None = None
        if not self.matches:
            self.readout_optimizer = Optimizer(
                dict(network.layers[-1].named_parameters()),
                hyperparameters.model_copy(
                    update={
                        "optimizer": hyperparameters.readout_optimizer,
                        "learning_rate": hyperparameters.readout_learning_rate,
                        "weight_decay": hyperparameters.readout_weight_decay,
                    }
                ),
            )
        self.matching = (
            Matching(objective.outputs, self.device, hyperparameters.silence_level) if self.matches else None
        )
        self.readout_begun = hyperparameters.readout == "together"
        self.history = History(list(self.optimizers), self.device)
        self.workspace = Workspace()
        self._largest_batch = 0
        self.network.train()

    def _refuse_task(self) -> None:
        if self.matches and self.objective.kind != "cross_entropy":
            raise SpecError(
                "#/hyperparameters/readout",
                "readout match pairs units with classes, and this data set has none. Choose together or after.",
                got="match",
                allowed=["together", "after"],
            )
        if self.hyperparameters.groups is not None:
            for layer in hidden_layers(self.network) if not self.matches else self.network.layers:
                check_group_width(torch.Size(layer.out_shape).numel(), self.hyperparameters.groups)

    def _make_branches(self, weight: Tensor) -> list[Branch]:
        chosen = self.hyperparameters
        own = list(self.network.layers) if self.matches else hidden_layers(self.network)
        branches = []
        for number, sigma in enumerate(chosen.branch_sigmas or [chosen.sigma], start=1):
            layers = own
            if number > 1:
                layers = twin_layers(own, number, chosen.branch_initialization or "kaiming", self.streams)
            settings = Settings(
                criterion=chosen.criterion,
                kernel=chosen.kernel or "gaussian",
                sigma=sigma,
                label_weight=chosen.label_weight or 50.0,
                epsilon=chosen.epsilon,
                input_term=chosen.input_term,
                groups=chosen.groups,
                grouping_power=chosen.grouping_power,
                grouping_smoothing=chosen.grouping_smoothing,
            )
            branch = Branch(
                "" if number == 1 else f"branch{number}.",
                layers,
                settings,
                input_sigma=chosen.sigma_input or sigma,
                label_sigma=chosen.sigma_label or sigma,
                label_kernel=(chosen.label_kernel or "gaussian")
                if self.objective.kind == "cross_entropy"
                else "linear",
            )
            if chosen.kernel_approximation == "random_features":
                shapes = {layer.name: torch.Size(layer.out_shape).numel() for layer in own}
                shapes |= {"input": torch.Size(self.network.in_shape).numel()}
                branch.draw_features(shapes, chosen.random_features, self.streams, weight)
            branches.append(branch)
        return branches

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        if self.matches:
            return ("hsic", "match")
        if self.hyperparameters.readout == "together":
            return ("train",)
        return ("hsic",) if epoch < epochs - (self.hyperparameters.readout_epochs or 1) else ("readout",)

    # -- one step -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        self.history.begin_step(moment.step)
        if moment.phase == "match":
            return self._match(batch, moment)
        if moment.phase == "readout":
            self.readout_begun = True
            with self._evaluating():
                features = self._features(batch.inputs)
            return self._train_readout(features, batch, moment)
        report, features = self._train_layers(batch, moment)
        if moment.phase == "hsic":
            return report
        return self._joined(report, self._train_readout(features, batch, moment))

    def _train_layers(self, batch: Batch, moment: Moment) -> tuple[StepReport, Tensor]:
        """Every HSIC layer of every branch; returns the last layers' activations for the read-out as well."""
        m = len(batch.inputs)
        if m < 2:  # one sample depends on nothing: no layer moves
            with self._evaluating():
                return StepReport({"loss": (batch.inputs.new_zeros(()), m)}), self._features(batch.inputs)
        self._check_memory(m)
        y = self._labels(batch.targets)
        told: list[_Told] = []
        ends = []
        # What is looked at once all layers have run must not be written over by the next.
        workspace = Workspace(keep=False) if moment.diagnose else self.workspace
        for branch in self.branches:
            with torch.autocast(self.device.type, enabled=False):
                references, flaw = branch.references(batch.inputs, y, workspace)
            end, layers_told = self._train_branch(branch, batch.inputs, references, moment, workspace)
            ends.append(end if self.aggregator is None else end.clone())
            told += layers_told
            layers_told[0].flaw = layers_told[0].flaw + flaw
        pairs = [
            (
                each.input_dependence if each.input_dependence is not None else each.label_dependence * 0,
                each.label_dependence,
            )
            for each in told
        ]
        if self.history.wants_point(moment.step, moment.steps):
            self.history.add(moment.step, moment.steps, pairs)
        total = torch.stack([each.value + each.flaw for each in told]).sum()
        report = StepReport({"loss": (total * m, m)})
        first, second = self._names
        for each, (with_input, with_label) in zip(told, pairs, strict=True):
            if each.input_dependence is not None:
                report.measures[f"{first}.{each.key}"] = (with_input * m, m)
            report.measures[f"{second}.{each.key}"] = (with_label * m, m)
        if moment.diagnose:
            self._diagnose(report, told)
        features = ends[0] if self.aggregator is None else self.aggregator(ends)
        return report, features

    def _train_branch(
        self, branch: Branch, x: Tensor, references: References, moment: Moment, workspace: Workspace
    ) -> tuple[Tensor, list["_Told"]]:
        sequential = self.hyperparameters.layer_order == "sequential"
        h, told = x, []
        for number, layer in enumerate(branch.layers):
            side = number % 2
            ran = run_layer(layer, h, workspace, side)
            objective = self._judge(branch, layer, ran.z, references, workspace)
            each = _Told(branch.key(layer), layer, ran, objective)
            told.append(each)
            if not sequential:
                h = ran.z
                continue
            self._update(each, moment)
            if layer is branch.layers[-1] and moment.phase == "hsic":
                h = ran.z  # nobody reads it
            else:
                moved = None
                if self._descends and ran.descended is not None:
                    gram = references.gram if number == 0 else None
                    moved = ran.descended(self._rate(moment), self.hyperparameters.weight_decay, gram)
                h = run_again(layer, h, workspace, side) if moved is None else moved
            if not moment.diagnose:
                each.let_go()
        if not sequential:
            for each in told:
                self._update(each, moment)
        return h, told

    def _judge(
        self, branch: Branch, layer: Layer, z: Tensor, references: References, workspace: Workspace
    ) -> LayerObjective:
        with torch.autocast(self.device.type, enabled=False):
            z = z.to(references.label.dtype)
            if branch.features:
                return layer_objective_by_features(z, branch.features[layer.name], references, branch.settings)
            return layer_objective(z, references, branch.settings, workspace)

    @property
    def _descends(self) -> bool:
        """Plain gradient descent."""
        chosen = self.hyperparameters
        return chosen.optimizer == "sgd" and chosen.clip_norm is None and chosen.clip_value is None

    def _rate(self, moment: Moment) -> float:
        return scheduled_rate(self.hyperparameters, moment.progress)

    def _update(self, each: "_Told", moment: Moment) -> None:
        if self._descends:
            descend(each.layer, each.back.gradients, self._rate(moment), self.hyperparameters.weight_decay)
        else:
            self.optimizers[each.key].step_with(each.back.gradients, moment.progress)

    def _labels(self, targets: Tensor) -> Tensor:
        """One-hot classes, or a regression's values, (batch, outputs), in the weights' precision."""
        dtype = next(self.network.parameters()).dtype
        if self.objective.kind == "cross_entropy":
            return self.objective.one_hot(targets, dtype)
        return targets.flatten(1).to(dtype)

    # -- reading classes off ------------------------------------------------------------------------------------------

    def _train_readout(self, features: Tensor, batch: Batch, moment: Moment) -> StepReport:
        """One step of the output layer on the loss; its input is a constant."""
        if self.readout_optimizer is None:
            raise AssertionError("a matched read-out is not trained")
        layer = self.network.layers[-1]
        ran = run_layer(layer, features)
        error = self.objective.error(ran.z, batch.targets) / len(batch.inputs)
        back = ran.back(error)
        report = StepReport(self.objective.measure(ran.z, batch.targets))
        loss, count = report.measures["loss"]
        report.measures["loss"] = (loss + ran.unbounded, count)
        if "accuracy" in report.measures:
            self.history.add_correct(*report.measures["accuracy"], moment.step, moment.steps)
        if moment.diagnose:
            report.signals = {layer.name: back.signal}
            report.directions = {f"{layer.name}.{name}": -each for name, each in back.gradients.items()}
        self.readout_optimizer.step_with(back.gradients, moment.progress)
        return report

    def _joined(self, hsic: StepReport, readout: StepReport) -> StepReport:
        """One report of a batch that trained both: `loss` is the read-out's, `objective` the layers'."""
        objective, count = hsic.measures.pop("loss")
        loss, samples = readout.measures["loss"]
        measures = readout.measures | {"loss": (loss + objective * 0, samples), "objective": (objective, count)}
        return StepReport(
            measures | hsic.measures,
            signals=_merged(hsic.signals, readout.signals),
            directions=_merged(hsic.directions, readout.directions),
            details=hsic.details,
        )

    def _match(self, batch: Batch, moment: Moment) -> StepReport:
        """No weight moves: this pass counts which units stand for which classes, and settles batch norm's statistics.

        While layers trained, running statistics lagged behind the weights, the more so the deeper the layer and the
        greater β: on CIFAR-10 they cost a third of the accuracy.
        """
        if self.matching is None:
            raise AssertionError("only a matched read-out has this pass")
        if moment.step == 0:
            self.matching.open()
        with self.network.evaluating(), settling([self.network], moment.step):
            self.matching.add(batch.targets, self.network(batch.inputs))
        if moment.step + 1 == moment.steps:
            self.history.add_accuracy(torch.tensor(self.matching.close(), device=self.device))
        return StepReport({})

    def predict(self, inputs: Tensor) -> Tensor | None:
        if self.matching is not None:
            if self.matching.unit_of_class is None:
                return None
            with self.network.evaluating():
                return self.matching.read(self.network(inputs))
        if not self.readout_begun:
            return None
        with self._evaluating():
            return self.network.layers[-1](self._features(inputs))

    def _features(self, inputs: Tensor) -> Tensor:
        """What the output layer reads."""
        ends = [run_layers(branch.layers, inputs) for branch in self.branches]
        return ends[0] if self.aggregator is None else self.aggregator(ends)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Running statistics and no dropout, in all branches."""
        modules: list[nn.Module] = [layer for branch in self.branches[1:] for layer in branch.layers]
        modules += [] if self.aggregator is None else [self.aggregator]
        with self.network.evaluating():
            for module in modules:
                module.train(False)
            try:
                yield
            finally:
                for module in modules:
                    module.train(True)

    # -- looking ------------------------------------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[str, str]:
        """Of the two dependences."""
        return (
            ("phsic_itself", "phsic_label")
            if self.hyperparameters.criterion == "phsic"
            else ("nhsic_input", "nhsic_label")
        )

    def _diagnose(self, report: StepReport, told: list["_Told"]) -> None:
        own = [each for each in told if each.key == each.layer.name]  # the network's own layers
        report.signals = {each.key: each.back.signal for each in own}
        report.directions = {
            f"{each.key}.{name}": -gradient for each in own for name, gradient in each.back.gradients.items()
        }
        first, second = self._names
        report.details = {second: {each.key: each.label_dependence for each in own}}
        if own[0].input_dependence is not None:
            given = {each.key: each.input_dependence for each in own}
            report.details |= {first: {key: value for key, value in given.items() if value is not None}}
        branch = self.branches[0]
        if branch.features:
            report.details |= {
                "kernel_error": {
                    each.key: branch.features[each.key].error(each.ran.z, branch.settings.sigma) for each in own
                }
            }

    def _check_memory(self, m: int) -> None:
        if m > self._largest_batch:
            self._largest_batch = m
            check_memory(self.step_bytes(m), m, self.device)

    def step_bytes(self, batch: int) -> int:
        """Upper estimate of the bytes of a step beyond weights, for a batch of so many samples."""
        chosen = self.hyperparameters
        return step_bytes(
            batch,
            [torch.Size(layer.out_shape).numel() for layer in self.branches[0].layers],
            torch.Size(self.network.in_shape).numel(),
            sum(weight.numel() for layer in self.branches[0].layers for weight in layer.parameters()),
            features=chosen.random_features if chosen.kernel_approximation == "random_features" else None,
            bytes_each=next(self.network.parameters()).element_size(),
        )

    @torch.no_grad()
    def artefacts(self, batch: Batch, folder: Path) -> list[Artefact]:
        """Dependences per layer over training, accuracy by pass, and the last HSIC layer's activations by class."""
        drawn = [self.history.draw_dependences(folder), self.history.draw_accuracy(folder)]
        if self.objective.kind == "cross_entropy" and self.objective.outputs <= 100:
            with self._evaluating():
                units = run_layers(self.branches[0].layers, batch.inputs).flatten(1)
            order = None if self.matching is None else self.matching.order()
            if order is not None:
                units = units[:, order]
            drawn.append(draw_activations(units, batch.targets, self.objective.outputs, folder))
        return [each for each in drawn if each is not None]

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": dict(self.network.state_dict()),
            "branches": branch_state(self.branches, self.aggregator),
            "optimizers": {key: optimizer.state_dict() for key, optimizer in self.optimizers.items()},
            "readout_optimizer": {} if self.readout_optimizer is None else self.readout_optimizer.state_dict(),
            "readout_begun": self.readout_begun,
            "matching": {} if self.matching is None else self.matching.state_dict(),
            "history": self.history.state_dict(),
            "streams": self.streams.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        load_branch_state(self.branches, self.aggregator, state["branches"])
        for key, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][key])
        if self.readout_optimizer is not None:
            self.readout_optimizer.load_state_dict(state["readout_optimizer"])
        self.readout_begun = state["readout_begun"]
        if self.matching is not None:
            self.matching.load_state_dict(state["matching"])
        self.history.load_state_dict(state["history"])
        self.streams.load_state_dict(state["streams"])


class _Told:
    """One layer's part of a step. `back` may write over the objective's gradient."""

    def __init__(self, key: str, layer: Layer, ran: Ran, objective: LayerObjective) -> None:
        self.key, self.layer, self.ran = key, layer, ran
        self.value, self.flaw = objective.value, ran.unbounded
        self.input_dependence, self.label_dependence = objective.input_dependence, objective.label_dependence
        self.back: Backward = ran.back(objective.gradient)

    def let_go(self) -> None:
        """Of all but numbers: the layers to come take the memory, and find it in the cache."""
        del self.ran, self.back


def _merged(one: Any, other: Any) -> Any:
    return None if one is None and other is None else {**(one or {}), **(other or {})}

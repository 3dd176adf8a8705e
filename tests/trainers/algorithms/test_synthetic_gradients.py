"""Decoupled neural interfaces in feed-forward networks: against their equations, and against backprop."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers import fit
from trainers.algorithms.backprop import Backprop, BackpropHyperparameters
from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.algorithms.synthetic_gradients import SyntheticGradients
from trainers.algorithms.synthetic_gradients_hyperparameters import SyntheticGradientsHyperparameters
from trainers.algorithms.synthetic_gradients_models import LayeredSynthesizer, LinearSynthesizer
from trainers.datasets.declaration import Task
from trainers.diagnostics.looking import undisturbed
from trainers.errors import SpecError
from trainers.events import Artefact, Event
from trainers.loop import StopRequest
from trainers.networks.base import Network
from trainers.networks.convnet import ConvNet, ConvNetOptions
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook

SAMPLES, CLASSES = 7, 3
IMAGES = Task("classification", (2, 6, 6), CLASSES)
VECTORS = Task("classification", (5,), CLASSES)
NETWORKS: dict[str, tuple[dict[str, Any], Task]] = {
    "mlp": ({"hidden": [6, 5, 4]}, VECTORS),
    "mlp of images": ({"hidden": [6, 5], "activation": ["gelu", "sigmoid"]}, IMAGES),
    "mlp with batch norm": ({"hidden": [6, 5], "activation": "tanh", "batch_norm": True}, VECTORS),
    "mlp without biases": ({"hidden": [6, 5], "hidden_bias": False, "output_activation": "tanh"}, VECTORS),
    "convnet": (
        {
            "kind": "convnet",
            "convolutions": [{"filters": 3}, {"filters": 4, "pool": "max"}],
            "hidden": [5],
            "activation": "tanh",
        },
        IMAGES,
    ),
    "convnet with batch norm": (
        {"kind": "convnet", "convolutions": [{"filters": 3, "pool": "average"}], "batch_norm": True},
        IMAGES,
    ),
}
EVERY_NETWORK = pytest.mark.parametrize("network", NETWORKS)


def network_of(name: str, seed: int = 1) -> Network:
    options, task = NETWORKS[name]
    if options.get("kind") == "convnet":
        return ConvNet.build(ConvNetOptions.model_validate(options), task, StreamBook(seed)).double()
    return MLP.build(MLPOptions.model_validate(options), task, StreamBook(seed)).double()


def learner(network: Network, objective: Objective | None = None, **hyperparameters: Any) -> SyntheticGradients:
    """Set up as a run would: every layer an interface unless said otherwise."""
    given = {"optimizer": "sgd", "learning_rate": 0.1, "synthesizer_learning_rate": 0.1, "applied_scale": 1.0}
    given |= {"interfaces": list(range(1, len(network.layers))), "conditioned": True} | hyperparameters
    algorithm = SyntheticGradients()
    algorithm.setup(
        network,
        objective or Objective("cross_entropy", CLASSES),
        SyntheticGradientsHyperparameters.model_validate(given),
        StreamBook(1),
    )
    return algorithm


def batch_of(network: Network, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, *network.in_shape, generator=generator, dtype=torch.float64)
    return Batch(inputs, torch.randint(CLASSES, (SAMPLES,), generator=generator))


def moment(step: int = 0, *, diagnose: bool = False) -> Moment:
    return Moment(0, "train", step, 10, 0.0, diagnose)


def weights_of(algorithm: SyntheticGradients) -> dict[str, Tensor]:
    """Of the network and of all synthesizers."""
    state = algorithm.state_dict()
    named = {f"network.{name}": value for name, value in state["network"].items()}
    for model, values in state["synthesizers"].items():
        named |= {f"{model}.{name}": value for name, value in values.items()}
    return {name: value.clone() for name, value in named.items()}


class Oracle:
    """Stands for a synthesizer and knows the true gradient of each sample's own loss."""

    def __init__(self, algorithm: SyntheticGradients, above: int, batch: Batch) -> None:
        self.algorithm, self.above, self.batch = algorithm, above, batch

    def predict(self, message: Tensor, condition: Tensor | None) -> Tensor:
        network = self.algorithm.network
        with undisturbed(network), torch.enable_grad():
            start = h = message.detach().requires_grad_(True)
            for layer in network.layers[self.above :]:
                h = layer(h)
            loss = self.algorithm.objective.loss(h, self.batch.targets)
            self.prediction = torch.autograd.grad(loss, start)[0] * len(message)
        return self.prediction

    def gradients(self, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        # Bootstrapped from the true gradient above, the target is the true gradient below.
        torch.testing.assert_close(target, self.prediction, rtol=1e-12, atol=1e-12)
        return target.sum() * 0, {}


@EVERY_NETWORK
@pytest.mark.parametrize("every_layer", [True, False], ids=["every layer", "one interface"])
def test_with_the_true_gradient_it_is_backprop(network: str, every_layer: bool) -> None:
    ours = network_of(network)
    interfaces = list(range(1, len(ours.layers))) if every_layer else [1]
    algorithm, batch = learner(ours, interfaces=interfaces), batch_of(ours)
    for i, above in enumerate(interfaces):
        algorithm.synthesizers[i] = Oracle(algorithm, above, batch)  # type: ignore[assignment]
    backprop = Backprop()
    backprop.setup(
        network_of(network),
        algorithm.objective,
        BackpropHyperparameters(optimizer="sgd", learning_rate=0.1),
        StreamBook(1),
    )

    report, expected = algorithm.step(batch, moment(diagnose=True)), backprop.step(batch, moment(diagnose=True))

    assert_reports_agree(report, expected)
    for name, weight in backprop.network.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], weight, rtol=1e-12, atol=1e-13)


def assert_reports_agree(report: StepReport, expected: StepReport) -> None:
    assert report.directions is not None
    assert expected.directions is not None
    assert report.directions.keys() == expected.directions.keys()
    for name, direction in expected.directions.items():
        torch.testing.assert_close(report.directions[name], direction, rtol=1e-12, atol=1e-14)
    assert report.signals is not None
    assert expected.signals is not None
    for name, signal in expected.signals.items():
        torch.testing.assert_close(report.signals[name], signal, rtol=1e-12, atol=1e-14)


@EVERY_NETWORK
@pytest.mark.parametrize("synthesizer_layers", [0, 1, 2])
def test_the_first_step_leaves_all_but_the_output_layer_alone(network: str, synthesizer_layers: int) -> None:
    ours = network_of(network)
    algorithm = learner(
        ours, optimizer="adam", synthesizer_layers=synthesizer_layers, synthesizer_width=8, synthesizer_filters=4
    )
    before = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    algorithm.step(batch_of(ours), moment())
    top = ours.layers[-1].name
    for name, weight in ours.named_parameters():
        assert torch.equal(weight, before[name]) == (not name.startswith(f"{top}.")), name


@pytest.mark.parametrize("conditioned", [True, False], ids=["cDNI", "DNI"])
def test_a_linear_synthesizer_finds_the_gradient_of_a_quadratic_loss(conditioned: bool) -> None:
    task = Task("regression", (4,), 2)
    options = MLPOptions(hidden=[6], activation="identity", initialization="orthogonal")
    network = MLP.build(options, task, StreamBook(2)).double()
    algorithm = learner(
        network,
        Objective("squared_error", 2),
        conditioned=conditioned,
        optimizer="adam",
        learning_rate=1e-12,  # the network stands still
        synthesizer_learning_rate=0.02,
    )
    generator = torch.Generator().manual_seed(3)
    teacher = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    cosines = []
    for step in range(500):
        x = torch.randn(32, 4, generator=generator, dtype=torch.float64)
        report = algorithm.step(Batch(x, x @ teacher), moment(step, diagnose=step in (1, 499)))
        if report.details is not None:
            cosines.append(float(report.details["synthesizer_cosine"]["layer1"]))
    assert cosines[-1] > 0.9999
    assert cosines[0] < 0.95


# -- against the equations --------------------------------------------------------------------------------------------


class Reference:
    """Eqs. 1-5 as they stand: one small graph and one update a module, in the paper's order."""

    def __init__(self, algorithm: SyntheticGradients, rate: float) -> None:
        self.layers = [layer.twin() for layer in algorithm.network.layers]
        self.rate, self.hyperparameters = rate, algorithm.hyperparameters
        self.models = [self._zeros(layer.out_shape, CLASSES) for layer in self.layers[:-1]]
        self.inputs = [self._zeros(layer.out_shape, 0, VECTORS.input_shape[0]) for layer in self.layers[:-1]]

    @staticmethod
    def _zeros(shape: tuple[int, ...], condition: int, inputs: int | None = None) -> list[Tensor]:
        width = shape[0]
        inputs = width if inputs is None else inputs
        weight = torch.zeros(width, inputs + condition, dtype=torch.float64, requires_grad=True)
        return [weight, torch.zeros(width, dtype=torch.float64, requires_grad=True)]

    def step(self, batch: Batch) -> None:
        m = len(batch.inputs)
        unit = m if self.hyperparameters.gradient_scale == "per_sample" else 1
        c = F.one_hot(batch.targets, CLASSES).double()
        arrived, previous = batch.inputs, torch.empty(0)
        for i, layer in enumerate(self.layers):
            full = self.hyperparameters.unlock == "full" and i > 0
            synthetic = F.linear(batch.inputs, *self.inputs[i - 1]) if full else arrived
            below = synthetic.detach().requires_grad_(True)
            h = layer(below)
            model = torch.empty(0)
            if i == len(self.layers) - 1:
                F.cross_entropy(h, batch.targets).backward()
            else:
                model = F.linear(torch.cat([h.detach(), c], dim=1), *self.models[i])
                h.backward(model.detach() / unit)
            sent = torch.zeros_like(below) if below.grad is None else below.grad
            self._move(list(layer.parameters()))
            if i:
                self._regress(previous, sent * unit, self.models[i - 1])
            if full:
                self._regress(synthetic, arrived, self.inputs[i - 1])
            arrived, previous = h.detach(), model

    def _regress(self, prediction: Tensor, target: Tensor, model: list[Tensor]) -> None:
        difference = prediction - target
        each = difference.abs() if self.hyperparameters.synthesizer_loss == "l1" else difference.square()
        (each.sum() / len(target)).backward()
        self._move(model)

    def _move(self, weights: list[Any]) -> None:
        with torch.no_grad():
            for weight in weights:
                weight -= self.rate * weight.grad
                weight.grad = None


@pytest.mark.parametrize("unlock", ["update", "full"])
@pytest.mark.parametrize("synthesizer_loss", ["l2", "l1"])
@pytest.mark.parametrize("gradient_scale", ["per_sample", "batch_mean"])
def test_steps_are_those_of_the_equations(unlock: str, synthesizer_loss: str, gradient_scale: str) -> None:
    network = network_of("mlp")
    algorithm = learner(
        network,
        learning_rate=0.05,
        synthesizer_learning_rate=0.05,
        unlock=unlock,
        synthesizer_loss=synthesizer_loss,
        gradient_scale=gradient_scale,
    )
    reference = Reference(algorithm, 0.05)
    for step in range(4):
        batch = batch_of(network, seed=step)
        algorithm.step(batch, moment(step))
        reference.step(batch)
    for layer, expected in zip(network.layers, reference.layers, strict=True):
        for name, weight in expected.named_parameters():
            torch.testing.assert_close(layer.get_parameter(name), weight, rtol=1e-9, atol=1e-12)
    for i, (expected_weight, bias) in enumerate(reference.models):
        model = algorithm.synthesizers[i]
        assert isinstance(model, LinearSynthesizer)
        joined = torch.cat([model.weight, model.get_parameter("condition_weight").t()], dim=1)
        torch.testing.assert_close(joined, expected_weight, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(model.bias, bias, rtol=1e-9, atol=1e-12)
        assert expected_weight.abs().max() > 0


def test_a_synthesizer_of_maps_is_convolutions_and_sees_the_label_as_planes() -> None:
    algorithm = learner(network_of("convnet"), synthesizer_layers=2, synthesizer_filters=4, synthesizer_width=9)
    maps, vectors = algorithm.synthesizers[0], algorithm.synthesizers[2]
    assert isinstance(maps, LayeredSynthesizer)
    assert isinstance(vectors, LayeredSynthesizer)
    shapes = [(4, 3 + CLASSES, 5, 5), (4, 4, 5, 5), (3, 4, 5, 5)]
    assert [tuple(weight.shape) for weight in maps.weights] == shapes
    assert [tuple(weight.shape) for weight in vectors.weights] == [(9, 5 + CLASSES), (9, 9), (5, 9)]


# -- locality ---------------------------------------------------------------------------------------------------------


def test_an_update_reads_nothing_from_above() -> None:
    """Weights two modules up, and the labels' loss there, can be anything: nothing below moves otherwise."""
    moved = []
    for scrambled in (False, True):
        network = network_of("mlp")
        algorithm = learner(network)
        for step in range(3):
            algorithm.step(batch_of(network, step), moment(step))
        if scrambled:
            with torch.no_grad():
                for layer in network.layers[2:]:
                    layer.get_parameter("weight").normal_(generator=torch.Generator().manual_seed(5))
        algorithm.step(batch_of(network, 3), moment(3))
        moved.append(weights_of(algorithm))
    for name, value in moved[0].items():
        # layer2's synthesizer looks one module up, at layer3; all below it does not.
        own = name.startswith(("network.layer1.", "network.layer2.", "layer1."))
        assert torch.equal(value, moved[1][name]) == own, name


def test_with_full_unlock_a_module_needs_nothing_from_below_either() -> None:
    moved = []
    for scrambled in (False, True):
        network = network_of("mlp")
        algorithm = learner(network, unlock="full")
        for step in range(3):
            algorithm.step(batch_of(network, step), moment(step))
        if scrambled:
            with torch.no_grad():
                network.layers[0].get_parameter("weight").normal_(generator=torch.Generator().manual_seed(5))
        algorithm.step(batch_of(network, 3), moment(3))
        moved.append(weights_of(algorithm))
    for name in ("network.layer2.weight", "network.layer3.weight", "network.layer4.weight", "layer2.weight"):
        assert torch.equal(moved[0][name], moved[1][name]), name
    assert not torch.equal(moved[0]["input-layer1.weight"], moved[1]["input-layer1.weight"])


# -- variants ---------------------------------------------------------------------------------------------------------


def test_a_module_that_is_not_drawn_stands_still() -> None:
    network = network_of("mlp")
    algorithm = learner(network, update_probability=0.5)
    rows = []
    for step in range(40):
        before = weights_of(algorithm)
        algorithm.step(batch_of(network, step), moment(step))
        after = weights_of(algorithm)
        drawn = algorithm.updating(moment(step))
        rows.append(drawn)
        for i, layer in enumerate(network.layers):
            name = f"network.{layer.name}.weight"
            if not drawn[i]:
                assert torch.equal(before[name], after[name])
            elif step > 20:  # all synthesizers have left 0
                assert not torch.equal(before[name], after[name])
    share = torch.tensor(rows, dtype=torch.float64).mean(0)
    assert ((share > 0.25) & (share < 0.75)).all()


def test_norms_are_clipped_module_by_module() -> None:
    network = network_of("mlp")
    algorithm = learner(network, clip_norm=1e-3)
    for step in range(5):
        report = algorithm.step(batch_of(network, step), moment(step, diagnose=True))
    assert report.directions is not None
    for layer in network.layers:
        own = [each for name, each in report.directions.items() if name.startswith(f"{layer.name}.")]
        norm = float(torch.stack([each.norm() for each in own]).norm())
        assert norm == pytest.approx(1e-3, rel=1e-2)


VARIANTS: dict[str, dict[str, Any]] = {
    "deep synthesizers": {"synthesizer_layers": 2, "synthesizer_width": 16, "conditioned": False},
    "full unlock": {"unlock": "full", "synthesizer_layers": 1, "synthesizer_width": 16},
    "random updates": {"update_probability": 0.4, "clip_norm": 1.0, "synthesizer_loss": "l1"},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("network", ["mlp", "convnet"])
def test_a_stopped_run_goes_on_bit_for_bit(variant: str, network: str, tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "algorithm": "synthetic_gradients",
        "hyperparameters": VARIANTS[variant] | {"synthesizer_filters": 4},
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [16, 12], "batch_norm": True},
        "training": {"epochs": 2, "batch_size": 300, "seed": 3, "threads": 1, "diagnose_every_steps": 2},
    }
    if network == "convnet":
        spec["network"] = {"kind": "convnet", "convolutions": [{"filters": 3}], "hidden": [8]}
    whole = fit(spec, output=tmp_path / "whole")
    part = fit(spec, output=tmp_path / "part", stop=StopRequest(after_steps=4))
    rest = fit(spec, output=tmp_path / "rest", resume=part.checkpoint)
    assert whole.result is not None
    assert rest.result is not None
    assert rest.result["weights_sha256"] == whole.result["weights_sha256"]
    ours, theirs = rest.parts.algorithm, whole.parts.algorithm
    assert isinstance(ours, SyntheticGradients)
    assert isinstance(theirs, SyntheticGradients)
    expected = weights_of(theirs)
    for name, value in weights_of(ours).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    "hyperparameters", [{}, {"unlock": "full", "synthesizer_layers": 1}], ids=["cDNI", "full unlock"]
)
@pytest.mark.parametrize("network", [{"hidden": [16, 12]}, {"kind": "convnet", "convolutions": [{"filters": 3}]}])
def test_it_trains_in_bfloat16(hyperparameters: dict[str, Any], network: dict[str, Any]) -> None:
    spec = {
        "algorithm": "synthetic_gradients",
        "hyperparameters": hyperparameters | {"synthesizer_width": 16, "synthesizer_filters": 4},
        "dataset": "digits",
        "network": {"kind": "mlp"} | network,
        "training": {"epochs": 1, "batch_size": 200, "seed": 3, "precision": "bfloat16", "threads": 1},
    }
    result = fit(spec).result
    assert result is not None
    assert result["train_loss"] < 4


@pytest.mark.parametrize(
    ("hyperparameters", "network", "pointer"),
    [
        ({"interfaces": [3]}, {}, "#/hyperparameters/interfaces"),
        ({"interfaces": [1, 1]}, {}, "#/hyperparameters/interfaces"),
        ({"auxiliary": True}, {}, "#/hyperparameters/auxiliary"),
        ({}, {"activation": "sign"}, "#/network/activation"),
        ({}, {"transmit": "sign"}, "#/network/transmit"),
        ({}, {"kind": "resnet"}, "#/network/kind"),
        ({"update_probability": 0.0}, {}, "#/hyperparameters/update_probability"),
    ],
)
def test_what_it_cannot_train_is_refused(
    hyperparameters: dict[str, Any], network: dict[str, Any], pointer: str
) -> None:
    spec = {
        "algorithm": "synthetic_gradients",
        "dataset": "cifar10" if network.get("kind") == "resnet" else "digits",
        "hyperparameters": hyperparameters,
        "network": {"kind": "mlp", "hidden": [8, 8]} | network if "kind" not in network else network,
    }
    with pytest.raises(SpecError) as refusal:
        resolve_parts(spec)
    assert refusal.value.errors[0].pointer == pointer


def test_without_an_interface_it_is_backprop(tmp_path: Path) -> None:
    """One module, and no synthesizer to train, save or load."""
    spec: dict[str, Any] = {
        "algorithm": "synthetic_gradients",
        "hyperparameters": {"interfaces": []},
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [8, 8]},
        "training": {"epochs": 1, "batch_size": 300, "seed": 3, "threads": 1, "diagnose_every_steps": None},
    }
    ours = fit(spec, output=tmp_path)
    theirs = fit(spec | {"algorithm": "backprop", "hyperparameters": {}})
    again = fit(spec, resume=ours.checkpoint)
    for outcome in (ours, again):
        for name, weight in theirs.parts.network.state_dict().items():
            torch.testing.assert_close(outcome.parts.network.state_dict()[name], weight, rtol=1e-4, atol=1e-5)


def test_defaults_are_filled_in_and_returned() -> None:
    spec = {"algorithm": "synthetic_gradients", "dataset": "digits", "network": {"kind": "mlp", "hidden": [8, 8]}}
    filled = resolve_parts(spec).spec.hyperparameters
    assert filled["interfaces"] == [1, 2]
    assert filled["conditioned"] is True
    assert filled["applied_scale"] == 1.0
    assert filled["synthesizer_learning_rate"] == filled["learning_rate"]


@pytest.mark.parametrize("every", [5, None])
def test_a_run_leaves_a_picture_of_its_synthesizers(every: int | None, tmp_path: Path) -> None:
    events: list[Event] = []
    fit(
        {
            "algorithm": "synthetic_gradients",
            "dataset": "digits",
            "network": {"kind": "mlp", "hidden": [16, 16]},
            "training": {"epochs": 1, "threads": 1, "diagnose_every_steps": every},
        },
        on_event=events.append,
        output=tmp_path,
    )
    pictures = [event for event in events if isinstance(event, Artefact)]
    assert [picture.name for picture in pictures] == ([] if every is None else ["synthesizers.svg"])
    for picture in pictures:
        text = Path(picture.path).read_text()
        assert ElementTree.parse(picture.path).getroot().tag.endswith("svg")
        assert all(f"<!-- {layer} -->" in text for layer in ("layer1", "layer2"))

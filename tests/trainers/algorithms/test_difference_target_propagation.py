"""Difference target propagation against its equations (arXiv 1412.7525), its invariants, and its failure without the
correction."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from trainers import fit
from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.algorithms.difference_target_propagation import DifferenceTargetPropagation
from trainers.algorithms.target_propagation_inverses import propagate_targets
from trainers.assembly import assemble
from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.events import Artefact, Event, Finding
from trainers.graves_rmsprop import GravesRMSprop
from trainers.loop import StopRequest
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook, generator_for

SEED = 5
INPUTS, CLASSES, SAMPLES = 6, 3, 4
LEARNING_RATE, FEEDBACK_RATE = 0.1, 0.05
FUNCTIONS = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": torch.nn.functional.elu,
    "identity": lambda a: a,
}


def made(
    hidden: list[int],
    *,
    objective: Objective | None = None,
    network: dict[str, Any] | None = None,
    **hyperparameters: Any,
) -> DifferenceTargetPropagation:
    """The algorithm on a tiny float64 network, updating by plain gradient descent."""
    options = MLPOptions(**{"hidden": hidden, "activation": "tanh", "initialization": "xavier"} | (network or {}))
    objective = objective or Objective("cross_entropy", CLASSES)
    kind = "classification" if objective.kind == "cross_entropy" else "regression"
    streams = StreamBook(SEED)
    net = MLP.build(options, Task(kind, (INPUTS,), objective.outputs), streams).double()
    chosen = {"optimizer": "sgd", "learning_rate": LEARNING_RATE, "feedback_learning_rate": FEEDBACK_RATE}
    whole = DifferenceTargetPropagation.Hyperparameters(**chosen | hyperparameters)
    learner = DifferenceTargetPropagation()
    learner.setup(net, objective, DifferenceTargetPropagation.complete(whole, options, None), streams)
    return learner


def batch_of(targets: Tensor | None = None, samples: int = SAMPLES, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(samples, INPUTS, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    return Batch(inputs, labels if targets is None else targets)


def moment(phase: str, **changes: Any) -> Moment:
    return Moment(**{"epoch": 0, "phase": phase, "step": 0, "steps": 10, "progress": 0.0, "diagnose": True} | changes)


def weights_of(learner: DifferenceTargetPropagation) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in learner.network.named_parameters()}


def inverse_of(learner: DifferenceTargetPropagation, l: int, h: Tensor) -> Tensor:
    """g_l, written out."""
    g = learner.inverses[l]
    return FUNCTIONS[g.activation.name](h @ g.weight.detach().T + g.bias.detach())


def layers_of(learner: DifferenceTargetPropagation) -> list[tuple[Tensor, Tensor, Any]]:
    """(W, b, s) of each layer, bottom to top."""
    return [
        (layer.weight.detach().clone(), layer.bias.detach().clone(), FUNCTIONS[layer.activation.name])
        for layer in learner.layers.values()
    ]


def local_step(weight: Tensor, bias: Tensor, loss_of: Any) -> tuple[Tensor, Tensor]:
    """Gradient descent on a loss of one layer's weight and bias."""
    w, b = weight.clone().requires_grad_(True), bias.clone().requires_grad_(True)
    w_gradient, b_gradient = torch.autograd.grad(loss_of(w, b), (w, b))
    return weight - LEARNING_RATE * w_gradient, bias - LEARNING_RATE * b_gradient


def reference_weights(
    learner: DifferenceTargetPropagation,
    x: Tensor,
    y: Tensor,
    *,
    step: float,
    per_sample: bool,
    start: str,
    plain: bool,
) -> dict[str, Tensor]:
    """One update of all forward weights, sample by sample and equation by equation."""
    layers, m = layers_of(learner), len(x)
    depth = len(layers)
    targets: list[dict[int, Tensor]] = []
    activations: list[list[Tensor]] = []
    for sample in range(m):
        h = [x[sample]]
        for weight, bias, s in layers:
            h.append(s(weight @ h[-1] + bias))
        top = depth if start == "output" else depth - 1
        if top == 0:  # no hidden layer: nothing has a target
            activations.append(h)
            targets.append({})
            continue
        moved = h[top].clone().requires_grad_(True)
        weight, bias, s = layers[-1]
        outputs = moved if start == "output" else s(weight @ moved + bias)
        loss = -torch.log_softmax(outputs, 0)[y[sample]]
        (gradient,) = torch.autograd.grad(loss if per_sample else loss / m, moved)
        target = {top: h[top] - step * gradient}  # eq. 10-11
        for l in range(top, 1, -1):
            pulled = inverse_of(learner, l, target[l])
            target[l - 1] = pulled if plain else h[l - 1] - inverse_of(learner, l, h[l]) + pulled  # eq. 15
        activations.append(h)
        targets.append(target)
    expected = {}
    for l, (weight, bias, s) in enumerate(layers, start=1):

        def loss_of(w: Tensor, b: Tensor, l: int = l, s: Any = s) -> Tensor:
            losses = []
            for sample in range(m):
                f = s(w @ activations[sample][l - 1] + b)
                if l in targets[sample]:
                    losses.append((f - targets[sample][l]).square().sum())
                else:
                    losses.append(-torch.log_softmax(f, 0)[y[sample]])
            return torch.stack(losses).mean()

        expected[f"layer{l}.weight"], expected[f"layer{l}.bias"] = local_step(weight, bias, loss_of)
    return expected


HIDDEN = st.lists(st.integers(1, 5), min_size=0, max_size=4)


@settings(max_examples=25, deadline=None)
@given(
    hidden=HIDDEN,
    activation=st.sampled_from(["tanh", "sigmoid", "elu", "identity"]),
    per_sample=st.booleans(),
    start=st.sampled_from(["hidden", "output"]),
    plain=st.booleans(),
)
def test_weights_move_as_the_equations_say(
    hidden: list[int], activation: str, per_sample: bool, start: str, plain: bool
) -> None:
    learner = made(
        hidden,
        network={"activation": activation},
        target_step=0.7,
        target_step_of="sample" if per_sample else "batch_mean",
        targets_start=start,
        correction="none" if plain else "difference",
    )
    batch = batch_of()
    expected = reference_weights(
        learner, batch.inputs, batch.targets, step=0.7, per_sample=per_sample, start=start, plain=plain
    )
    learner.step(batch, moment("weights"))
    for name, weight in weights_of(learner).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(hidden=st.lists(st.integers(1, 5), min_size=2, max_size=4), local=st.booleans(), epoch=st.integers(0, 5))
def test_inverses_move_as_the_equations_say(hidden: list[int], local: bool, epoch: int) -> None:
    sigma, decay = 0.3, 4.0
    learner = made(
        hidden,
        inverse_loss="local_difference_reconstruction" if local else "autoencoder",
        feedback_noise=sigma,
        feedback_noise_decay_epochs=decay,
    )
    batch = batch_of()
    layers, before = layers_of(learner), weights_of(learner)
    widths = hidden[:-1] + (hidden[1:] if local else [])
    drawn = torch.empty(SAMPLES * sum(widths), dtype=torch.float64)
    drawn.normal_(0, sigma / (1 + epoch / decay), generator=generator_for(SEED, "feedback noise"))
    noise = [each.view(SAMPLES, -1) for each in drawn.split([SAMPLES * width for width in widths])]
    h = [batch.inputs]
    for weight, bias, s in layers:
        h.append(s(h[-1] @ weight.T + bias))
    expected = {}
    for place, l in enumerate(range(2, len(hidden) + 1)):
        weight, bias, s = layers[l - 1]
        epsilon = noise[place]
        f_noisy = s((h[l - 1] + epsilon) @ weight.T + bias)
        v, c = (value.detach().clone().requires_grad_(True) for value in learner.inverses[l].parameters().values())

        def g(above: Tensor, v: Tensor = v, c: Tensor = c) -> Tensor:
            return torch.tanh(above @ v.T + c)

        if local:
            above = noise[len(hidden) - 1 + place]
            followed = (epsilon * (g(f_noisy) - g(h[l]))).sum()
            loss = (-2 * followed + (g(h[l] + above) - g(h[l])).square().sum()) / SAMPLES
        else:
            loss = (g(f_noisy) - (h[l - 1] + epsilon)).square().sum() / SAMPLES  # eq. 13
        gradients = torch.autograd.grad(loss, (v, c))
        expected[l] = [value.detach() - FEEDBACK_RATE * each for value, each in zip((v, c), gradients, strict=True)]
    learner.step(batch, moment("inverses", epoch=epoch))
    for l, (v, c) in expected.items():
        torch.testing.assert_close(learner.inverses[l].weight.detach(), v, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(learner.inverses[l].bias.detach(), c, rtol=1e-9, atol=1e-12)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(learner).items())


def test_graves_rmsprop_follows_its_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 2), (80, 60), (7,)]  # small ones are moved together, a large one alone
    weights = [torch.nn.Parameter(torch.randn(*each, generator=generator, dtype=torch.float64)) for each in shapes]
    optimizer = GravesRMSprop(weights, lr=0.01, momentum=0.9)
    expected = [weight.detach().clone() for weight in weights]
    n, average, change = ([torch.zeros_like(each) for each in expected] for _ in range(3))
    for rate in (0.01, 0.01, 0.003, 0.03, 0.001):
        optimizer.param_groups[0]["lr"] = rate
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
        for i, weight in enumerate(weights):
            gradient = weight.grad
            assert gradient is not None
            n[i] = 0.95 * n[i] + 0.05 * gradient**2
            average[i] = 0.95 * average[i] + 0.05 * gradient
            change[i] = 0.9 * change[i] - rate * gradient / (n[i] - average[i] ** 2 + 1e-3) ** 0.5
            expected[i] = expected[i] + change[i]
            torch.testing.assert_close(weight.detach(), expected[i], rtol=1e-9, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(hidden=HIDDEN, seed=st.integers(0, 1000), samples=st.integers(1, 9))
def test_a_layer_that_is_its_own_target_leaves_every_layer_alone_to_the_last_bit(
    hidden: list[int], seed: int, samples: int
) -> None:
    for dtype in (torch.float32, torch.float64):
        learner = made(hidden, targets_start="output")
        learner.network.to(dtype)
        for weight in learner.feedback_weights.values():
            weight.data = weight.data.to(dtype)
        h = learner.network.activations(batch_of(samples=samples, seed=seed).inputs.to(dtype))
        targets, _ = propagate_targets(learner.inverses, h, h[-1].clone(), "difference")
        assert all(torch.equal(targets[l], h[l]) for l in targets)


def test_without_an_error_nothing_moves_but_plain_target_propagation_does() -> None:
    objective = Objective("squared_error", CLASSES)
    for correction in ("difference", "none"):
        learner = made([5, 4, 3], objective=objective, correction=correction)
        batch = batch_of()
        with torch.no_grad():
            batch = Batch(batch.inputs, learner.network(batch.inputs))
        before = weights_of(learner)
        learner.step(batch, moment("weights"))
        unmoved = {name for name, weight in weights_of(learner).items() if torch.equal(weight, before[name])}
        if correction == "difference":
            assert unmoved == set(before)
        else:
            # The layers whose targets were pulled through an inexact inverse moved; those above had exact targets.
            assert set(before) - unmoved == {"layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias"}


def with_exact_inverses(square: Tensor) -> DifferenceTargetPropagation:
    """Linear layers of one width, all inverses exact."""
    width = len(square)
    learner = made([width] * 3, network={"activation": "identity"}, target_step=1e-4, target_step_of="sample")
    for l in range(2, 4):
        learner.layers[l].weight.data.copy_(square)
        learner.inverses[l].weight.data.copy_(torch.linalg.inv(square))
    return learner


def directions_of(learner: DifferenceTargetPropagation, batch: Batch) -> dict[str, Tensor]:
    report: StepReport = learner.step(batch, moment("weights"))
    return {name: each.clone() for name, each in (report.directions or {}).items()}


def backprop_gradients(learner: DifferenceTargetPropagation, batch: Batch) -> dict[str, Tensor]:
    loss = learner.objective.loss(learner.network(batch.inputs), batch.targets)
    named = dict(learner.network.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


@settings(max_examples=20, deadline=None)
@given(width=st.integers(2, 6), seed=st.integers(0, 1000))
def test_with_exact_inverses_the_correction_vanishes(width: int, seed: int) -> None:
    square = torch.eye(width, dtype=torch.float64) + 0.2 * torch.randn(
        width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    if torch.linalg.cond(square) > 100:
        return
    learner = with_exact_inverses(square)
    h = learner.network.activations(batch_of(seed=seed).inputs)
    top = h[3] + 0.1
    corrected, _ = propagate_targets(learner.inverses, h, top, "difference")
    plain, _ = propagate_targets(learner.inverses, h, top, "none")
    for l in corrected:
        torch.testing.assert_close(corrected[l], plain[l], rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(width=st.integers(2, 6), seed=st.integers(0, 1000))
def test_orthogonal_linear_layers_follow_the_gradient(width: int, seed: int) -> None:
    square = torch.empty(width, width, dtype=torch.float64)
    torch.nn.init.orthogonal_(square, generator=torch.Generator().manual_seed(seed))
    learner, batch = with_exact_inverses(square), batch_of(seed=seed)
    gradients = backprop_gradients(learner, batch)
    for name, direction in directions_of(learner, batch).items():
        if name.endswith("weight"):
            assert cosine(-direction, gradients[name]) == pytest.approx(1, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(width=st.integers(2, 6), seed=st.integers(0, 1000))
def test_exact_inverses_keep_within_90_degrees_of_the_gradient(width: int, seed: int) -> None:
    # Theorem 1: the update's angle is bounded by the conditioning of the layers above.
    skewed = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    square = torch.eye(width, dtype=torch.float64) + 0.25 * skewed / torch.linalg.matrix_norm(skewed, 2)
    learner, batch = with_exact_inverses(square), batch_of(samples=1, seed=seed)
    gradients = backprop_gradients(learner, batch)
    for name, direction in directions_of(learner, batch).items():
        if name.endswith("weight"):
            assert cosine(-direction, gradients[name]) > 0


@settings(max_examples=15, deadline=None)
@given(hidden=st.lists(st.integers(2, 5), min_size=2, max_size=4), data=st.data())
def test_a_layer_sees_of_all_above_it_only_its_target(hidden: list[int], data: st.DataObject) -> None:
    top = data.draw(st.integers(1, len(hidden)), label="layer")
    learner, batch = made(hidden, target_step=2.0), batch_of()
    h = learner.network.activations(batch.inputs)
    error = learner.objective.error(h[-1], batch.targets)
    first = h[-2] - 2.0 / SAMPLES * (error @ learner.layers[learner.depth].weight)
    targets, _ = propagate_targets(learner.inverses, h, first.detach(), "difference")

    # Everything above `top` gives way to a constant: a network that ends there and is asked for exactly that target.
    width = hidden[top - 1]
    alone = made(
        hidden[: top - 1],
        objective=Objective("squared_error", width),
        network={"output_activation": "tanh"},
        targets_start="output",
        target_step=width / 2,
        target_step_of="sample",
    )
    for l in range(1, top + 1):
        alone.layers[l].load_state_dict(learner.layers[l].state_dict())
        if l in alone.inverses:
            alone.inverses[l].weight.data.copy_(learner.inverses[l].weight.data)
            alone.inverses[l].bias.data.copy_(learner.inverses[l].bias.data)
    whole = directions_of(learner, batch)
    for name, direction in directions_of(alone, Batch(batch.inputs, targets[top].detach())).items():
        torch.testing.assert_close(direction, whole[name], rtol=1e-9, atol=1e-12)


def test_local_difference_reconstruction_turns_inverses_into_transposed_jacobians() -> None:
    learner = made(
        [5, 4],
        network={"activation": "identity"},
        inverse_loss="local_difference_reconstruction",
        feedback_learning_rate=0.2,
        feedback_noise=1.0,
    )
    batch = batch_of(samples=200)
    wanted = learner.layers[2].weight.detach().T
    before = cosine(learner.inverses[2].weight.detach(), wanted)
    for _ in range(200):
        learner.step(batch, moment("inverses", diagnose=False))
    assert before < 0.9
    assert cosine(learner.inverses[2].weight.detach(), wanted) > 0.99


def test_every_layer_of_the_discrete_network_gets_a_gradient() -> None:
    learner = made([8, 8], network={"transmit": ["sign", "value"]}, target_step=28.0)
    assert learner.inverses[2].sees_sign
    directions = directions_of(learner, batch_of(samples=20))
    assert set(directions) == {f"layer{l}.{part}" for l in (1, 2, 3) for part in ("weight", "bias")}
    assert all(bool(direction.abs().max() > 0) for direction in directions.values())


DIGITS = {
    "algorithm": "difference_target_propagation",
    "dataset": "digits",
    "network": {"kind": "mlp", "hidden": [24, 20, 16], "activation": "tanh", "initialization": "orthogonal"},
    "training": {"epochs": 2, "batch_size": 100, "seed": 3, "threads": 1, "device": "cpu", "diagnose_every_steps": 5},
}
AUTOENCODER = {
    "network": {"kind": "mlp", "hidden": [30], "activation": "sigmoid", "output_activation": "sigmoid"},
    "dataset_options": {"targets": "inputs"},
}
STOCHASTIC = {
    "kind": "mlp",
    "hidden": [20, 20],
    "activation": "sigmoid",
    "initialization": "xavier",
    "transmit": "sample",
}


def digits(hyperparameters: dict[str, Any], **changes: Any) -> dict[str, Any]:
    training = {**DIGITS["training"], **changes.pop("training", {})}  # type: ignore[dict-item]
    return {**DIGITS, "hyperparameters": hyperparameters, **changes, "training": training}


SETTINGS = {
    "warm-up": digits({"feedback_warmup": 2}),
    "step": digits({"feedback_schedule": "step", "feedback_warmup": 1, "feedback_steps": 3}),
    "noise decays": digits({"feedback_noise_decay_epochs": 1.0, "input_noise": 0.1, "optimizer": "adam"}),
    "local difference": digits(
        {"inverse_loss": "local_difference_reconstruction", "targets_start": "output", "feedback_optimizer": "momentum"}
    ),
    "fixed": digits({"inverse_loss": "fixed"}),
    "discrete": digits({}, network={"kind": "mlp", "hidden": [20, 20], "activation": "tanh", "transmit": "sign"}),
    "stochastic": digits({"prediction_samples": 3}, network=STOCHASTIC),
    "encoder": digits({"inverse_loss": "encoder", "target_step": 0.1, "input_noise": 0.1}, **AUTOENCODER),
    "auto-encoder": digits({"targets_start": "output"}, **AUTOENCODER),
    "backprop with noise": digits({"input_noise": 0.1}, algorithm="backprop"),
    "backprop by straight-through": digits(
        {"through_discrete": "straight_through", "prediction_samples": 3}, algorithm="backprop", network=STOCHASTIC
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_goes_on_bit_for_bit_after_a_stop(setting: str, tmp_path: Path) -> None:
    spec = SETTINGS[setting]
    whole = fit(spec)
    assert whole.result is not None
    for after in (1, whole.step // 2, whole.step - 1):
        part = fit(spec, output=tmp_path / f"part{after}", stop=StopRequest(after_steps=after))
        rest = fit(spec, output=tmp_path / f"rest{after}", resume=part.checkpoint)
        assert rest.result is not None
        assert rest.result["weights_sha256"] == whole.result["weights_sha256"]


def test_passes_of_an_epoch() -> None:
    def phases(epoch: int, **hyperparameters: Any) -> tuple[str, ...]:
        return made([4, 4], **hyperparameters).phases(epoch, 3)

    assert phases(0, feedback_warmup=2) == ("inverses", "inverses", "inverses", "weights")
    assert phases(1, feedback_warmup=2) == ("inverses", "weights")
    assert phases(0, feedback_warmup=1, feedback_schedule="step") == ("inverses", "train")
    assert phases(0, inverse_loss="fixed") == ("weights",)
    assert made([4]).phases(0, 3) == ("weights",)  # one hidden layer: nothing to invert


def test_a_step_says_how_good_the_inverses_are_and_how_far_targets_lie() -> None:
    learner, batch = made([5, 4, 3], target_step=0.5), batch_of()
    h = [each.detach() for each in learner.network.activations(batch.inputs)]
    errors = {
        f"layer{l}": float(((inverse_of(learner, l, h[l]) - h[l - 1]) ** 2).sum() / (h[l - 1] ** 2).sum())
        for l in (2, 3)
    }
    report = learner.step(batch, moment("weights"))
    assert report.details is not None
    told = {layer: float(error) for layer, error in report.details["reconstruction_error"].items()}
    assert told == pytest.approx(errors)
    assert set(report.details["target_distance"]) == {"layer1", "layer2", "layer3"}
    assert set(report.signals or {}) == {"layer1", "layer2", "layer3", "layer4"}


def test_with_the_correction_a_deep_network_learns_and_without_it_does_not() -> None:
    accuracy = {}
    for correction in ("difference", "none"):
        network = {"kind": "mlp", "hidden": [48] * 6, "activation": "tanh", "initialization": "orthogonal"}
        training = {"epochs": 8, "batch_size": 50, "diagnose_every_steps": None}
        chosen = {"correction": correction, "target_step": 0.1, "feedback_warmup": 5}
        outcome = fit(digits(chosen, network=network, training=training))
        assert outcome.result is not None
        accuracy[correction] = outcome.result["test_accuracy"]
    assert accuracy["difference"] > 0.85
    assert accuracy["none"] < 0.3


def test_a_target_that_changes_no_sign_is_reported_with_a_way_out_that_works() -> None:
    network = {"kind": "mlp", "hidden": [20, 20], "activation": "tanh", "transmit": "sign"}
    found = {
        sees: [
            event.sentence
            for event in events_of(digits({"target_step": 1e-6, "inverse_sees": sees}, network=network))
            if isinstance(event, Finding) and event.code == "vanishing"
        ]
        for sees in ("sign", "value")
    }
    assert "no signal at all reaches layer 1" in found["sign"][0]
    assert "set inverse_sees to value" in found["sign"][0]
    assert found["value"] == []


def events_of(spec: dict[str, Any]) -> list[Event]:
    events: list[Event] = []
    fit(spec, on_event=events.append)
    return events


def test_predictions_of_a_stochastic_network_are_mean_probabilities() -> None:
    learner = assemble(resolve_parts(digits({"prediction_samples": 50}, network=STOCHASTIC))).algorithm
    inputs = torch.rand(7, 64)
    with torch.no_grad():
        outputs = learner.predict(inputs)
    torch.testing.assert_close(outputs.exp().sum(1), torch.ones(7))
    more = assemble(resolve_parts(digits({"prediction_samples": 2000}, network=STOCHASTIC))).algorithm
    with torch.no_grad():
        torch.testing.assert_close(more.predict(inputs).exp(), outputs.exp(), atol=0.1, rtol=0)


def test_an_autoencoder_is_asked_for_its_own_inputs() -> None:
    parts = assemble(resolve_parts(digits({"targets_start": "output"}, **AUTOENCODER)))
    batch = next(iter(parts.data.batches(0)))
    assert parts.objective.kind == "squared_error"
    assert batch.inputs.shape == (100, 1, 8, 8)
    assert torch.equal(batch.targets, batch.inputs.flatten(1))


def test_an_autoencoder_learns_and_is_drawn(tmp_path: Path) -> None:
    events: list[Event] = []
    spec = digits(
        {
            "inverse_loss": "encoder",
            "target_step": 32 * 50,
            "optimizer": "adam",
            "learning_rate": 0.003,
            "feedback_noise": 0.0,
        },
        **AUTOENCODER,
        training={"epochs": 15, "batch_size": 50},
    )
    outcome = fit(spec, on_event=events.append, output=tmp_path)
    assert outcome.result is not None
    images = torch.cat([batch.inputs.flatten(1).clone() for batch in outcome.parts.data.evaluation_batches("test")])
    always_the_mean = images.var(0, correction=0).mean()
    assert outcome.result["test_loss"] < 0.6 * float(always_the_mean)
    drawn = {event.name: event for event in events if isinstance(event, Artefact)}
    assert set(drawn) == {"filters.png", "reconstructions.png"}
    with Image.open(drawn["filters.png"].path) as image:
        assert image.size == (2 * (20 * 9 + 1), 2 * (2 * 9 + 1))  # 30 filters of 8 × 8, 20 a row, drawn twice as large
        assert len(image.getcolors() or []) > 10


def test_the_decoders_step_with_noise_free_encoder_follows_its_equations() -> None:
    learner = made(
        [4],
        objective=Objective("squared_error", INPUTS),
        network={"activation": "sigmoid", "output_activation": "sigmoid"},
        inverse_loss="encoder",
        feedback_noise=0.0,
        target_step=INPUTS / 2,
        target_step_of="sample",
    )
    x = batch_of().inputs
    (w, b, s), (w_up, b_up, s_up) = layers_of(learner)

    def f(values: Tensor) -> Tensor:
        return s(values @ w.T + b)

    h = f(x)
    z = s_up(h @ w_up.T + b_up)
    h_target = 2 * h - f(z)  # this length of step makes ẑ = x, and f(x) = h
    expected = {}
    expected["layer1.weight"], expected["layer1.bias"] = local_step(
        w, b, lambda w, b: (s(x @ w.T + b) - h_target).square().sum() / SAMPLES
    )
    expected["layer2.weight"], expected["layer2.bias"] = local_step(
        w_up, b_up, lambda w, b: (s_up(h @ w.T + b) - x).square().sum() / SAMPLES
    )
    learner.step(Batch(x, x), moment("weights"))
    for name, weight in weights_of(learner).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("network", "hyperparameters", "pointer", "word"),
    [
        ({"activation": "sign"}, {}, "#/network/activation", "transmit"),
        ({"output_activation": "step"}, {}, "#/network/output_activation", "derivative"),
        ({"batch_norm": True}, {}, "#/network/batch_norm", "batch norm"),
        ({"dropout": 0.2}, {}, "#/network/dropout", "dropout"),
        ({"hidden": [4, 4]}, {"inverse_loss": "encoder"}, "#/hyperparameters/inverse_loss", "auto-encoder"),
        ({"hidden": [4]}, {"inverse_loss": "encoder"}, "#/hyperparameters/inverse_loss", "targets"),
    ],
)
def test_what_it_cannot_train_is_refused_with_the_reason(
    network: dict[str, Any], hyperparameters: dict[str, Any], pointer: str, word: str
) -> None:
    spec = digits(hyperparameters, network={"kind": "mlp", "hidden": [4], "activation": "tanh", **network})
    with pytest.raises(SpecError) as refusal:
        assemble(resolve_parts(spec))
    assert refusal.value.errors[0].pointer == pointer
    assert word in str(refusal.value)


def backprop(through: str, network: dict[str, Any], **training: Any) -> dict[str, Any]:
    return digits({"through_discrete": through}, algorithm="backprop", network=network, training=training)


@pytest.mark.parametrize(
    "network", [{"kind": "mlp", "hidden": [9, 9], "activation": "tanh", "transmit": "sign"}, STOCHASTIC]
)
def test_backprop_refuses_discrete_units_unless_told_what_to_do(network: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refusal:
        resolve_parts(backprop("refuse", network))
    assert refusal.value.errors[0].pointer == "#/network/transmit"
    assert "through_discrete" in str(refusal.value)


@pytest.mark.parametrize(
    "network", [{"kind": "mlp", "hidden": [9, 9], "activation": "tanh", "transmit": ["sign", "value"]}, STOCHASTIC]
)
@pytest.mark.parametrize("through", ["zero", "straight_through", "discretize_at_test"])
def test_backprop_through_discrete_units(network: dict[str, Any], through: str) -> None:
    start = assemble(resolve_parts(backprop(through, network))).network.state_dict()
    outcome = fit(backprop(through, network))
    moved = {
        layer: not torch.equal(start[f"{layer}.weight"], outcome.parts.network.state_dict()[f"{layer}.weight"])
        for layer in ("layer1", "layer2", "layer3")
    }
    assert moved["layer3"]
    assert moved["layer1"] == (through != "zero")  # a sign or a sample stops the gradient on its way down
    assert math.isfinite(outcome.result["test_loss"] if outcome.result else math.nan)

"""The HSIC bottleneck's step against its equations, its locality, its variants and what it refuses."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.algorithms.hsic_bottleneck import HSICBottleneck
from trainers.algorithms.hsic_layers import descend, run_again, run_layer, untracked
from trainers.algorithms.hsic_objective import (
    RandomFeatures,
    References,
    Settings,
    layer_objective,
    layer_objective_by_features,
)
from trainers.algorithms.hsic_readout import Matching
from trainers.algorithms.hsic_workspace import Workspace
from trainers.algorithms.kernels import (
    cosine_kernel,
    gaussian_kernel,
    group_deviations,
    normalized,
    normalized_hsic,
    phsic,
)
from trainers.assembly import assemble
from trainers.compute_cost.counting import LiveBytes
from trainers.datasets.declaration import Task
from trainers.errors import OutOfMemory, SpecError, UnsupportedNetwork
from trainers.networks.base import Network
from trainers.networks.convnet import ConvNet, ConvNetOptions
from trainers.networks.mlp import MLP, MLPOptions
from trainers.networks.resnet import ResNet, ResNetOptions
from trainers.objective import Objective
from trainers.resolve import resolve_parts
from trainers.spec import Training
from trainers.streams import StreamBook

CLASSES, INPUTS, BATCH = 3, 6, 18
MLP_OPTIONS: dict[str, Any] = {"hidden": [8, 5], "activation": "tanh", "batch_norm": True, "batch_norm_affine": False}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_of(m: int = BATCH, shape: tuple[int, ...] = (INPUTS,), seed: int = 0) -> Batch:
    return Batch(drawn(seed, m, *shape), torch.arange(m) % CLASSES)


def learner_of(network: Network | None = None, *, epochs: int = 10, **chosen: Any) -> HSICBottleneck:
    """Plain gradient descent in float64 where not said otherwise."""
    if network is None:
        options = MLPOptions(**MLP_OPTIONS)
        network = MLP.build(options, Task("classification", (INPUTS,), CLASSES), StreamBook(1))
    options = type(network).Options  # type: ignore[attr-defined]
    given = HSICBottleneck.Hyperparameters(**{"optimizer": "sgd", "learning_rate": 0.01, **chosen})
    whole = HSICBottleneck.complete(given, options(), Training(epochs=epochs))
    learner = HSICBottleneck()
    learner.setup(network.double(), Objective("cross_entropy", CLASSES), whole, StreamBook(1))
    return learner


def at(phase: str = "hsic", step: int = 0, steps: int = 4, diagnose: bool = False) -> Moment:
    return Moment(0, phase, step, steps, 0.0, diagnose)


def one_hot(labels: Tensor) -> Tensor:
    return F.one_hot(labels, CLASSES).double()


# -- the step against the equations -----------------------------------------------------------------------------------


def slow_step(
    learner: HSICBottleneck, batch: Batch, *, beta: float, sigma: float, epsilon: float, order: str, input_term: bool
) -> list[Tensor]:
    """Weights after one step by eqs. 5 and 6: explicit inverses, autograd, the forward pass redone for every layer."""
    weights = [[layer.weight.detach().clone(), layer.bias.detach().clone()] for layer in learner.network.layers[:-1]]
    m, y = len(batch.inputs), one_hot(batch.targets)
    h = torch.eye(m, dtype=torch.float64) - 1 / m

    def hat(rows: Tensor) -> Tensor:
        apart = (rows.unsqueeze(1) - rows.unsqueeze(0)).square().sum(2)
        kernel = h @ torch.exp(-apart / (2 * sigma**2 * rows.shape[1])) @ h
        return kernel @ torch.linalg.inv(kernel + epsilon * m * torch.eye(m, dtype=torch.float64))

    def forward(upto: int, using: list[list[Tensor]]) -> Tensor:
        z = batch.inputs
        for weight, bias in using[: upto + 1]:
            a = z @ weight.t() + bias
            a = (a - a.mean(0)) / torch.sqrt(a.var(0, unbiased=False) + 1e-5)
            z = torch.tanh(a)
        return z

    old = [[each.clone() for each in pair] for pair in weights]
    for layer in range(len(weights)):
        using = [[each.clone() for each in pair] for pair in (weights if order == "sequential" else old)]
        own = [each.requires_grad_() for each in using[layer]]
        z = hat(forward(layer, using))
        loss = -beta * torch.trace(z @ hat(y))
        if input_term:
            loss = loss + torch.trace(z @ hat(batch.inputs))
        for value, gradient in zip(weights[layer], torch.autograd.grad(loss, own), strict=True):
            value -= 0.01 * gradient
    return [weight for weight, _ in weights]


@pytest.mark.parametrize("order", ["sequential", "parallel"])
@pytest.mark.parametrize("input_term", [True, False])
def test_a_step_is_that_of_the_equations(order: str, input_term: bool) -> None:
    # ε = 1e-5 makes A so badly conditioned that two ways of rounding part at 1e-7 of an update; 1e-2 does not.
    for epsilon, tolerance in ((1e-2, 1e-9), (1e-5, 1e-6)):
        learner = learner_of(
            layer_order=order, input_term=input_term, label_weight=7.0, sigma=2.0, epsilon=epsilon, readout="after"
        )
        batch, before = batch_of(), [layer.weight.detach().clone() for layer in learner.network.layers]
        expected = slow_step(learner, batch, beta=7.0, sigma=2.0, epsilon=epsilon, order=order, input_term=input_term)
        learner.step(batch, at())
        for layer, old, weight in zip(learner.network.layers, before, expected, strict=False):
            ours, theirs = layer.weight.detach() - old, weight - old
            assert ((ours - theirs).norm() / theirs.norm()).item() < tolerance, layer.name


def test_batch_norm_statistics_move_once_a_batch_and_layer() -> None:
    learner = learner_of(readout="after")
    batch = batch_of()
    first = learner.network.layers[0]
    expected = 0.9 * first.norm.running_mean + 0.1 * F.linear(batch.inputs, first.weight, first.bias).mean(0)
    learner.step(batch, at())
    assert torch.allclose(first.norm.running_mean, expected)


SETTINGS = Settings("normalized", "gaussian", 2.0, 7.0, 1e-3, True, None, 0.5, 1.0)


def changed(**changes: Any) -> Settings:
    return Settings(**({name: getattr(SETTINGS, name) for name in SETTINGS.__slots__} | changes))


def by_autograd(z: Tensor, x: Tensor, y: Tensor, chosen: Settings) -> tuple[Tensor, Tensor]:
    """Value and gradient by autograd of the plain formulas."""
    z = z.clone().requires_grad_()
    seen = z.flatten(1)
    if chosen.groups:
        seen = group_deviations(seen, chosen.groups, power=chosen.grouping_power, smoothing=chosen.grouping_smoothing)
    kernel = gaussian_kernel(seen, chosen.sigma) if chosen.kernel == "gaussian" else cosine_kernel(seen)
    if chosen.criterion == "phsic":
        value = -chosen.label_weight * phsic(kernel, cosine_kernel(y - y.mean(0)))
        value = value + phsic(kernel, kernel) if chosen.input_term else value
    else:
        hat = normalized(kernel, chosen.epsilon)
        value = -chosen.label_weight * (hat * normalized(gaussian_kernel(y, 2.0), chosen.epsilon)).sum()
        if chosen.input_term:
            value = value + (hat * normalized(gaussian_kernel(x, 2.0), chosen.epsilon)).sum()
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient


def references_of(x: Tensor, y: Tensor, chosen: Settings) -> References:
    learner = learner_of(sigma=2.0, readout="after")
    branch = learner.branches[0]
    branch.settings = chosen
    branch.label_kernel = "cosine" if chosen.criterion == "phsic" else "gaussian"
    return branch.references(x, y)[0]


@pytest.mark.parametrize("criterion", ["normalized", "phsic"])
@pytest.mark.parametrize("kernel", ["gaussian", "cosine"])
@pytest.mark.parametrize("groups", [None, 4])
@pytest.mark.parametrize("input_term", [True, False])
def test_the_written_gradient_is_autograds(criterion: str, kernel: str, groups: int | None, input_term: bool) -> None:
    chosen = changed(criterion=criterion, kernel=kernel, groups=groups, input_term=input_term)
    # Classes of equal size, so that centred labels are at equal angles.
    z, x, y = drawn(1, BATCH, 4, 3), drawn(2, BATCH, INPUTS), one_hot(torch.arange(BATCH) % CLASSES)
    value, gradient = by_autograd(z, x, y, chosen)
    ours = layer_objective(z, references_of(x, y, chosen), chosen)
    assert float(ours.value) == pytest.approx(float(value), rel=1e-8)
    assert float((ours.gradient - gradient).norm() / gradient.norm()) < 1e-9


def test_the_reported_dependences_are_normalized_hsic() -> None:
    learner = learner_of(sigma=2.0, readout="after", layer_order="parallel")
    batch = batch_of()
    with torch.no_grad():
        z = learner.network.layers[0](batch.inputs)
    told = learner.step(batch, at()).measures
    with_input = normalized_hsic(z, batch.inputs, sigma_x=2.0, sigma_y=2.0)
    with_label = normalized_hsic(z, one_hot(batch.targets), sigma_x=2.0, sigma_y=2.0)
    assert float(told["nhsic_input.layer1"][0]) / BATCH == pytest.approx(float(with_input), rel=1e-6)
    assert float(told["nhsic_label.layer1"][0]) / BATCH == pytest.approx(float(with_label), rel=1e-6)


def test_a_label_kernel_of_two_values_is_factored_exactly() -> None:
    y = one_hot(torch.tensor([0, 0, 1, 2, 2, 2, 2, 1, 0, 2]))  # classes of unequal size
    factor = references_of(drawn(1, 10, INPUTS), y, SETTINGS).label
    assert torch.allclose(factor @ factor.t(), normalized(gaussian_kernel(y, 2.0), 1e-3), rtol=1e-9, atol=1e-10)


def test_random_features_gradient_is_autograds() -> None:
    z, x, y = drawn(1, BATCH, 4), drawn(2, BATCH, INPUTS), one_hot(torch.arange(BATCH) % CLASSES)
    of_z, of_x = (RandomFeatures(drawn(seed, width, 6)) for seed, width in ((3, 4), (4, INPUTS)))

    def hat_of(features: Tensor) -> Tensor:
        return normalized(features @ features.t(), 1e-3)

    learner = learner_of(sigma=2.0, readout="after")
    branch = learner.branches[0]
    branch.settings, branch.features = SETTINGS, {"input": of_x}
    references, _ = branch.references(x, y)
    variable = z.clone().requires_grad_()
    angles = variable @ of_z.frequencies
    phi = torch.cat([angles.cos(), angles.sin()], 1) / 6**0.5
    value = (hat_of(phi) * hat_of(of_x(x))).sum() - 7.0 * (
        hat_of(phi) * normalized(gaussian_kernel(y, 2.0), 1e-3)
    ).sum()
    (gradient,) = torch.autograd.grad(value, variable)
    ours = layer_objective_by_features(z, of_z, references, SETTINGS)
    assert float(ours.value) == pytest.approx(float(value.detach()), rel=1e-7)
    assert torch.allclose(ours.gradient, gradient, rtol=1e-6, atol=1e-8)


def test_more_random_features_come_nearer_to_the_kernel() -> None:
    x = drawn(1, 40, 10)
    errors = [
        float(RandomFeatures.draw(10, count, 1.0, torch.Generator().manual_seed(0)).to(x).error(x, 1.0))
        for count in (16, 256, 4096)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1


# -- locality ---------------------------------------------------------------------------------------------------------


def weights_after(learner: HSICBottleneck, batch: Batch) -> dict[str, Tensor]:
    learner.step(batch, at())
    return {name: value.detach().clone() for name, value in learner.network.named_parameters()}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), layer=st.integers(1, 2))
def test_a_layers_update_does_not_change_with_the_weights_above_it(seed: int, layer: int) -> None:
    plain, altered = learner_of(readout="after"), learner_of(readout="after")
    with torch.no_grad():
        for above in altered.network.layers[layer:]:
            above.weight.copy_(drawn(seed, *above.weight.shape) * 3)
    one, other = weights_after(plain, batch_of()), weights_after(altered, batch_of())
    for number in range(1, layer + 1):
        assert torch.equal(one[f"layer{number}.weight"], other[f"layer{number}.weight"])


@pytest.mark.parametrize("only", ["layer1", "layer2"])
def test_a_layers_gradient_reaches_its_own_weights_alone(only: str) -> None:
    learner = learner_of(readout="after", layer_order="parallel")
    before = {name: value.detach().clone() for name, value in learner.network.named_parameters()}
    update = learner._update
    learner._update = lambda told, moment: update(told, moment) if told.key == only else None  # type: ignore[method-assign]
    learner.step(batch_of(), at())
    moved = {name for name, value in learner.network.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {f"{only}.weight", f"{only}.bias"}


def test_in_parallel_layers_may_update_in_any_order() -> None:
    forwards, backwards = (learner_of(readout="after", layer_order="parallel") for _ in range(2))
    held: list[Any] = []
    update = backwards._update
    backwards._update = lambda told, moment: held.append((told, moment))  # type: ignore[method-assign]
    forwards.step(batch_of(), at())
    backwards.step(batch_of(), at())
    for told, moment in reversed(held):
        update(told, moment)
    for one, other in zip(forwards.network.parameters(), backwards.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_plain_descent_is_what_the_optimizer_sgd_does(decay: float) -> None:
    ours, torchs = (learner_of(readout="after").network.layers[0] for _ in range(2))
    optimizer = torch.optim.SGD(
        [{"params": [torchs.weight]}, {"params": [torchs.bias], "weight_decay": 0.0}], lr=0.2, weight_decay=decay
    )
    torchs.weight.grad, torchs.bias.grad = drawn(1, 8, INPUTS), drawn(2, 8)
    descend(ours, {"weight": drawn(1, 8, INPUTS), "bias": drawn(2, 8)}, 0.2, decay)
    optimizer.step()
    assert torch.allclose(ours.weight, torchs.weight, rtol=1e-12)
    assert torch.allclose(ours.bias, torchs.bias, rtol=1e-12)


# -- variants ---------------------------------------------------------------------------------------------------------


def run_pass(learner: HSICBottleneck, phase: str, batches: list[Batch]) -> StepReport:
    report = StepReport({})
    for step, batch in enumerate(batches):
        report = learner.step(batch, at(phase, step, len(batches)))
    return report


def test_nothing_is_predicted_before_the_read_out_and_hidden_layers_rest_while_it_trains() -> None:
    learner = learner_of(readout="after", readout_epochs=3)
    assert [learner.phases(epoch, 5) for epoch in range(5)] == [("hsic",)] * 2 + [("readout",)] * 3
    run_pass(learner, "hsic", [batch_of()])
    assert learner.predict(batch_of().inputs) is None
    hidden = {name: value.clone() for name, value in learner.network.state_dict().items() if "layer3" not in name}
    output = learner.network.layers[-1].weight.detach().clone()
    run_pass(learner, "readout", [batch_of()])
    assert learner.predict(batch_of().inputs).shape == (BATCH, CLASSES)  # type: ignore[union-attr]
    assert not torch.equal(output, learner.network.layers[-1].weight)
    for name, value in hidden.items():
        assert torch.equal(value, learner.network.state_dict()[name]), name


def test_the_read_out_step_is_gradient_descent_on_the_loss() -> None:
    learner = learner_of(readout="after", readout_learning_rate=0.3, readout_weight_decay=0.1)
    batch, layer = batch_of(), learner.network.layers[-1]
    with torch.no_grad(), learner.network.evaluating():
        features = learner.network.layers[1](learner.network.layers[0](batch.inputs))
    weight = layer.weight.detach().clone().requires_grad_()
    F.cross_entropy(features @ weight.t() + layer.bias.detach(), batch.targets).backward()
    expected = weight.detach() - 0.3 * (weight.grad + 0.1 * weight.detach())  # type: ignore[operator]
    run_pass(learner, "readout", [batch])
    assert torch.allclose(layer.weight, expected, rtol=1e-9)


def unformatted() -> HSICBottleneck:
    options = MLPOptions(**{**MLP_OPTIONS, "batch_norm_output": True, "output_activation": "relu"})
    network = MLP.build(options, Task("classification", (INPUTS,), CLASSES), StreamBook(1))
    return learner_of(network, readout="match", sigma=2.0)


def test_units_are_matched_to_classes_so_that_most_training_samples_are_right() -> None:
    learner = unformatted()
    batches = [batch_of(seed=seed) for seed in range(3)]
    assert learner.phases(0, 5) == ("hsic", "match")
    run_pass(learner, "hsic", batches)
    assert learner.predict(batches[0].inputs) is None
    run_pass(learner, "match", batches)
    with torch.no_grad(), untracked(learner.network.layers):
        units = torch.cat([learner.network(batch.inputs) for batch in batches])  # by each batch's own statistics
    labels = torch.cat([batch.targets for batch in batches])
    ours = (learner.matching.read(units).argmax(1) == labels).sum()  # type: ignore[union-attr]
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    assert int(ours) >= max(int((units[:, list(order)].argmax(1) == labels).sum()) for order in orders)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_layer_that_has_descended_is_run_again_from_the_grams_of_its_batch(given: bool, affine: bool) -> None:
    options = MLPOptions(hidden=[96], batch_norm=True, batch_norm_affine=affine)
    layer = MLP.build(options, Task("classification", (200,), CLASSES), StreamBook(1)).double().train().layers[0]
    x = torch.randn(24, 200, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 2
    centred = x - x.mean(0)
    ran = run_layer(layer, x)
    back = ran.back(torch.randn(ran.z.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    descend(layer, {"weight": back.gradients["weight"], "bias": back.gradients["bias"]}, 0.5, 0.1)
    quickly = ran.descended(0.5, 0.1, centred @ centred.t() if given else None)  # type: ignore[misc]
    assert quickly is not None
    assert float((quickly - run_again(layer, x)).abs().max()) < 1e-9


def test_a_layer_is_run_again_by_its_weights_where_that_is_cheaper() -> None:
    layer = MLP.build(MLPOptions(hidden=[8], batch_norm=True), Task("classification", (12,), CLASSES), StreamBook(1))
    ran = run_layer(layer.layers[0], torch.randn(64, 12, generator=torch.Generator().manual_seed(3)))
    ran.back(torch.ones_like(ran.z))
    assert ran.descended(0.5, 0.1, None) is None  # type: ignore[misc]


def test_a_step_leaves_nothing_for_the_next_in_the_memory_it_writes_anew() -> None:
    often, once = learner_of(readout="after"), learner_of(readout="after")
    for seed in range(3):
        often.step(batch_of(seed=seed), at("hsic", seed, 9))
        once.workspace = Workspace(keep=False)
        once.step(batch_of(seed=seed), at("hsic", seed, 9))
    for name, weight in once.network.state_dict().items():
        assert torch.equal(weight, often.network.state_dict()[name]), name


def coded_by_silence(samples: int = 90) -> tuple[Tensor, Tensor]:
    """Labels, and activations of three units: class 0 lifts unit 2, class 1 unit 1 and, for a third, unit 0
    still more, class 2 none."""
    labels = torch.arange(samples) % 3
    units = torch.full((samples, 3), 0.1)
    units[labels == 0, 2] = 3.0
    units[labels == 1, 1] = 2.0
    units[(labels == 1) & (torch.arange(samples) % 9 == 1), 0] = 2.5
    return labels, units


def test_a_class_at_which_all_units_are_quiet_is_read_off_silence() -> None:
    labels, units = coded_by_silence()
    matching = Matching(3, torch.device("cpu"), level=1.0)
    matching.add(labels, units)
    assert matching.close() == pytest.approx(80 / 90)  # counted before the spare unit is left out
    assert matching.unit_of_class.tolist() == [2, 1, 3]  # type: ignore[union-attr]
    assert torch.equal(matching.read(units).argmax(1), labels)  # type: ignore[union-attr]
    assert matching.order().tolist() == [2, 1, 0]  # type: ignore[union-attr]


def test_units_alone_leave_a_silent_class_unread() -> None:
    labels, units = coded_by_silence()
    matching = Matching(3, torch.device("cpu"))
    matching.add(labels, units)
    matching.close()
    read = matching.read(units).argmax(1)  # type: ignore[union-attr]
    assert float((read == labels).double().mean()) <= 2 / 3


def test_silence_takes_no_class_from_units_that_read_better() -> None:
    labels = torch.arange(60) % 3
    units = torch.nn.functional.one_hot(labels, 3) * 0.5  # all below the level, and every one right
    matching = Matching(3, torch.device("cpu"), level=1.0)
    matching.add(labels, units)
    assert matching.close() == 1.0
    assert torch.equal(matching.read(units).argmax(1), labels)  # type: ignore[union-attr]
    assert matching.unit_of_class.tolist() == matching.order().tolist() == [0, 1, 2]  # type: ignore[union-attr]


def test_a_matching_pass_moves_no_weight() -> None:
    learner = unformatted()
    before = {name: value.clone() for name, value in learner.network.named_parameters()}
    run_pass(learner, "match", [batch_of()])
    for name, value in before.items():
        assert torch.equal(value, dict(learner.network.named_parameters())[name]), name


def test_a_matching_pass_settles_the_statistics_that_lagged_behind_the_weights() -> None:
    learner, batches = unformatted(), [batch_of(seed=seed) for seed in range(3)]
    with torch.no_grad():
        for layer in learner.network.layers:  # as fast training leaves them
            layer.norm.running_mean += 3  # type: ignore[union-attr, operator]
            layer.norm.running_variance *= 9  # type: ignore[union-attr, operator]
    run_pass(learner, "match", batches)
    with torch.no_grad():
        h = [batch.inputs for batch in batches]
        for layer in learner.network.layers:
            products = [each @ layer.weight.t() + layer.bias for each in h]  # type: ignore[operator]
            norm = layer.norm
            means = torch.stack([each.mean(0) for each in products]).mean(0)
            variances = torch.stack([each.var(0) for each in products]).mean(0)
            assert torch.allclose(norm.running_mean, means)  # type: ignore[union-attr, arg-type]
            assert torch.allclose(norm.running_variance, variances)  # type: ignore[union-attr, arg-type]
            assert norm.training  # type: ignore[union-attr]
            assert norm.momentum == 0.1  # type: ignore[union-attr]
            normalised = [F.batch_norm(each, None, None, training=True) for each in products]
            h = [layer.activation.function(each) for each in normalised]  # type: ignore[union-attr, operator]


def test_an_earlier_matching_holds_until_the_next_is_complete() -> None:
    learner = unformatted()
    run_pass(learner, "match", [batch_of()])
    before = learner.matching.unit_of_class.clone()  # type: ignore[union-attr]
    learner.step(batch_of(seed=5), at("match", 0, 2))
    assert torch.equal(learner.matching.unit_of_class, before)  # type: ignore[union-attr, arg-type]


def test_each_branch_trains_by_its_own_sigma_as_if_alone() -> None:
    both = learner_of(readout="after", branch_sigmas=[1.0, 4.0])
    alone = learner_of(readout="after", sigma=4.0)
    second = both.branches[1]
    with torch.no_grad():
        for own, twin in zip(alone.branches[0].layers, second.layers, strict=True):
            own.load_state_dict(twin.state_dict())
    both.step(batch_of(), at())
    alone.step(batch_of(), at())
    for own, twin in zip(alone.branches[0].layers, second.layers, strict=True):
        assert torch.equal(own.weight, twin.weight)
    assert not torch.equal(both.network.layers[0].weight, second.layers[0].weight)


def test_branches_are_averaged_and_normed_for_the_read_out() -> None:
    learner = learner_of(readout="together", branch_sigmas=[1.0, 4.0, 8.0])
    run_pass(learner, "train", [batch_of(seed=seed) for seed in range(3)])
    inputs = batch_of().inputs
    with torch.no_grad(), learner._evaluating():
        ends = []
        for branch in learner.branches:
            h = inputs
            for layer in branch.layers:
                h = layer(h)
            ends.append(h)
        norm = learner.aggregator.norm  # type: ignore[union-attr]
        mixed = (torch.stack(ends).mean(0) - norm.running_mean) / torch.sqrt(norm.running_variance + 1e-5)
        expected = learner.network.layers[-1](mixed)
    with torch.no_grad():
        assert torch.allclose(learner.predict(inputs), expected)  # type: ignore[arg-type]


def test_branches_start_from_weights_of_their_own() -> None:
    learner = learner_of(readout="after", branch_sigmas=[2.0, 2.0])
    one, other = (branch.layers[0].weight for branch in learner.branches)
    assert not torch.equal(one, other)
    assert one.detach().std().item() == pytest.approx(other.detach().std().item(), rel=0.4)


@pytest.mark.parametrize("kind", ["convnet", "resnet"])
def test_convolutions_and_blocks_train_each_by_its_own_objective(kind: str) -> None:
    task = Task("classification", (1, 8, 8), CLASSES)
    network: Network
    if kind == "convnet":
        network = ConvNet.build(
            ConvNetOptions(convolutions=[{"filters": 4, "pool": "max"}], hidden=[6]),  # type: ignore[list-item]
            task,
            StreamBook(1),
        )
    else:
        network = ResNet.build(
            ResNetOptions(blocks=[2], widths=[4], block="single", kernel=5, hidden=[6], global_pool=False),
            task,
            StreamBook(1),
        )
    learner = learner_of(network, readout="together", sigma=2.0)
    batch = batch_of(shape=(1, 8, 8))
    # By autograd of the formula within the first layer alone.
    first = network.layers[0]
    with torch.enable_grad():
        z = first(batch.inputs)
        value = normalized_hsic(z, batch.inputs, sigma_x=2.0, sigma_y=2.0)
        value = value - 50 * normalized_hsic(z, one_hot(batch.targets), sigma_x=2.0, sigma_y=2.0)
        (gradient,) = torch.autograd.grad(value, [first.weight])
    before = {layer.name: next(layer.parameters()).detach().clone() for layer in network.layers}
    expected = first.weight.detach() - 0.01 * gradient
    learner.step(batch, at("train"))
    assert torch.allclose(first.weight, expected, rtol=1e-6, atol=1e-9)
    for layer in network.layers:
        assert not torch.equal(before[layer.name], next(layer.parameters())), layer.name


# -- edges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("approximation", ["none", "random_features"])
@pytest.mark.parametrize("case", ["duplicates", "constant", "one class", "two samples"])
def test_odd_batches_train_to_finite_weights(case: str, approximation: str) -> None:
    learner = learner_of(readout="together", kernel_approximation=approximation, random_features=16)
    inputs, targets = batch_of().inputs, batch_of().targets
    if case == "duplicates":
        inputs, targets = inputs[:2].repeat(9, 1), targets[:2].repeat(9)
    elif case == "constant":
        inputs = torch.ones_like(inputs)
    elif case == "one class":
        targets = torch.zeros_like(targets)
    else:
        inputs, targets = inputs[:2], targets[:2]
    for step in range(4):
        report = learner.step(Batch(inputs, targets), at("train", step))
        assert math.isfinite(float(report.measures["loss"][0]))
        assert math.isfinite(float(report.measures["objective"][0]))
    assert all(bool(torch.isfinite(each).all()) for each in learner.network.parameters())


def test_a_batch_of_one_sample_moves_no_hidden_layer() -> None:
    learner = learner_of(readout="together")
    before = [layer.weight.detach().clone() for layer in learner.network.layers]
    report = learner.step(batch_of(1), at("train"))
    assert math.isfinite(float(report.measures["loss"][0]))
    assert torch.equal(before[0], learner.network.layers[0].weight)
    assert torch.equal(before[1], learner.network.layers[1].weight)
    assert not torch.equal(before[2], learner.network.layers[2].weight)


def test_labels_of_one_class_leave_a_dependence_of_zero() -> None:
    learner = learner_of(readout="after")
    batch = batch_of()
    report = learner.step(Batch(batch.inputs, torch.zeros_like(batch.targets)), at())
    assert float(report.measures["nhsic_label.layer1"][0]) == pytest.approx(0, abs=1e-9)


def test_float32_follows_float64_with_many_duplicates() -> None:
    values = []
    for dtype in (torch.float32, torch.float64):
        z = drawn(1, 8, 5).repeat(64, 1).to(dtype)
        y = one_hot(torch.arange(8) % CLASSES).repeat(64, 1).to(dtype)
        learner = learner_of(readout="after")
        learner.branches[0].settings = SETTINGS
        references, flaw = learner.branches[0].references(z, y)
        values.append(float(layer_objective(z, references, SETTINGS).value + flaw))
    assert values[0] == pytest.approx(values[1], rel=2e-3)


def test_a_batch_too_big_for_memory_is_refused_with_the_estimate() -> None:
    learner = learner_of(readout="together")
    with pytest.raises(OutOfMemory, match=r"10000000 samples .* about \d+\.\d GiB.*random_features"):
        learner._check_memory(10_000_000)


@pytest.mark.parametrize("approximation", ["none", "random_features"])
@pytest.mark.parametrize("batch", [64, 256])
def test_the_memory_estimate_bounds_what_a_step_holds(approximation: str, batch: int) -> None:
    options = MLPOptions(**{**MLP_OPTIONS, "hidden": [64, 32]})
    network = MLP.build(options, Task("classification", (INPUTS,), CLASSES), StreamBook(1))
    learner = learner_of(network, readout="after", kernel_approximation=approximation, random_features=64)
    learner.step(batch_of(batch), at())
    with LiveBytes() as live:
        learner.step(batch_of(batch, seed=1), at(step=1))
    assert live.peak <= learner.step_bytes(batch) <= 4 * live.peak


# -- what it refuses --------------------------------------------------------------------------------------------------


def refused(
    network: dict[str, Any], error: type[SpecError] = SpecError, epochs: int = 10, **chosen: Any
) -> tuple[str, str]:
    spec = {
        "algorithm": "hsic_bottleneck",
        "dataset": "digits",
        "network": network,
        "hyperparameters": chosen,
        "training": {"epochs": epochs, "seed": 1},
    }
    with pytest.raises(error) as refusal:
        assemble(resolve_parts(spec))
    found = refusal.value.errors[0]
    return found.pointer, found.detail


@pytest.mark.parametrize(
    ("network", "pointer", "words"),
    [
        ({"kind": "mlp", "activation": "sign"}, "#/network/activation", "derivative"),
        ({"kind": "mlp", "transmit": "sign"}, "#/network/transmit", "passing up a sign"),
        ({"kind": "mlp", "hidden": []}, "#/network/hidden", "trains hidden layers"),
    ],
)
def test_networks_it_cannot_train_are_refused_with_the_reason(
    network: dict[str, Any], pointer: str, words: str
) -> None:
    where, detail = refused(network, UnsupportedNetwork)
    assert where == pointer
    assert words in detail


def test_recurrent_networks_are_refused_with_the_reason() -> None:
    spec = {"algorithm": "hsic_bottleneck", "dataset": "sequential_mnist", "network": {"kind": "recurrent"}}
    with pytest.raises(UnsupportedNetwork, match="one activation for each sample"):
        resolve_parts(spec)


@pytest.mark.parametrize(
    ("chosen", "epochs", "pointer"),
    [
        ({"readout": "after", "readout_epochs": 10}, 10, "#/hyperparameters/readout_epochs"),
        ({"readout": "after"}, 1, "#/hyperparameters/readout_epochs"),
        ({"readout": "match", "branch_sigmas": [1.0, 2.0]}, 10, "#/hyperparameters/branch_sigmas"),
        ({"kernel": "cosine", "kernel_approximation": "random_features"}, 10, "#/hyperparameters/kernel_approximation"),
        ({"groups": 7}, 10, "#/hyperparameters/groups"),
        ({"groups": 32, "readout": "match"}, 10, "#/hyperparameters/groups"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_field(
    chosen: dict[str, Any], epochs: int, pointer: str
) -> None:
    where, _ = refused({"kind": "mlp", "hidden": [64, 64]}, epochs=epochs, **chosen)
    assert where == pointer


def test_matching_needs_classes() -> None:
    network = MLP.build(MLPOptions(hidden=[4]), Task("regression", (INPUTS,), CLASSES), StreamBook(1))
    whole = HSICBottleneck.complete(HSICBottleneck.Hyperparameters(readout="match"), MLPOptions(), Training(epochs=3))
    with pytest.raises(SpecError, match="pairs units with classes"):
        HSICBottleneck().setup(network, Objective("squared_error", CLASSES), whole, StreamBook(1))


def test_a_regression_trains_with_a_linear_kernel_of_its_values() -> None:
    network = MLP.build(MLPOptions(hidden=[4]), Task("regression", (INPUTS,), 2), StreamBook(1)).double()
    whole = HSICBottleneck.complete(HSICBottleneck.Hyperparameters(), MLPOptions(), Training(epochs=3))
    learner = HSICBottleneck()
    learner.setup(network, Objective("squared_error", 2), whole, StreamBook(1))
    batch = Batch(drawn(1, BATCH, INPUTS), drawn(2, BATCH, 2))
    z = network.layers[0](batch.inputs).detach()
    report = learner.step(batch, at("train"))
    expected = normalized_hsic(z, batch.targets, sigma_y=None)
    assert float(report.measures["nhsic_label.layer1"][0]) / BATCH == pytest.approx(float(expected), rel=1e-6)

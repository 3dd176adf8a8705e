"""What alternating minimization must keep, whatever the network: its invariants, its locality, what it refuses."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainers import fit
from trainers.algorithms.alternating_minimization import AlternatingMinimization
from trainers.algorithms.alternating_minimization_codes import CodeSettings, OutputError, code_objective, move_codes
from trainers.algorithms.alternating_minimization_layers import surrogate_derivative
from trainers.algorithms.base import Batch, Moment
from trainers.assembly import assemble
from trainers.datasets.declaration import Task
from trainers.diagnostics.angle import backprop_gradients, cosines
from trainers.errors import SpecError
from trainers.events import Event, Metrics
from trainers.loop import StopRequest
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook

CLASSES, INPUTS, SEED = 3, 6, 5
MOMENT = Moment(epoch=0, phase="train", step=0, steps=10, progress=0.0, diagnose=True)


def learner_on(
    hidden: list[int], objective: Objective | None = None, *, network: dict[str, Any] | None = None, **chosen: Any
) -> AlternatingMinimization:
    objective = objective or Objective("cross_entropy", CLASSES)
    kind = "classification" if objective.kind == "cross_entropy" else "regression"
    options = MLPOptions(**{"hidden": hidden, "activation": "tanh", "initialization": "uniform"} | (network or {}))
    net = MLP.build(options, Task(kind, (INPUTS,), objective.outputs), StreamBook(SEED)).double()
    learner = AlternatingMinimization()
    learner.setup(net, objective, AlternatingMinimization.Hyperparameters(**chosen), StreamBook(SEED))
    return learner


def batch_of(*, samples: int = 7, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, INPUTS, generator=generator, dtype=torch.float64)
    return Batch(inputs, torch.randint(CLASSES, (samples,), generator=generator))


def weights_of(learner: AlternatingMinimization) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in learner.network.named_parameters()}


HIDDEN = st.lists(st.integers(2, 6), min_size=1, max_size=4)
NETWORK = st.fixed_dictionaries(
    {"activation": st.sampled_from(["relu", "tanh", "elu"]), "batch_norm": st.booleans(), "hidden_bias": st.booleans()}
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(HIDDEN, NETWORK, st.sampled_from(["mean", "sum"]), st.sampled_from(["adam", "sgd"]))
def test_with_codes_at_their_forward_values_and_no_loss_nothing_moves(
    hidden: list[int], network: dict[str, Any], reduction: str, optimizer: str
) -> None:
    learner = learner_on(
        hidden, Objective("squared_error", 2), network=network, reduction=reduction, optimizer=optimizer
    )
    x = batch_of().inputs
    before = weights_of(learner)
    outputs = learner.network(x).detach()  # training mode, as in a step
    report = learner.step(Batch(x, outputs), MOMENT)
    assert report.details is not None
    for change in report.details["code_change"].values():
        assert change == 0
    for name, weight in weights_of(learner).items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=1e-12, msg=name)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    HIDDEN,
    NETWORK,
    st.floats(1e-3, 10),
    st.floats(1e-3, 10),
    st.sampled_from(["mean", "sum"]),
    st.sampled_from(["top", "all"]),
)
def test_with_one_code_step_layer_1_follows_backprop(
    hidden: list[int], network: dict[str, Any], mu: float, rate: float, reduction: str, mu_on: str
) -> None:
    learner = learner_on(
        hidden,
        network=network,
        mu=mu,
        code_learning_rate=rate,
        code_steps=1,
        reduction=reduction,
        mu_on=mu_on,
        optimizer="sgd",
    )
    batch = batch_of()
    gradients = backprop_gradients(learner.network, learner.objective, batch)
    report = learner.step(batch, MOMENT)
    assert report.directions is not None
    found = cosines(gradients, report.directions, {name: {} for name in gradients})
    if "layer1" in found:  # absent where all of its units were dead on the batch
        assert found["layer1"] == pytest.approx(1, abs=1e-9)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(HIDDEN, NETWORK, st.floats(0.01, 10), st.sampled_from([True, False]), st.integers(1, 4), st.integers(0, 99))
def test_small_code_steps_never_raise_the_code_objective(
    hidden: list[int], network: dict[str, Any], mu: float, mean: bool, steps: int, seed: int
) -> None:
    learner = learner_on(hidden, network=network | {"activation": "tanh"}, mu=mu)
    batch = batch_of(seed=seed)
    small = CodeSettings(
        steps=steps,
        learning_rate=1e-4 * min(mu, 1),
        momentum=0.0,
        nesterov=False,
        proximity=True,
        sparsity=0.0,
        mu_on_all=False,
        mean_over_units=mean,
    )
    with torch.no_grad():
        predictions, activated = learner._forward(batch.inputs)
        start = [each.a for each in predictions[:-1]]
        error_of = OutputError(learner.layers[-1], learner.objective, batch.targets, torch.float64)
        moved = move_codes(
            learner.layers,
            start,
            predictions,
            activated,
            error_of,
            error_of(predictions[-1]),
            mu=mu,
            settings=small,
        )

        def value(codes: list[Tensor]) -> float:
            return float(
                code_objective(
                    learner.layers,
                    codes,
                    batch.inputs,
                    objective=learner.objective,
                    targets=batch.targets,
                    mu=mu,
                    settings=small,
                )
            )

        # Code by code, top first, since each is moved with those above where they are now.
        codes, values = list(start), [value(start)]
        for l in reversed(range(len(start))):
            codes[l] = start[l] + moved[l]
            values.append(value(codes))
    for before, after in itertools.pairwise(values):
        assert after <= before + 1e-14 * abs(before)
    assert values[-1] < values[0]


def test_weight_updates_commute_bit_for_bit() -> None:
    learner = learner_on([5, 4, 6], network={"batch_norm": True}, learning_rate=0.01)
    batch = batch_of()
    one_by_one = copy.deepcopy(learner)
    learner.step(batch, MOMENT)

    # Each layer alone, from the top down and from codes alone, every other layer's weights gone.
    with torch.no_grad():
        predictions, activated = one_by_one._forward(batch.inputs)
        start = [each.a for each in predictions[:-1]]
        error_of = one_by_one._error_of(batch)
        moved = one_by_one._move_codes(start, predictions, activated, error_of, error_of(predictions[-1]), MOMENT)
        below = [batch.inputs]
        below += [
            layer.activate(code + change).h
            for layer, code, change in zip(one_by_one.layers, start, moved, strict=False)
        ]
        for l in reversed(range(len(one_by_one.layers))):
            alone = copy.deepcopy(one_by_one)
            alone_error = OutputError(alone.layers[-1], alone.objective, batch.targets, torch.float64)
            for other, layer in enumerate(alone.layers):
                if other != l:
                    for weight in layer.layer.parameters():
                        weight.fill_(torch.nan)
            code = (start[l], moved[l]) if l < len(start) else None
            prediction = predictions[0] if l == 0 else None
            _, gradients = alone.layer_gradients(l, below[l], code, alone_error, prediction)
            alone.optimizer.step_with(gradients, 0.0)
            name = alone.layers[l].name
            for key, weight in weights_of(learner).items():
                if key.startswith(name + "."):
                    assert torch.equal(weight, weights_of(alone)[key]), key


def test_a_code_step_never_looks_at_the_first_layers_weights() -> None:
    learner = learner_on([5, 4])
    batch = batch_of()
    with torch.no_grad():
        predictions, activated = learner._forward(batch.inputs)
        start = [each.a for each in predictions[:-1]]
        error_of = learner._error_of(batch)
        arguments = (start, predictions, activated, error_of, error_of(predictions[-1]), MOMENT)
        seen = learner._move_codes(*arguments)
        learner.layers[0].weight.fill_(torch.nan)
        for one, other in zip(seen, learner._move_codes(*arguments), strict=True):
            assert torch.equal(one, other)


def test_a_clipped_layer_does_not_shorten_another() -> None:
    """The norm is each layer's own: through a norm over all, layers would wait for each other."""

    def directions(**chosen: Any) -> dict[str, Tensor]:
        report = learner_on([5, 4], optimizer="sgd", **chosen).step(batch_of(), MOMENT)
        return dict(report.directions or {})

    plain = directions()
    lengths = {
        layer: float(torch.cat([plain[f"{layer}.{part}"].flatten() for part in ("weight", "bias")]).norm())
        for layer in ("layer1", "layer2", "layer3")
    }
    shortest, _, longest = sorted(lengths.values())
    limit = (shortest * longest) ** 0.5
    clipped = directions(clip_norm=limit)
    for layer, length in lengths.items():
        expected = plain[f"{layer}.weight"] * min(1.0, limit / (length + 1e-6))
        torch.testing.assert_close(clipped[f"{layer}.weight"], expected)


def test_dropped_units_stay_dropped_in_all_code_steps() -> None:
    learner = learner_on([40], network={"dropout": 0.5}, code_steps=4)
    batch = batch_of()
    with torch.no_grad():
        predictions, activated = learner._forward(batch.inputs)
        mask = learner.layers[0].mask
        assert mask is not None
        moved = learner._move_codes(
            [predictions[0].a],
            predictions,
            activated,
            learner._error_of(batch),
            learner._error_of(batch)(predictions[-1]),
            MOMENT,
        )
    assert bool((mask == 0).any())
    assert torch.equal(moved[0][mask == 0], torch.zeros_like(moved[0][mask == 0]))
    assert bool((moved[0][mask != 0] != 0).all())


@pytest.mark.parametrize("surrogate", ["tanh", "hard_tanh", "identity"])
def test_surrogates_let_codes_near_the_step_cross_it(surrogate: Any) -> None:
    c = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0])
    slope = surrogate_derivative(c, surrogate)
    assert bool((slope[1:4] > 0).all())
    assert bool((slope <= 1).all())


# -- whole runs on digits ---------------------------------------------------------------------------------------------


def digits(hyperparameters: dict[str, Any] | None = None, *, epochs: int = 2, **network: Any) -> dict[str, Any]:
    return {
        "algorithm": "alternating_minimization",
        "dataset": "digits",
        "hyperparameters": hyperparameters or {},
        "network": {"kind": "mlp", "hidden": [32, 24], "activation": "tanh"} | network,
        "training": {
            "epochs": epochs,
            "batch_size": 100,
            "seed": 3,
            "threads": 1,
            "device": "cpu",
            "diagnose_every_steps": 5,
        },
    }


@pytest.mark.parametrize(
    "network",
    [
        {"activation": "sign", "batch_norm": True},
        {"activation": "step", "batch_norm": True},
        {"activation": "tanh", "transmit": ["sign", "value"], "batch_norm": True, "dropout": 0.2},
    ],
)
def test_units_without_a_derivative_learn(network: dict[str, Any]) -> None:
    outcome = fit(digits(epochs=25, hidden=[64, 64], **network))
    frozen_first = assemble(resolve_parts(digits(hidden=[64, 64], **network))).network
    assert outcome.result is not None
    assert outcome.result["test_accuracy"] > 0.85  # chance: 0.1
    trained = outcome.parts.network.layers[0].get_parameter("weight")
    moved = (trained - frozen_first.layers[0].get_parameter("weight")).detach()
    assert float(moved.norm() / trained.detach().norm()) > 0.1  # below the steps, too


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "AM-SGD": ({"optimizer": "sgd", "reduction": "sum", "learning_rate": 0.1}, {}),
    "AM-mem": ({"weight_update": "memory"}, {}),
    "AM-mem, forgetting": ({"weight_update": "memory", "memory_forgetting": 0.1, "memory_sweeps": 3}, {}),
    "offline": ({"mode": "offline"}, {}),
    "offline AM-mem": ({"mode": "offline", "weight_update": "memory"}, {}),
    "dropout and batch norm": ({"weight_steps": 2, "mu_growth": 1e-4}, {"dropout": 0.2, "batch_norm": True}),
    "convolutions": (
        {},
        {"kind": "convnet", "convolutions": [{"filters": 4, "pool": "max"}], "hidden": [16], "activation": "relu"},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_and_goes_on_bit_for_bit(variant: str, tmp_path: Path) -> None:
    hyperparameters, network = VARIANTS[variant]
    spec = digits(hyperparameters, epochs=3, **network)
    if network.get("kind") == "convnet":
        del spec["network"]["hidden"], spec["network"]["kind"]
        spec["network"] = network
    events: list[Event] = []
    whole = fit(spec, on_event=events.append)
    accuracies = [event.values["validation_accuracy"] for event in events if isinstance(event, Metrics)]
    assert whole.result is not None
    assert max(accuracies) > 0.3  # chance: 0.1

    middle = whole.step // 2 + 1
    part = fit(spec, output=tmp_path / "part", stop=StopRequest(after_steps=middle))
    rest = fit(spec, output=tmp_path / "rest", resume=part.checkpoint)
    assert rest.result is not None
    assert rest.result["weights_sha256"] == whole.result["weights_sha256"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recurrent_network_learns_and_carries_its_state(precision: str) -> None:
    spec = {
        "algorithm": "alternating_minimization",
        "dataset": "copy",
        "hyperparameters": {"reduction": "sum", "code_learning_rate": 8.0, "code_steps": 1, "learning_rate": 0.01},
        "network": {"kind": "recurrent", "cell": "tanh", "hidden": 24},
        "training": {
            "epochs": 2,
            "batch_size": 16,
            "seed": 3,
            "threads": 1,
            "device": "cpu",
            "steps_per_epoch": 40,
            "precision": precision,
        },
    }
    losses: list[float] = []

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            losses.extend(v for name, v in event.values.items() if name == "train_loss" and v is not None)

    outcome = fit(spec, on_event=keep)
    assert outcome.result is not None
    assert losses[-1] < losses[0]
    assert outcome.parts.algorithm.carried[0].shape == (16, 24)  # type: ignore[attr-defined]


def test_diagnostics_show_how_far_codes_move_and_the_angle_to_backprop() -> None:
    outcome = fit(digits())
    assert outcome.result is not None
    rows = outcome.result["diagnostics"]["last"]["layers"]
    for row in rows[:-1]:
        assert row["details"]["code_change"] > 0
    for row in rows:
        assert row["signal_norm"] > 0
        assert row["angle_cosine"] > 0.5


@pytest.mark.parametrize("precision", ["bfloat16", "float64"])
@pytest.mark.parametrize("memory", [False, True])
def test_other_precisions_train(precision: str, memory: bool) -> None:
    spec = digits({"weight_update": "memory"}) if memory else digits(batch_norm=True)
    spec["training"]["precision"] = precision
    outcome = fit(spec)
    assert outcome.result is not None
    assert outcome.result["validation_accuracy"] > 0.3


@pytest.mark.parametrize(
    ("changes", "pointer", "says"),
    [
        ({"network": {"kind": "resnet", "depth": 8}}, "#/network/kind", "skip"),
        ({"network": {"kind": "residual_mlp"}}, "#/network/kind", "skip"),
        ({"network": {"kind": "mlp", "output_activation": "sign"}}, "#/network/output_activation", "derivative"),
        (
            {"network": {"kind": "mlp", "activation": "sigmoid", "transmit": "sample"}},
            "#/network/transmit",
            "fixed function",
        ),
        (
            {
                "network": {"kind": "mlp", "batch_norm": True},
                "hyperparameters": {"weight_update": "memory"},
            },
            "#/network/batch_norm",
            "least-squares",
        ),
        (
            {"network": {"kind": "convnet"}, "hyperparameters": {"weight_update": "memory"}},
            "#/network/kind",
            "second moments",
        ),
        (
            {"dataset": "sequential_mnist", "network": {"kind": "recurrent", "cell": "lstm"}},
            "#/network/cell",
            "gates",
        ),
        (
            {
                "dataset": "sequential_mnist",
                "network": {"kind": "recurrent", "cell": "tanh"},
                "hyperparameters": {"mode": "offline"},
            },
            "#/hyperparameters/mode",
            "time step",
        ),
    ],
)
def test_what_it_cannot_train_is_refused_with_the_reason(changes: dict[str, Any], pointer: str, says: str) -> None:
    spec = {"algorithm": "alternating_minimization", "dataset": "digits"} | changes
    with pytest.raises(SpecError) as refusal:
        resolve_parts(spec)
    assert refusal.value.errors[0].pointer == pointer
    assert says in refusal.value.errors[0].detail
    assert refusal.value.errors[0].allowed

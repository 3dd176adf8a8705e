"""Health of signals and updates: right numbers, the right words, and no trace in training."""

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from trainers import events, fit
from trainers.algorithms.backprop import Backprop, BackpropHyperparameters
from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.assembly import Parts, assemble
from trainers.checkpoint import weights_sha256
from trainers.datasets.declaration import Task
from trainers.diagnostics import Diagnosis, format_table, verdicts
from trainers.diagnostics.angle import backprop_gradients, random_cosines
from trainers.diagnostics.layers import activity, dead_shares, read
from trainers.errors import Diverged, SpecError
from trainers.loop import Run, StopRequest
from trainers.networks.activations import ACTIVATIONS
from trainers.networks.recurrent import Recurrent, RecurrentOptions
from trainers.objective import Objective
from trainers.registry import ALGORITHMS
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook


def spec(algorithm: str = "backprop", **parts: Any) -> dict[str, Any]:
    training = {"epochs": 1, "seed": 7, "batch_size": 32, "threads": 1, "device": "cpu"} | parts.pop("training", {})
    small = {"train_size": 96, "validation_size": 180}
    return {"algorithm": algorithm, "dataset": "digits", "dataset_options": small, "training": training, **parts}


def mlp(**options: Any) -> dict[str, Any]:
    return {"kind": "mlp", **options}


def parts_of(**parts: Any) -> Parts:
    return assemble(resolve_parts(spec(**parts)))


def first_batch(parts: Parts) -> Batch:
    return next(parts.data.batches(0))


class FeedbackAlignment:
    """Fixed random weights carry the error down (arXiv 1411.0247): an algorithm that is not backprop, for ReLU MLPs.

    `aligned` makes them the transposed forward weights, which is backprop by hand.
    """

    def __init__(self, parts: Parts, *, aligned: bool) -> None:
        self.network, self.objective, self.aligned = parts.network, parts.objective, aligned
        generator = torch.Generator().manual_seed(0)
        self.feedback = [
            torch.randn(layer.weight.shape, generator=generator, dtype=layer.weight.dtype)
            for layer in self.network.layers
        ]
        self.reports_directions = True

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        return ("train",)

    @torch.no_grad()
    def step(self, batch: Batch, moment: Moment) -> StepReport:
        layers = self.network.layers
        h, a = [batch.inputs.flatten(1)], []
        for layer in layers:
            a.append(layer.affine(h[-1]))
            h.append(layer.activate(a[-1]))
        signal = self.objective.error(h[-1], batch.targets) / len(h[0])
        signals, directions = {}, {}
        for l in range(len(layers) - 1, -1, -1):
            signals[layers[l].name] = signal
            directions[f"{layers[l].name}.weight"] = -(signal.T @ h[l])
            if l:
                carried = layers[l].weight if self.aligned else self.feedback[l]
                signal = (signal @ carried) * (a[l - 1] > 0)
        for name, weight in self.network.named_parameters():
            if name in directions:
                weight += 0.1 * directions[name]
        report = StepReport(self.objective.measure(h[-1], batch.targets), signals)
        report.directions = directions if self.reports_directions else None
        report.details = {"reconstruction_error": {"layer1": torch.tensor(0.5)}}
        return report


def look(parts: Parts, algorithm: Any | None = None) -> list[dict[str, Any]]:
    """The rows of one diagnosed step."""
    if algorithm is not None:
        parts.algorithm = algorithm
    diagnosis, batch, moment = Diagnosis(parts), first_batch(parts), Moment(0, "train", 0, 3, 0.0, diagnose=True)
    before = diagnosis.before(batch, step=1)
    report = parts.algorithm.step(batch, moment)
    return diagnosis.after(before, report, moment, step=1).rows


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_signal_norm_and_update_ratio_are_those_of_the_equations() -> None:
    parts = parts_of(network=mlp(hidden=[12]), hyperparameters={"optimizer": "sgd", "learning_rate": 0.5}, training={})
    batch = first_batch(parts)
    first, second = (layer.weight.detach().double() for layer in parts.network.layers)
    bias = parts.network.layers[0].bias.detach().double()
    x = batch.inputs.flatten(1).double()
    a = x @ first.T + bias
    error = parts.objective.error(a.relu() @ second.T, batch.targets) / len(x)
    delta = (error @ second) * (a > 0)
    rows = look(parts)
    assert [row["layer"] for row in rows] == ["layer1", "layer2"]
    assert rows[0]["signal_norm"] == pytest.approx(delta.norm().item() / len(x) ** 0.5, rel=1e-4)
    assert rows[1]["signal_norm"] == pytest.approx(error.norm().item() / len(x) ** 0.5, rel=1e-4)
    assert rows[0]["update_ratio"] == pytest.approx(0.5 * (delta.T @ x).norm().item() / first.norm().item(), rel=1e-4)
    assert rows[0]["activation_mean"] == pytest.approx(a.relu().mean().item(), rel=1e-4)
    assert rows[0]["activation_std"] == pytest.approx(a.relu().std(correction=0).item(), rel=1e-4)


def test_a_signal_too_small_to_be_squared_in_float32_is_still_measured() -> None:
    parts = parts_of(network=mlp(hidden=[4]))
    report = StepReport({}, {"layer1": torch.full((1, 4), 1e-30)})
    moment, diagnosis = Moment(0, "train", 0, 3, 0.0, diagnose=True), Diagnosis(parts)
    rows = diagnosis.after(diagnosis.before(first_batch(parts), step=1), report, moment, step=1).rows
    assert rows[0]["signal_norm"] == pytest.approx(2e-30, rel=1e-4)


def test_dead_units_are_those_that_are_silent_on_every_sample() -> None:
    parts = parts_of(network=mlp(hidden=[10], initialization="uniform"))
    with torch.no_grad():
        parts.network.layers[0].bias[:6] = -1e6
        parts.network.layers[0].bias[6:] = 1e6
    seen = read(activity(parts.network, first_batch(parts), ()))
    assert seen["layer1", "dead_share"] == pytest.approx(0.6)
    assert ("layer2", "dead_share") not in seen
    assert dead_shares(parts.network, parts.data.evaluation_batches("validation")) == {"layer1": pytest.approx(0.6)}


def test_the_units_of_a_convolution_are_its_channels() -> None:
    parts = parts_of(network={"kind": "convnet", "batch_norm": False})
    layer = parts.network.layers[0]
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(1.0)
        layer.bias[0] = -1.0
    seen = read(activity(parts.network, first_batch(parts), ()))
    assert seen[layer.name, "dead_share"] == pytest.approx(1 / layer.out_shape[0])


@pytest.mark.parametrize(("activation", "large"), [("tanh", 3.0), ("sigmoid", 5.0)])
def test_saturated_units_lie_beyond_095_of_the_range_on_either_side(activation: str, large: float) -> None:
    parts = parts_of(network=mlp(hidden=[10], activation=activation))
    with torch.no_grad():
        parts.network.layers[0].weight.zero_()
        parts.network.layers[0].bias.copy_(torch.tensor([large] * 3 + [-large] * 2 + [0.0] * 5))
    seen = read(activity(parts.network, first_batch(parts), ()))
    assert seen["layer1", "saturated_share"] == pytest.approx(0.5)
    assert ("layer1", "dead_share") not in seen


def test_an_algorithms_own_quantities_stand_in_its_layers_row() -> None:
    parts = parts_of(network=mlp(hidden=[8]))
    rows = look(parts, FeedbackAlignment(parts, aligned=False))
    assert rows[0]["details"] == {"reconstruction_error": 0.5}
    assert rows[1]["details"] == {}


# -- the angle to backprop --------------------------------------------------------------------------------------------


def test_backprop_by_hand_lies_along_backprop_and_feedback_alignment_does_not() -> None:
    cosines = {}
    for aligned in (True, False):
        parts = parts_of(network=mlp(hidden=[64, 64]))
        rows = look(parts, FeedbackAlignment(parts, aligned=aligned))
        cosines[aligned] = [row["angle_cosine"] for row in rows]
    assert cosines[True] == pytest.approx([1, 1, 1], abs=1e-5)
    assert cosines[False][-1] == pytest.approx(1, abs=1e-5)  # the output layer sees the true error
    assert max(map(abs, cosines[False][:-1])) < 0.7


def test_without_reported_directions_the_change_of_the_weights_is_held_against_backprop() -> None:
    parts = parts_of(network=mlp(hidden=[16]))
    algorithm = FeedbackAlignment(parts, aligned=True)
    algorithm.reports_directions = False
    assert [row["angle_cosine"] for row in look(parts, algorithm)] == pytest.approx([1, 1], abs=1e-4)


def test_the_angle_is_measured_on_the_inputs_as_the_step_sees_them() -> None:
    """Target propagation's output layer follows the gradient; held against other inputs it would not seem so."""
    parts = parts_of(
        algorithm="difference_target_propagation",
        network=mlp(hidden=[16], activation="tanh"),
        hyperparameters={"input_noise": 3.0, "feedback_schedule": "step"},
    )
    generator = parts.algorithm.streams("input noise")
    before = generator.get_state()
    parts.algorithm.as_seen(first_batch(parts))
    assert generator.get_state().equal(before)
    assert look(parts)[-1]["angle_cosine"] == pytest.approx(1, abs=1e-4)


def test_backprop_is_not_held_against_itself() -> None:
    rows = look(parts_of(network=mlp(hidden=[16])))
    assert all(row["angle_cosine"] is None and row["angle_null"] is None for row in rows)


def test_the_gradient_held_against_is_autograds() -> None:
    parts = parts_of(network=mlp(hidden=[9, 5], activation="tanh", dropout=0.5))
    batch = first_batch(parts)
    gradients = backprop_gradients(parts.network, parts.objective, batch)
    with parts.network.evaluating():
        parts.objective.loss(parts.network(batch.inputs), batch.targets).backward()
    assert list(gradients) == ["layer1", "layer2", "layer3"]
    for layer in parts.network.layers:
        assert torch.equal(gradients[layer.name][f"{layer.name}.weight"], layer.weight.grad)


def test_looking_at_the_gradient_leaves_frozen_weights_frozen_and_no_gradient_behind() -> None:
    parts = parts_of(network=mlp(hidden=[9]), hyperparameters={"trained_layers": "output"})
    before = {name: weight.requires_grad for name, weight in parts.network.named_parameters()}
    assert "layer1" in backprop_gradients(parts.network, parts.objective, first_batch(parts))
    assert {name: weight.requires_grad for name, weight in parts.network.named_parameters()} == before
    assert all(weight.grad is None for weight in parts.network.parameters())


def test_the_angle_is_blank_where_backprops_own_gradient_is_noise() -> None:
    parts = parts_of(network=mlp(hidden=[16, 16], activation="relu"))
    with torch.no_grad():
        parts.network.layers[1].weight.mul_(1e-14)
    rows = look(parts, FeedbackAlignment(parts, aligned=False))
    assert rows[0]["angle_cosine"] is None
    assert rows[0]["angle_null"] is None
    assert rows[1]["angle_cosine"] is not None


def test_sign_units_let_no_gradient_through_so_the_layers_below_have_no_angle() -> None:
    parts = parts_of(network=mlp(hidden=[16, 16], activation="tanh"))
    parts.network.layers[0].activation = ACTIVATIONS["sign"]
    gradients = backprop_gradients(parts.network, parts.objective, first_batch(parts))
    assert list(gradients) == ["layer2", "layer3"]


def test_a_random_signals_cosine_is_the_one_of_the_closed_form() -> None:
    """For a dense layer with inputs H (batch, in) and gradient G (out, in): ‖H Gᵀ‖ / (√out ‖H‖ ‖G‖)."""
    parts = parts_of(network=mlp(hidden=[200]), training={"batch_size": 96})
    batch = first_batch(parts)
    gradients = backprop_gradients(parts.network, parts.objective, batch)
    G, H = gradients["layer1"]["layer1.weight"], batch.inputs.flatten(1)
    expected = (H @ G.T).norm() / (200**0.5 * H.norm() * G.norm())
    drawn = [random_cosines(parts.network, gradients, batch, seed=1, step=step)["layer1"] for step in range(100)]
    assert torch.stack(drawn).square().mean().sqrt().item() == pytest.approx(expected.item(), rel=0.1)
    assert drawn[0] != drawn[1]
    assert drawn[0] == random_cosines(parts.network, gradients, batch, seed=1, step=0)["layer1"]


# -- no trace in training ---------------------------------------------------------------------------------------------

NETWORKS: list[dict[str, Any]] = [
    mlp(hidden=[24, 16], batch_norm=True, dropout=0.3, activation="tanh"),
    mlp(hidden=[24, 16], batch_norm=True),
    mlp(hidden=[24, 16], activation="tanh"),
    {"kind": "convnet"},
    {"kind": "residual_mlp"},
]


def _that_it_trains(algorithm: str) -> list[dict[str, Any]]:
    """Those of the networks that the algorithm accepts."""
    accepted = []
    for network in NETWORKS:
        try:
            resolve_parts(spec(algorithm, network=network))
        except SpecError:
            continue
        accepted.append(network)
    return accepted


# From the registry, so that each algorithm that comes later is held to it as well.
@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_weights_are_the_same_to_the_last_bit_with_diagnostics_on_and_off(algorithm: str) -> None:
    networks = _that_it_trains(algorithm)
    assert networks
    for network in networks:
        results = [
            fit(spec(algorithm, network=network, training={"epochs": 2, "diagnose_every_steps": every})).result
            for every in (None, 1)
        ]
        off, on = (result or {} for result in results)
        assert off["diagnostics"] is None
        assert on["diagnostics"]["diagnosed_steps"] == on["steps"]
        assert on["weights_sha256"] == off["weights_sha256"]
        assert on["test_loss"] == off["test_loss"]


def _recurrent_parts() -> Parts:
    """A tanh network that reads sequences of 20 steps of 5 numbers, 4 classes, with backprop; the data are made up."""
    task, streams = Task("sequence_classification", (5,), 4, time_steps=20), StreamBook(0)
    parts = parts_of()
    parts.network = Recurrent.build(RecurrentOptions(cell="tanh", hidden=16), task, streams)
    parts.objective = Objective("cross_entropy", 4)
    parts.algorithm = Backprop()
    parts.algorithm.setup(parts.network, parts.objective, BackpropHyperparameters(), streams)
    return parts


def test_a_recurrent_network_is_diagnosed_through_time_and_trains_the_same() -> None:
    results = []
    for diagnose in (False, True):
        run = _recurrent_parts()
        diagnosis = Diagnosis(run)
        for step in range(3):
            inputs = torch.rand(8, 20, 5, generator=torch.Generator().manual_seed(step))
            batch = Batch(inputs, torch.arange(8) % 4)
            moment = Moment(0, "train", step, 3, step / 3, diagnose=diagnose)
            before = diagnosis.before(batch, step=step + 1) if diagnose else None
            report = run.algorithm.step(batch, moment)
            if before is not None:
                rows = diagnosis.after(before, report, moment, step=step + 1).rows
        results.append(weights_sha256(run.network.state_dict()))
    assert results[0] == results[1]
    assert [row["layer"] for row in rows] == ["cell", "readout"]
    assert 0 < rows[0]["signal_through_time"] < 1  # many-to-one: the error enters at the last step
    assert rows[0]["saturated_share"] is not None
    assert rows[1]["signal_through_time"] is None


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    parts = parts_of(network=mlp(hidden=[24], dropout=0.5, batch_norm=True))
    look(parts, FeedbackAlignment(parts, aligned=False))
    assert torch.equal(torch.get_rng_state(), before)


# -- when, and what is told -------------------------------------------------------------------------------------------


def run_events(**parts: Any) -> tuple[dict[str, Any], list[events.Event]]:
    told: list[events.Event] = []
    outcome = fit(spec(**parts), on_event=told.append)
    assert outcome.result is not None
    return outcome.result, told


def of(kind: type[events.Event], told: list[events.Event]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]


def test_the_first_step_and_every_nth_are_diagnosed() -> None:
    result, told = run_events(training={"epochs": 3, "diagnose_every_steps": 4})
    assert [event.step for event in of(events.Diagnostics, told)] == [1, 5, 9]
    assert result["diagnostics"]["diagnosed_steps"] == 3
    assert (result["diagnostics"]["first"]["step"], result["diagnostics"]["last"]["step"]) == (1, 9)
    assert result["diagnostics"]["last"]["layers"] == of(events.Diagnostics, told)[-1].layers
    line = of(events.Diagnostics, told)[0].to_line()
    assert events.parse_event(line) == of(events.Diagnostics, told)[0]


def test_a_vanishing_signal_is_told_once_with_its_orders_of_magnitude_and_layers() -> None:
    deep = mlp(hidden=[32] * 12, activation="sigmoid", initialization="normal(0.1)")
    result, told = run_events(network=deep, training={"diagnose_every_steps": 1})
    norms = [row["signal_norm"] for row in of(events.Diagnostics, told)[-1].layers]
    orders = round(math.log10(norms[11] / norms[0]))
    assert orders >= 6
    sentence = f"vanishing: the signal falls {orders} orders of magnitude from layer 12 to layer 1"
    assert result["diagnostics"]["verdict"] == sentence
    (finding,) = of(events.Finding, told)
    assert finding.code == "vanishing"
    assert finding.step == 1
    assert "layer 12 to layer 1 in epoch 1. ReLU" in finding.sentence


def test_a_dead_layer_is_told_after_a_look_at_the_whole_evaluation_set() -> None:
    rate = {"optimizer": "sgd", "learning_rate": 30.0}
    result, told = run_events(
        network=mlp(hidden=[32, 32]), hyperparameters=rate, training={"epochs": 3, "diagnose_every_steps": 1}
    )
    findings = [finding for finding in of(events.Finding, told) if finding.code == "dead"]
    assert len(findings) == 1
    assert " % of units of layer " in findings[0].sentence
    assert "output 0 on the whole evaluation set in epoch" in findings[0].sentence
    assert "output 0 on the whole evaluation set" in result["diagnostics"]["verdict"]


def test_units_that_are_silent_on_a_batch_alone_are_not_called_dead() -> None:
    """With one sample a batch, about half of all ReLU units output 0 on the whole batch."""
    parts = {"network": mlp(hidden=[200]), "training": {"batch_size": 1, "diagnose_every_steps": 1}}
    result, told = run_events(**parts)
    assert max(row["dead_share"] or 0 for event in of(events.Diagnostics, told) for row in event.layers) > 0.5
    assert not of(events.Finding, told)
    assert result["diagnostics"]["codes"] == ["healthy"]


def test_a_saturated_layer_is_told_with_its_share() -> None:
    result, told = run_events(network=mlp(hidden=[32, 32], activation="tanh", initialization="normal(3)"))
    (finding,) = of(events.Finding, told)
    share = max(row["saturated_share"] or 0 for row in of(events.Diagnostics, told)[0].layers)
    assert finding.sentence.startswith(f"Saturated: {round(100 * share)} % of units of layer ")
    assert "in epoch 1" in finding.sentence
    assert result["diagnostics"]["codes"] == ["saturated"]


def test_a_sound_network_is_healthy_and_nothing_is_told() -> None:
    result, told = run_events(network=mlp(hidden=[64, 64]))
    assert result["diagnostics"]["verdict"].startswith("healthy: the signal stays within a factor of ")
    assert not of(events.Finding, told)


def row(layer: str, signal: float | None = None, **values: float) -> dict[str, Any]:
    return {"layer": layer, "signal_norm": signal, **values}


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        (
            [row("layer1", 3e-11), row("layer2", 1e-6), row("layer3", 3e-2), row("layer4", 1.0)],
            ["vanishing: the signal falls 9 orders of magnitude from layer 3 to layer 1"],
        ),
        ([row("a", 0.0), row("b", 0.0), row("c", 1.0), row("out", 1.0)], ["vanishing: no signal at all reaches a, b"]),
        (
            [row("layer1", 1e6), row("layer2", 1e2), row("layer3", 1.0), row("layer4", 1.0)],
            ["exploding: the signal grows 6 orders of magnitude from layer 3 to layer 1"],
        ),
        (
            [row("cell", 1.0, signal_through_time=1e-7), row("readout", 1.0)],
            ["vanishing: the signal of cell falls 7 orders of magnitude from the last time step to the first"],
        ),
        (
            [row("layer1", 1.0, update_ratio=40.0), row("layer2", 1.0)],
            ["exploding: one step changed the weights of layer 1 by 40 times their norm"],
        ),
        (
            [row("layer1", 1.0, dead_share=0.63), row("layer2", 1.0)],
            ["dead: 63 % of units of layer 1 output 0 on the whole batch"],
        ),
        (
            [row("layer1", 1.0, saturated_share=0.2), row("layer2", 1.0, saturated_share=0.996), row("layer3", 1.0)],
            ["saturated: 99 % of units of layer 2 are saturated"],
        ),
        ([row("layer1"), row("layer2")], []),
    ],
)
def test_the_verdict_says_what_the_rows_hold(rows: list[dict[str, Any]], sentences: list[str]) -> None:
    assert [verdict.sentence for verdict in verdicts(rows)] == sentences


def test_the_table_shows_the_top_layer_first_and_leaves_blanks() -> None:
    rows = [row("layer1", 2e-9, dead_share=0.25), row("layer2", 0.5, angle_cosine=0.8, angle_null=0.01)]
    console = Console(width=120, file=io.StringIO())
    console.print(format_table(rows))
    header, top, bottom, *caption = console.file.getvalue().splitlines()
    assert header.split() == [
        *("layer", "signal", "update/weight", "dead", "saturated", "mean", "std"),
        *("cosine", "random"),
    ]
    assert " ".join(caption).startswith("cosine: of the layer's direction to backprop's")
    assert top.split()[:2] == ["layer2", "5.00e-01"]
    assert "+0.800" in top
    assert bottom.split() == ["layer1", "2.00e-09", "–", "25%", "–", "–", "–", "–", "–"]


# -- a run that was resumed -------------------------------------------------------------------------------------------


def test_a_resumed_run_tells_nothing_twice_and_ends_with_the_same_summary(tmp_path: Path) -> None:
    deep = spec(network=mlp(hidden=[32] * 12, activation="sigmoid"), training={"epochs": 3, "diagnose_every_steps": 2})
    whole = fit(deep).result
    stopped = fit(deep, output=tmp_path, stop=StopRequest(after_steps=4))
    told: list[events.Event] = []
    resumed = fit(deep, output=tmp_path, resume=stopped.checkpoint, on_event=told.append).result
    assert whole is not None
    assert resumed is not None
    assert resumed["diagnostics"] == whole["diagnostics"]
    assert len(whole["diagnostics"]["findings"]) == 1
    assert not of(events.Finding, told)


def test_a_pass_without_signals_does_not_hide_one_that_has_them() -> None:
    result, told = run_events(
        algorithm="difference_target_propagation",
        network=mlp(hidden=[16, 16], activation="tanh"),
        training={"epochs": 2, "diagnose_every_steps": 1},
    )
    diagnosed = of(events.Diagnostics, told)
    silent = [event for event in diagnosed if event.layers[0]["signal_norm"] is None]
    assert silent
    assert silent[0] == diagnosed[0]
    for table in (result["diagnostics"]["first"], result["diagnostics"]["last"]):
        assert table["phase"] == "weights"
        assert table["layers"][0]["signal_norm"] is not None


# -- runs that diverge ------------------------------------------------------------------------------------------------

SGD = {"optimizer": "sgd", "learning_rate": 0.01}


def test_an_exploding_deep_linear_network_ends_as_diverged_with_step_layer_and_quantity() -> None:
    deep = mlp(hidden=[64] * 60, activation="identity", initialization="normal(1)")
    with pytest.raises(Diverged) as caught:
        fit(spec(network=deep, hyperparameters=SGD))
    assert caught.value.step == 1
    assert caught.value.quantity == "pre-activations"
    # Each layer multiplies the norm by √64 = 8; float32 ends at 3e38, so about 42 layers up.
    assert caught.value.layer is not None
    assert int(caught.value.layer.removeprefix("layer")) == pytest.approx(43, abs=2)
    assert f"the pre-activations of {caught.value.layer} stopped being finite at step 1" in str(caught.value)


@pytest.mark.parametrize("diagnose_every_steps", [1, 5, None])
def test_a_huge_learning_rate_ends_as_diverged_at_the_same_place_whenever_it_is_looked_at(
    diagnose_every_steps: int | None,
) -> None:
    with pytest.raises(Diverged) as caught:
        fit(
            spec(
                network=mlp(hidden=[32] * 3, activation="leaky_relu"),
                hyperparameters={"optimizer": "sgd", "learning_rate": 1000.0},
                training={"epochs": 4, "diagnose_every_steps": diagnose_every_steps},
            )
        )
    assert (caught.value.step, caught.value.layer, caught.value.quantity) == _first_that_is_not_finite()


def _first_that_is_not_finite() -> tuple[int, str, str]:
    """The same run by hand, in plain PyTorch: step, layer, quantity."""
    parts = parts_of(network=mlp(hidden=[32] * 3, activation="leaky_relu"))
    weights = list(parts.network.parameters())
    step = 0
    for epoch in range(4):
        for batch in parts.data.batches(epoch):
            step += 1
            h = batch.inputs
            for layer in parts.network.layers:
                a = layer.affine(h)
                if not a.isfinite().all():
                    return step, layer.name, "pre-activations"
                h = layer.activate(a)
            loss = parts.objective.loss(h, batch.targets)
            if not math.isfinite(loss.item()):
                return step, layer.name, "training loss at the outputs"
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.data -= 1000.0 * gradient
    raise AssertionError("the run by hand did not diverge")


def test_weights_that_turn_bad_in_the_last_step_of_an_epoch_are_found_by_the_evaluation() -> None:
    """One step an epoch, and its loss is finite: only what it leaves behind is not."""
    huge = {"optimizer": "sgd", "learning_rate": 1000.0}
    network = mlp(hidden=[32] * 40, initialization="normal(0.6)", activation="identity")
    with pytest.raises(Diverged) as caught:
        fit(spec(network=network, hyperparameters=huge, training={"batch_size": 96}))
    assert caught.value.step == 1
    assert caught.value.layer is not None
    assert caught.value.quantity in ("weights", "pre-activations on the validation split")


def test_a_run_that_diverged_and_is_told_to_stop_saves_no_bad_checkpoint(tmp_path: Path) -> None:
    deep = mlp(hidden=[64] * 60, activation="identity", initialization="normal(1)")
    with pytest.raises(Diverged):
        fit(
            spec(network=deep, hyperparameters=SGD, training={"diagnose_every_steps": None}),
            output=tmp_path,
            stop=StopRequest(after_steps=2),
        )
    assert not list(tmp_path.iterdir())


def test_clipping_cures_a_run_that_diverges_without() -> None:
    network = mlp(hidden=[32] * 3, activation="leaky_relu")
    rate = {"optimizer": "sgd", "learning_rate": 1000.0}
    outcome = fit(spec(network=network, hyperparameters=rate | {"clip_norm": 1e-4}, training={"epochs": 4}))
    assert outcome.result is not None
    assert math.isfinite(outcome.result["test_loss"])


# -- any algorithm through the loop -----------------------------------------------------------------------------------


def test_the_loop_diagnoses_any_algorithm_beside_a_random_signal() -> None:
    parts = parts_of(network=mlp(hidden=[64, 64]), training={"diagnose_every_steps": 1})
    algorithm = FeedbackAlignment(parts, aligned=False)
    algorithm.predict = lambda inputs: parts.network(inputs)  # type: ignore[attr-defined]
    algorithm.state_dict = dict  # type: ignore[attr-defined]
    parts.algorithm = algorithm  # type: ignore[assignment]
    told: list[events.Event] = []
    outcome = Run(parts, on_event=told.append).go()
    assert outcome.result is not None
    for event in of(events.Diagnostics, told):
        for each in event.layers:
            assert -1 <= each["angle_cosine"] <= 1.0001
            assert 0 < each["angle_null"] < 1


def test_a_cosine_of_vanishing_numbers_is_no_nan() -> None:
    from trainers.diagnostics.angle import cosines

    tiny: dict[str, Tensor] = {"w": torch.full((3, 3), 1e-30)}
    found = cosines({"layer": {"w": torch.full((3, 3), 1e-25)}}, tiny, {})
    assert found["layer"].item() == pytest.approx(-1)

"""Two networks at different rates: predicted gradients at three borders, against backpropagation and the equations."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import fit
from trainers.algorithms.base import Batch, Moment
from trainers.algorithms.synthetic_gradients import SyntheticGradients
from trainers.algorithms.synthetic_gradients_hyperparameters import BORDERS, SyntheticGradientsHyperparameters
from trainers.algorithms.synthetic_gradients_two_networks import TwoNetworkInterfaces
from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.events import Event, Metrics
from trainers.loop import StopRequest
from trainers.networks.recurrence import CellName, State
from trainers.networks.two_networks import TwoNetworks, TwoNetworksOptions
from trainers.objective import Objective
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook

T, PIXELS, SAMPLES, MESSAGE, HIDDEN = 2, 5, 4, 3, 4
HEADS = {"odd": T + 1, "threes": T * T + 1}
TASK = Task("digit_counting", (PIXELS,), sum(HEADS.values()), time_steps=T, heads=HEADS, ticks=T)
SPEC: dict[str, Any] = {
    "algorithm": "synthetic_gradients",
    "dataset": "digit_counting",
    "dataset_options": {"images": "digits", "ticks": 3, "evaluation_streams": 20},
    "network": {"kind": "two_networks", "features": [16], "hidden": 12, "message": 6},
    "training": {"epochs": 2, "batch_size": 8, "seed": 3, "threads": 1, "steps_per_epoch": 7, "device": "cpu"},
}


def learner(cell: CellName = "lstm", **hyperparameters: Any) -> SyntheticGradients:
    options = TwoNetworksOptions(features=[6], cell=cell, hidden=HIDDEN, message=MESSAGE)
    network = TwoNetworks.build(options, TASK, StreamBook(1)).double()
    given = {"optimizer": "sgd", "learning_rate": 0.1, "synthesizer_learning_rate": 0.1, "applied_scale": 1.0}
    algorithm = SyntheticGradients()
    algorithm.setup(
        network,
        Objective("counts", TASK.outputs, heads=tuple(HEADS.items())),
        SyntheticGradientsHyperparameters.model_validate(given | {"borders": list(BORDERS)} | hyperparameters),
        StreamBook(1),
    )
    return algorithm


def networks_of(algorithm: SyntheticGradients) -> TwoNetworks:
    assert isinstance(algorithm.network, TwoNetworks)
    return algorithm.network


def synthesizers_of(algorithm: SyntheticGradients) -> dict[str, Any]:
    assert isinstance(algorithm.recurrent, TwoNetworkInterfaces)
    return algorithm.recurrent.synthesizers


def stream(messages: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, messages * T, PIXELS, generator=generator, dtype=torch.float64)
    targets = [torch.randint(classes, (SAMPLES, messages), generator=generator) for classes in HEADS.values()]
    return inputs, torch.stack(targets, dim=-1)


def chunk(inputs: Tensor, targets: Tensor, first: int, last: int, *, starts: bool) -> Batch:
    """The stretch from message `first` to before message `last`."""
    return Batch(inputs[:, first * T : last * T], targets[:, first:last], starts=starts)


def moment(step: int = 0, *, diagnose: bool = True) -> Moment:
    return Moment(0, "train", step, 10, 0.0, diagnose)


class Oracle(torch.nn.Module):
    """Knows the true gradient at a border of each sample's own losses, summed over its ticks from `now` on."""

    def __init__(self, at: str, algorithm: SyntheticGradients, inputs: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.at, self.algorithm, self.inputs, self.targets = at, algorithm, inputs, targets
        self.before: State = ()
        self.first, self.last = 0, 0

    def sees(self, state: State, first: int, last: int) -> None:
        """The chunk that is about to run, from message `first` to before `last`, and the state of both before it."""
        self.before, self.first, self.last = state, first, last

    def predict(self, rows: Tensor, condition: Tensor | None) -> Tensor:
        network, ticks = networks_of(self.algorithm), self.targets.shape[1]
        of_a, of_b = network.split_state(self.before)
        own = self.inputs[:, self.first * T : self.last * T]
        with torch.enable_grad():
            _, message, after_a = network.run_a(own, of_a)
            message, after_a = message.detach().requires_grad_(True), leaves(after_a)
            threes, after_b = network.run_b(message, of_b)
            if self.at != "a.message":
                after_b = leaves(after_b)
            outputs = [threes.new_zeros(SAMPLES, self.last - self.first, TASK.outputs)]
            outputs[0][..., HEADS["odd"] :] = threes
            if self.last < ticks:
                outputs.append(network.run(self.inputs[:, self.last * T :], (*after_a, *after_b))[0])
            counted = self.targets[:, self.first :]
            loss = self.algorithm.objective.loss(torch.cat(outputs, dim=1), counted) * counted[..., 0].numel()
        sources = {"a.message": (message,), "a.cell": after_a, "b.cell": after_b}[self.at]
        found = torch.autograd.grad(loss, sources, allow_unused=True)
        known = [torch.zeros_like(s) if g is None else g for s, g in zip(sources, found, strict=True)]
        self.prediction = torch.cat([each.flatten(0, -2) for each in known], dim=-1)
        return self.prediction

    def gradients(self, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.checked = target
        return target.sum() * 0, {}


def leaves(state: State) -> State:
    return tuple(each.detach().requires_grad_(True) for each in state)


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
@pytest.mark.parametrize("borders", [(0, 1, 2, 3), (0, 2, 3)], ids=["a message a step", "two messages in the first"])
def test_with_the_true_gradients_chunks_add_up_to_backpropagation_through_both(
    cell: CellName, borders: tuple[int, ...]
) -> None:
    algorithm = learner(cell)
    network = networks_of(algorithm)
    inputs, targets = stream(borders[-1])
    weights = dict(network.named_parameters())
    loss = algorithm.objective.loss(network.run(inputs, None)[0], targets) * borders[-1]
    whole = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    standing = {name: value.clone() for name, value in network.state_dict().items()}
    oracles = {at: Oracle(at, algorithm, inputs, targets) for at in BORDERS}
    synthesizers_of(algorithm).update(oracles)

    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for step, (first, last) in enumerate(pairwise(borders)):
        network.load_state_dict(standing)  # the whole stream's gradient is by weights that stand still
        applied = {at: oracle.prediction for at, oracle in oracles.items() if step}
        with torch.no_grad():
            state = network.run(inputs[:, : first * T], None)[1] if first else network.zero_state(SAMPLES)
        for oracle in oracles.values():
            oracle.sees(state, first, last)
        report = algorithm.step(chunk(inputs, targets, first, last, starts=step == 0), moment(step))
        assert report.directions is not None
        for name, direction in report.directions.items():
            total[name] -= direction * (last - first)
        torch.testing.assert_close(
            oracles["a.message"].checked, oracles["a.message"].prediction, rtol=1e-12, atol=1e-14
        )
        for at in ("a.cell", "b.cell"):
            if step:  # what this chunk sends back is what was predicted at the end of the one before
                torch.testing.assert_close(oracles[at].checked, applied[at], rtol=1e-12, atol=1e-14)

    for name, gradient in whole.items():
        torch.testing.assert_close(total[name], gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("applied_scale", "conditioned"), [(1.0, False), (0.3, False), (0.3, True)], ids=["DNI", "discounted", "cDNI"]
)
def test_steps_are_those_of_the_equations(applied_scale: float, conditioned: bool) -> None:
    """Tick by tick, a graph for A and one for B, three chunks and the start of another stream."""
    rate = 0.05
    algorithm = learner(
        learning_rate=rate, synthesizer_learning_rate=rate, applied_scale=applied_scale, conditioned=conditioned
    )
    network = networks_of(algorithm)
    layer, a_cell, odd_readout, sender, b_cell, threes_readout = (each.twin() for each in network.layers)
    widths = {"a.cell": 2 * HIDDEN, "a.message": MESSAGE, "b.cell": 2 * HIDDEN}
    models = {
        at: [
            torch.zeros(width, width + HEADS["threes"] * (conditioned and at == "a.message")).double(),
            torch.zeros(width).double(),
        ]
        for at, width in widths.items()
    }
    for each in (weight for model in models.values() for weight in model):
        each.requires_grad_(True)

    def predicted(at: str, rows: Tensor, asked: Tensor) -> Tensor:
        if conditioned and at == "a.message":
            rows = torch.cat([rows, torch.nn.functional.one_hot(asked, HEADS["threes"]).double()], dim=1)
        return rows @ models[at][0].t() + models[at][1]

    def cross_entropy(outputs: Tensor, column: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs, column, reduction="sum")

    carried: dict[str, Tensor] = {}
    for number, starts in enumerate([True, False, False, True]):
        inputs, targets = stream(1, seed=number)
        algorithm.step(Batch(inputs, targets, starts=starts), moment(number))

        first = {
            at: (torch.zeros(SAMPLES, 2 * HIDDEN).double() if starts else carried[at]).requires_grad_(True)
            for at in ("a.cell", "b.cell")
        }
        state = tuple(first["a.cell"].split(HIDDEN, dim=1))
        for t in range(T):
            state = a_cell.advance(a_cell.affine(layer(inputs[:, t]), state), state)
        after = {"a.cell": torch.cat(state, dim=1)}
        message = sender(state[0])
        of_a = [*layer.parameters(), *a_cell.parameters(), *odd_readout.parameters(), *sender.parameters()]
        total = cross_entropy(odd_readout(state[0]), targets[:, 0, 0])
        asked = targets[:, 0, 1]
        for at, border, scale in (("a.cell", after["a.cell"], applied_scale), ("a.message", message, 1.0)):
            total = total + scale * (predicted(at, border, asked).detach() * border).sum()
        *gradients_a, sent_a = torch.autograd.grad(total, [*of_a, first["a.cell"]])

        arrived = message.detach().requires_grad_(True)
        state = tuple(first["b.cell"].split(HIDDEN, dim=1))
        state = b_cell.advance(b_cell.affine(arrived, state), state)
        after["b.cell"] = torch.cat(state, dim=1)
        of_b = [*b_cell.parameters(), *threes_readout.parameters()]
        total = cross_entropy(threes_readout(state[0]), asked)
        ahead = predicted("b.cell", after["b.cell"], asked).detach()
        total = total + applied_scale * (ahead * after["b.cell"]).sum()
        *gradients_b, sent_b, answer = torch.autograd.grad(total, [*of_b, first["b.cell"], arrived])

        lessons = [("a.message", arrived, answer)]
        for at, sent in (("a.cell", sent_a), ("b.cell", sent_b)):
            if number:
                lessons.append((at, carried[at], torch.zeros_like(sent) if starts else sent))
        for at, rows, target in lessons:
            distance = (predicted(at, rows.detach(), asked) - target).square().sum() / SAMPLES
            move(models[at], torch.autograd.grad(distance, models[at]), rate)
        move(of_a, [gradient / SAMPLES for gradient in gradients_a], rate)
        move(of_b, [gradient / SAMPLES for gradient in gradients_b], rate)
        carried = {at: each.detach() for at, each in after.items()}

    for twin, ours in zip((layer, a_cell, odd_readout, sender, b_cell, threes_readout), network.layers, strict=True):
        for name, weight in twin.named_parameters():
            torch.testing.assert_close(ours.get_parameter(name), weight, rtol=1e-9, atol=1e-12)
    for at, (weight, bias) in models.items():
        model = synthesizers_of(algorithm)[at]
        parts = [model.weight] if model.condition_weight is None else [model.weight, model.condition_weight.t()]
        torch.testing.assert_close(torch.cat(parts, dim=1), weight, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(model.bias, bias, rtol=1e-9, atol=1e-12)
        assert weight.abs().max() > 0, at


def move(weights: Any, gradients: Any, rate: float) -> None:
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight -= rate * gradient


def test_without_a_border_at_the_message_nothing_of_bs_task_reaches_a() -> None:
    moved = []
    for changed in (False, True):
        algorithm = learner(borders=["a.cell", "b.cell"])
        inputs, targets = stream(3)
        if changed:
            targets[..., 1] = (targets[..., 1] + 1) % HEADS["threes"]
        for step in range(3):
            algorithm.step(chunk(inputs, targets, step, step + 1, starts=step == 0), moment(step))
        moved.append({name: value.clone() for name, value in algorithm.network.state_dict().items()})
    for name, value in moved[0].items():
        # The message is learned for B alone: without its gradient it stays as it was.
        assert torch.equal(value, moved[1][name]) == name.startswith("a."), name


def test_without_any_border_it_is_backpropagation_truncated_at_the_chunk_and_the_message() -> None:
    algorithm = learner(borders=[])
    network = networks_of(algorithm)
    inputs, targets = stream(1)
    odd, message, _ = network.run_a(inputs, network.split_state(network.zero_state(SAMPLES))[0])
    threes, _ = network.run_b(message.detach(), network.split_state(network.zero_state(SAMPLES))[1])
    loss = algorithm.objective.loss(torch.cat([odd, threes], dim=-1), targets)
    weights = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    report = algorithm.step(Batch(inputs, targets), moment())
    assert report.directions is not None
    assert report.signals is not None
    for name, gradient in zip(weights, found, strict=True):
        assert (gradient is None) == name.startswith("a.message")
        if gradient is not None:
            torch.testing.assert_close(report.directions[name], -gradient, rtol=1e-12, atol=1e-14)
    assert "a.message" not in report.signals


def test_a_updates_before_b_has_run() -> None:
    """Whatever B's weights are, A's update of the same step is the same: it needs nothing from B but old answers."""
    moved = []
    for scrambled in (False, True):
        algorithm = learner()
        inputs, targets = stream(4)
        for step in range(3):
            algorithm.step(chunk(inputs, targets, step, step + 1, starts=step == 0), moment(step))
        if scrambled:
            with torch.no_grad():
                networks_of(algorithm).cells[1].weight.normal_(generator=torch.Generator().manual_seed(5))
        algorithm.step(chunk(inputs, targets, 3, 4, starts=False), moment(3))
        moved.append({name: value.clone() for name, value in algorithm.network.state_dict().items()})
    for name, value in moved[0].items():
        assert torch.equal(value, moved[1][name]) == name.startswith("a."), name


def test_clipping_is_of_each_network_by_itself() -> None:
    algorithm = learner(clip_norm=1e-3)
    report = algorithm.step(Batch(*stream(1)), moment())
    assert report.directions is not None
    for part in ("a.", "b."):
        own = [each.norm() for name, each in report.directions.items() if name.startswith(part)]
        assert float(torch.stack(own).norm()) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "messages"),
    [
        ("synthetic_gradients", {}, 1),
        ("synthetic_gradients", {"borders": []}, 1),
        ("synthetic_gradients", {"synthesizer_layers": 1, "synthesizer_width": 8, "borders": ["a.message"]}, 2),
        ("backprop", {}, 3),
    ],
)
def test_a_stopped_run_goes_on_bit_for_bit(
    algorithm: str, hyperparameters: dict[str, Any], messages: int, tmp_path: Path
) -> None:
    spec = SPEC | {"algorithm": algorithm, "hyperparameters": hyperparameters}
    spec["dataset_options"] = spec["dataset_options"] | {"messages": messages}
    events: list[Event] = []
    whole = fit(spec, on_event=events.append, output=tmp_path / "whole")
    part = fit(spec, output=tmp_path / "part", stop=StopRequest(after_steps=10))  # within a stream
    rest = fit(spec, output=tmp_path / "rest", resume=part.checkpoint)
    assert whole.result is not None
    assert rest.result is not None
    assert rest.result["weights_sha256"] == whole.result["weights_sha256"]
    values = next(event.values for event in events if isinstance(event, Metrics))
    assert {"test_odd_accuracy", "test_threes_accuracy", "test_threes_counting_error"} <= values.keys()


@pytest.mark.parametrize("every", [None, 1])
def test_diagnostics_name_the_layers_of_both_and_change_nothing(every: int | None) -> None:
    spec = SPEC | {"training": SPEC["training"] | {"diagnose_every_steps": every}}
    result, plain = (fit(each).result for each in (spec, SPEC))
    assert result is not None
    assert plain is not None
    assert result["weights_sha256"] == plain["weights_sha256"]
    if every:
        rows = {row["layer"]: row for row in result["diagnostics"]["last"]["layers"]}
        assert list(rows) == ["a.layer1", "a.cell", "a.readout", "a.message", "b.cell", "b.readout"]
        assert all(row["signal_norm"] > 0 for row in rows.values())
        for at in BORDERS:
            assert rows[at]["details"]["synthesizer_cosine"] is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [("interfaces", [1]), ("unlock", "full"), ("update_probability", 0.5), ("auxiliary", True)],
)
def test_what_has_no_meaning_between_two_networks_is_refused(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as refusal:
        resolve_parts(SPEC | {"hyperparameters": {field: value}})
    assert refusal.value.errors[0].pointer == f"#/hyperparameters/{field}"


def test_borders_are_of_two_networks_alone() -> None:
    spec = {"algorithm": "synthetic_gradients", "dataset": "digits", "hyperparameters": {"borders": ["b.cell"]}}
    with pytest.raises(SpecError) as refusal:
        resolve_parts(spec)
    assert refusal.value.errors[0].pointer == "#/hyperparameters/borders"


def test_all_borders_are_bridged_unless_said_otherwise() -> None:
    filled = resolve_parts(SPEC).spec.hyperparameters
    assert filled["borders"] == list(BORDERS)
    assert filled["applied_scale"] == 0.1
    assert filled["conditioned"] is True
    some = resolve_parts(SPEC | {"hyperparameters": {"borders": ["b.cell", "a.cell"]}}).spec.hyperparameters
    assert some["borders"] == ["a.cell", "b.cell"]

"""Decoupled neural interfaces through time: the border between two chunks of a sequence."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import fit
from trainers.algorithms.base import Batch, Moment
from trainers.algorithms.synthetic_gradients import SyntheticGradients
from trainers.algorithms.synthetic_gradients_hyperparameters import SyntheticGradientsHyperparameters
from trainers.algorithms.synthetic_gradients_models import LinearSynthesizer
from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.loop import StopRequest
from trainers.networks.recurrent import Recurrent, RecurrentOptions
from trainers.objective import Objective
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook

SAMPLES, T, FEATURES, BITS = 4, 3, 5, 2
TASK = Task("sequence_bits", (FEATURES,), BITS)
CELLS = pytest.mark.parametrize(
    ("cell", "layers"), [("tanh", 1), ("gru", 1), ("lstm", 1), ("lstm", 2)], ids=["tanh", "gru", "lstm", "two lstm"]
)
SPEC: dict[str, Any] = {
    "algorithm": "synthetic_gradients",
    "dataset": "repeat_copy",
    "dataset_options": {"chunk_length": 3, "evaluation_sequences": 10},
    "network": {"kind": "recurrent", "hidden": 12},
    "training": {"epochs": 2, "batch_size": 8, "seed": 3, "threads": 1, "steps_per_epoch": 11},
}


def learner(cell: str, layers: int = 1, **hyperparameters: Any) -> SyntheticGradients:
    options = RecurrentOptions.model_validate({"cell": cell, "layers": layers, "hidden": 6})
    network = Recurrent.build(options, TASK, StreamBook(1)).double()
    given = {"optimizer": "sgd", "learning_rate": 0.1, "synthesizer_learning_rate": 0.1, "applied_scale": 1.0}
    algorithm = SyntheticGradients()
    algorithm.setup(
        network,
        Objective("binary_cross_entropy", BITS),
        SyntheticGradientsHyperparameters.model_validate(given | {"conditioned": False} | hyperparameters),
        StreamBook(1),
    )
    return algorithm


def sequence(steps: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, steps, FEATURES, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(2, (SAMPLES, steps, BITS), generator=generator).double()


def moment(step: int = 0) -> Moment:
    return Moment(0, "train", step, 10, 0.0, diagnose=True)


class Oracle(torch.nn.Module):
    """Knows what the chunks to come send back: (inputs, targets) of the rest of the sequence."""

    def __init__(self, algorithm: SyntheticGradients, rest: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.algorithm, self.rest = algorithm, rest

    def predict(self, state: Tensor, condition: Tensor | None) -> Tensor:
        inputs, targets = self.rest
        network = self.algorithm.network
        assert isinstance(network, Recurrent)
        self.prediction = torch.zeros_like(state)
        if inputs.shape[1]:
            leaf = state.detach().requires_grad_(True)
            widths = [shape[0] for shape in network.state_shapes]
            with torch.enable_grad():
                outputs, _ = network.run(inputs, tuple(leaf.split(widths, dim=1)))
                loss = self.algorithm.objective.loss(outputs, targets) * SAMPLES * inputs.shape[1]
            self.prediction = torch.autograd.grad(loss, leaf)[0]
        return self.prediction

    def gradients(self, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.checked = target
        return target.sum() * 0, {}


@CELLS
@pytest.mark.parametrize("second", [T, T - 1], ids=["equal chunks", "a shorter last chunk"])
def test_with_the_true_gradient_chunks_add_up_to_the_whole_sequence(cell: str, layers: int, second: int) -> None:
    algorithm = learner(cell, layers)
    network = algorithm.network
    assert isinstance(network, Recurrent)
    inputs, targets = sequence(T + second)
    steps = T + second
    loss = algorithm.objective.loss(network.run(inputs, None)[0], targets) * steps
    weights = dict(network.named_parameters())
    whole = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    before = {name: value.clone() for name, value in network.state_dict().items()}

    assert algorithm.recurrent is not None
    oracle = Oracle(algorithm, (inputs[:, T:], targets[:, T:]))
    algorithm.recurrent.synthesizer = oracle  # type: ignore[assignment]
    first = algorithm.step(Batch(inputs[:, :T], targets[:, :T], starts=True), moment())
    applied = oracle.prediction
    network.load_state_dict(before)  # the whole sequence's gradient is by weights that stand still
    oracle.rest = (inputs[:, steps:], targets[:, steps:])
    last = algorithm.step(Batch(inputs[:, T:], targets[:, T:], starts=False), moment(1))

    torch.testing.assert_close(oracle.checked, applied, rtol=1e-12, atol=1e-14)
    assert first.directions is not None
    assert last.directions is not None
    for name, gradient in whole.items():
        found = -(T * first.directions[name] + second * last.directions[name])
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-14)


@CELLS
def test_a_new_synthesizer_is_truncated_backpropagation(cell: str, layers: int) -> None:
    algorithm = learner(cell, layers)
    inputs, targets = sequence(T)
    network = algorithm.network
    loss = algorithm.objective.loss(network(inputs), targets)
    weights = dict(network.named_parameters())
    truncated = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    report = algorithm.step(Batch(inputs, targets), moment())
    assert report.directions is not None
    for name, gradient in truncated.items():
        torch.testing.assert_close(report.directions[name], -gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("auxiliary", [False, True], ids=["DNI", "DNI + Aux"])
@pytest.mark.parametrize("applied_scale", [1.0, 0.1])
def test_steps_are_those_of_the_equations(auxiliary: bool, applied_scale: float) -> None:
    """Single steps of the cell, one graph a chunk, four chunks and the start of another sequence."""
    rate = 0.05
    algorithm = learner(
        "lstm",
        learning_rate=rate,
        synthesizer_learning_rate=rate,
        auxiliary=auxiliary,
        auxiliary_weight=0.7,
        applied_scale=applied_scale,
    )
    network = algorithm.network
    assert isinstance(network, Recurrent)
    cell, readout = network.cells[0].twin(), network.readout.twin()
    M, A = ([torch.zeros(12, 12).double(), torch.zeros(12).double()] for _ in range(2))
    for each in (*M, *A):
        each.requires_grad_(True)
    weights = [*cell.parameters(), *readout.parameters()]

    def linear(state: Tensor, model: list[Tensor]) -> Tensor:
        return state @ model[0].t() + model[1]

    def last_state(first: Tensor, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """After a chunk, joined, and what was read out at its steps."""
        state, read = tuple(first.split(6, dim=1)), []
        for t in range(T):
            state = cell.advance(cell.affine(inputs[:, t], state), state)
            read.append(readout(state[0]))
        return torch.cat(state, dim=1), read

    carried = torch.zeros(SAMPLES, 12).double()
    chunk_before = (carried, carried)
    for number, starts in enumerate([True, False, False, False, True]):
        inputs, targets = sequence(T, seed=number)
        algorithm.step(Batch(inputs, targets, starts=starts), moment(number))

        ended = carried if starts and number else None
        first = (torch.zeros_like(carried) if starts else carried).requires_grad_(True)
        after, read = last_state(first, inputs)
        losses = [algorithm.objective.loss(read[t], targets[:, t]) * SAMPLES for t in range(T)]  # summed over samples
        loss = torch.stack(losses).sum()
        predicted = linear(after, M).detach()
        total = loss + applied_scale * (predicted * after).sum()
        *of_weights, sent = torch.autograd.grad(total, [*weights, first])
        if auxiliary and not starts:
            boundary, _ = last_state(*chunk_before)
            distance = (linear(boundary, A) - predicted).square().sum()
            of_cell = torch.autograd.grad(distance, list(cell.parameters()), retain_graph=True)
            of_weights = [a + 0.7 * b for a, b in zip(of_weights, of_cell, strict=False)] + of_weights[len(of_cell) :]
            move(A, torch.autograd.grad(distance / SAMPLES, A), rate)
        if number:
            seen, target = (ended, torch.zeros_like(sent)) if ended is not None else (first, sent)
            assert seen is not None
            distance = (linear(seen.detach(), M) - target).square().sum() / SAMPLES
            move(M, torch.autograd.grad(distance, M), rate)
        move(weights, [gradient / (SAMPLES * T) for gradient in of_weights], rate)
        carried, chunk_before = after.detach(), (first.detach(), inputs)

    assert algorithm.recurrent is not None
    model = algorithm.recurrent.synthesizer
    assert isinstance(model, LinearSynthesizer)
    torch.testing.assert_close(model.weight, M[0], rtol=1e-9, atol=1e-12)
    assert M[0].abs().max() > 0
    if auxiliary:
        model = algorithm.recurrent.models()["auxiliary"]
        assert isinstance(model, LinearSynthesizer)
        torch.testing.assert_close(model.weight, A[0], rtol=1e-9, atol=1e-12)
        assert A[0].abs().max() > 0
    for name, weight in cell.named_parameters():
        torch.testing.assert_close(network.cells[0].get_parameter(name), weight, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(network.readout.weight, readout.weight, rtol=1e-9, atol=1e-12)


def move(weights: Any, gradients: Any, rate: float) -> None:
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight -= rate * gradient


def drawn_points(picture: str) -> list[str]:
    """The paths of its lines; what else is in it has random names."""
    return re.findall(r' d="(M [^"]*)"', picture)


@pytest.mark.parametrize(
    "hyperparameters", [{"auxiliary": True}, {"synthesizer_layers": 1, "synthesizer_width": 10}], ids=["aux", "deep"]
)
def test_a_stopped_run_goes_on_bit_for_bit(hyperparameters: dict[str, Any], tmp_path: Path) -> None:
    spec = SPEC | {"hyperparameters": hyperparameters, "training": SPEC["training"] | {"diagnose_every_steps": None}}
    whole = fit(spec, output=tmp_path / "whole")
    part = fit(spec, output=tmp_path / "part", stop=StopRequest(after_steps=10))  # within a sequence
    rest = fit(spec, output=tmp_path / "rest", resume=part.checkpoint)
    assert whole.result is not None
    assert rest.result is not None
    assert rest.result["weights_sha256"] == whole.result["weights_sha256"]
    expected = whole.parts.algorithm.state_dict()["synthesizers"]
    for model, values in rest.parts.algorithm.state_dict()["synthesizers"].items():
        for name, value in values.items():
            assert torch.equal(value, expected[model][name]), (model, name)
    pictures = [(tmp_path / run / "artefacts" / "synthesizers.svg").read_text() for run in ("whole", "rest")]
    assert drawn_points(pictures[0]) == drawn_points(pictures[1]) != []


def test_a_checkpoint_without_the_chunk_before_goes_on() -> None:
    """As they were when the auxiliary loss did not go back into it: one loss is left out."""
    algorithm, old = learner("lstm", auxiliary=True), learner("lstm", auxiliary=True)
    for number in range(2):
        algorithm.step(Batch(*sequence(T, seed=number), starts=number == 0), moment(number))
    state = algorithm.state_dict()
    del state["chunk_before"]
    old.load_state_dict(state)
    auxiliary = old.models()["auxiliary"].get_parameter("weight")
    loaded = auxiliary.detach().clone()
    old.step(Batch(*sequence(T, seed=2), starts=False), moment(2))
    assert torch.equal(auxiliary, loaded)
    old.step(Batch(*sequence(T, seed=3), starts=False), moment(3))
    assert not torch.equal(auxiliary, loaded)


@pytest.mark.parametrize(
    ("field", "value"),
    [("interfaces", [1]), ("unlock", "full"), ("conditioned", True), ("update_probability", 0.5)],
)
def test_what_has_no_meaning_through_time_is_refused(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as refusal:
        resolve_parts(SPEC | {"hyperparameters": {field: value}})
    assert refusal.value.errors[0].pointer == f"#/hyperparameters/{field}"

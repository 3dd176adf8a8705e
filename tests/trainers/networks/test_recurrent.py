"""Recurrent cells against torch's own, against autograd, and against themselves cut into chunks."""

import pytest
import torch
from torch import Tensor, nn

from trainers.datasets.declaration import Task
from trainers.networks.recurrence import RECURRENCES, along
from trainers.networks.recurrent import Recurrent, RecurrentOptions
from trainers.streams import StreamBook

every_cell = pytest.mark.parametrize("cell", list(RECURRENCES))
TORCH_ORDER = {"tanh": [0], "gru": [0, 1, 2], "lstm": [1, 2, 3, 0]}  # our blocks o i f g; torch's i f g o
TORCH_CELLS = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def network_of(cell: str, task: Task, **options: object) -> Recurrent:
    return Recurrent.build(RecurrentOptions(cell=cell, hidden=5, **options), task, StreamBook(2)).double()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_cell
def test_outputs_and_gradients_equal_torchs_own_cell(cell: str) -> None:
    network = network_of(cell, Task("sequence_bits", (3,), 4))
    ours = network.layers[0]
    theirs = TORCH_CELLS[cell](3, 5, batch_first=True).double()

    def in_torchs_order(value: Tensor) -> Tensor:
        blocks = value.chunk(len(TORCH_ORDER[cell]))
        return torch.cat([blocks[place] for place in TORCH_ORDER[cell]])

    with torch.no_grad():
        theirs.weight_ih_l0.copy_(in_torchs_order(ours.weight))
        theirs.weight_hh_l0.copy_(in_torchs_order(ours.recurrent_weight))
        theirs.bias_ih_l0.copy_(in_torchs_order(ours.bias))
        theirs.bias_hh_l0.zero_()
    chunk, weighting = noise(2, 6, 3), noise(2, 6, 4, seed=1)
    outputs, _ = network.run(chunk, None)
    expected = network.layers[1](theirs(chunk)[0])
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    expected_gradients = torch.autograd.grad((expected * weighting).sum(), list(theirs.parameters())[:3])
    (outputs * weighting).sum().backward()
    for weight, gradient in zip((ours.weight, ours.recurrent_weight, ours.bias), expected_gradients, strict=True):
        torch.testing.assert_close(in_torchs_order(weight.grad), gradient, rtol=1e-10, atol=1e-12)


@every_cell
def test_the_written_backward_pass_agrees_with_finite_differences(cell: str) -> None:
    recurrence = RECURRENCES[cell]
    x, U = noise(4, 2, 3 * recurrence.blocks).requires_grad_(), noise(3 * recurrence.blocks, 3).requires_grad_()
    state = tuple(noise(2, 3, seed=seed).requires_grad_() for seed in range(recurrence.states))

    def flat(x: Tensor, U: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        h, after = along(recurrence, x, U, state)
        return (h, *after)

    assert torch.autograd.gradcheck(flat, (x, U, *state))


@every_cell
def test_signals_of_each_step_equal_autograds_through_single_steps(cell: str) -> None:
    network = network_of(cell, Task("sequence_bits", (3,), 4))
    chunk, weighting = noise(2, 6, 3), noise(2, 6, 4, seed=1)
    watched: dict[str, list[Tensor]] = {}
    outputs, _ = network.run(chunk, None, watched)
    (outputs * weighting).sum().backward()

    layer, readout = network.layers
    state, pre_activations, by_step = None, [], []
    for t in range(6):
        a = layer.affine(chunk[:, t], state)
        state = layer.advance(a, state)
        pre_activations.append(a)
        by_step.append(readout(state[0]))
    signals = torch.autograd.grad((torch.stack(by_step, 1) * weighting).sum(), pre_activations)
    for a, ours, theirs in zip(pre_activations, watched["cell"], signals, strict=True):
        torch.testing.assert_close(ours, a, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(ours.grad, theirs, rtol=1e-10, atol=1e-14)


@every_cell
def test_a_sequence_in_chunks_equals_the_whole(cell: str) -> None:
    network = network_of(cell, Task("sequence_bits", (3,), 4), layers=2)
    chunk = noise(2, 7, 3)
    whole, last = network.run(chunk, None)
    first, state = network.run(chunk[:, :3], None)
    second, end = network.run(chunk[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for ours, theirs in zip(end, last, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert [tuple(each.shape[1:]) for each in last] == list(network.state_shapes)


@every_cell
def test_a_gradient_may_enter_at_the_last_state(cell: str) -> None:
    """What arrives from the next chunk: its effect is that of a loss on the state itself."""
    network = network_of(cell, Task("sequence_classification", (3,), 4))
    chunk, arriving = noise(2, 5, 3), noise(2, 5, seed=2)
    _, state = network.run(chunk, None)
    torch.autograd.backward([state[-1]], [arriving])
    entered = network.layers[0].recurrent_weight.grad.clone()
    network.zero_grad()
    (network.run(chunk, None)[1][-1] * arriving).sum().backward()
    assert torch.equal(entered, network.layers[0].recurrent_weight.grad)
    assert entered.abs().sum() > 0


def test_symbols_are_looked_up_as_if_they_were_one_hot() -> None:
    by_symbol = network_of("lstm", Task("next_symbol", (), 6, symbols=6))
    by_vector = network_of("lstm", Task("sequence_bits", (6,), 6))
    symbols = torch.tensor([[0, 5, 2, 2], [3, 1, 4, 0]])
    one_hot = nn.functional.one_hot(symbols, 6).double()
    looked_up, multiplied = by_symbol.run(symbols, None)[0], by_vector.run(one_hot, None)[0]
    torch.testing.assert_close(looked_up, multiplied, rtol=1e-13, atol=1e-14)
    looked_up.square().sum().backward()
    multiplied.square().sum().backward()
    torch.testing.assert_close(by_symbol.layers[0].weight.grad, by_vector.layers[0].weight.grad)


def test_many_to_one_reads_the_last_step_alone() -> None:
    network = network_of("gru", Task("sequence_classification", (3,), 4))
    chunk = noise(2, 5, 3)
    outputs, state = network.run(chunk, None)
    assert torch.equal(outputs, network.layers[-1](state[0]))


def test_a_new_lstm_remembers_by_its_forget_bias() -> None:
    plain, remembering = (network_of("lstm", Task("sequence_bits", (3,), 4), forget_bias=b) for b in (0.0, 1.0))
    difference = (remembering.layers[0].bias - plain.layers[0].bias).view(4, 5)
    assert torch.allclose(difference, torch.tensor([[0.0], [0], [1], [0]], dtype=torch.float64).expand(4, 5))


def test_each_gate_is_orthogonal_by_itself() -> None:
    network = network_of("gru", Task("sequence_bits", (3,), 4), initialization="orthogonal")
    for block in network.layers[0].recurrent_weight.detach().chunk(3):
        torch.testing.assert_close(block @ block.t(), torch.eye(5, dtype=torch.float64), atol=1e-5, rtol=0)


def test_the_state_knows_no_dropout() -> None:
    network = network_of("tanh", Task("sequence_bits", (3,), 4), dropout=0.5)
    chunk = noise(2, 5, 3)
    network.train()
    dropped, state = network.run(chunk, None)
    with network.evaluating():
        plain, undisturbed = network.run(chunk, None)
    assert torch.equal(state[0], undisturbed[0])
    assert not torch.equal(dropped, plain)


def test_bfloat16_keeps_the_recurrence_in_float32() -> None:
    network = network_of("lstm", Task("sequence_bits", (3,), 4)).float()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = network.run(noise(2, 5, 3).float(), None)
        outputs.float().square().sum().backward()
    assert state[0].dtype == state[1].dtype == torch.float32
    assert all(weight.grad.dtype == torch.float32 for weight in network.parameters())

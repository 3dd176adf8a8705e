"""Two networks at different rates: who ticks when, and that B sees nothing of A but its messages."""

import pytest
import torch
from torch import Tensor

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.recurrence import CellName
from trainers.networks.two_networks import TwoNetworks, TwoNetworksOptions
from trainers.streams import StreamBook

T, PIXELS, SAMPLES = 3, 5, 4
TASK = Task("digit_counting", (PIXELS,), T + 1 + T * T + 1, time_steps=T, heads={"odd": T + 1, "threes": 10}, ticks=T)


def networks(cell: CellName = "lstm") -> TwoNetworks:
    options = TwoNetworksOptions(features=[6], cell=cell, hidden=4, message=2)
    return TwoNetworks.build(options, TASK, StreamBook(1)).double()


def digits(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SAMPLES, count, PIXELS, generator=generator, dtype=torch.float64)


def test_layers_and_weights_carry_the_name_of_their_network() -> None:
    network = networks()
    assert [layer.name for layer in network.layers] == [
        "a.layer1",
        "a.cell",
        "a.readout",
        "a.message",
        "b.cell",
        "b.readout",
    ]
    expected = [f"{layer.name}.{name}" for layer in network.layers for name, _ in layer.named_parameters()]
    assert sorted(name for name, _ in network.named_parameters()) == sorted(expected)


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_a_ticks_at_every_digit_and_b_once_a_message(cell: CellName) -> None:
    """Step by step: A's answer and message after every T digits, and B's answer to them."""
    network, stream = networks(cell), digits(2 * T)
    a_cell, b_cell = network.cells
    a_state, b_state = a_cell.zero_state(SAMPLES), b_cell.zero_state(SAMPLES)
    expected = []
    for t in range(2 * T):
        h = network.features[0](stream[:, t])
        a_state = a_cell.advance(a_cell.affine(h, a_state), a_state)
        if t % T == T - 1:
            message = network.message(a_state[0])
            b_state = b_cell.advance(b_cell.affine(message, b_state), b_state)
            expected.append(torch.cat([network.readouts[0](a_state[0]), network.readouts[1](b_state[0])], dim=-1))

    outputs, state = network.run(stream, None)

    torch.testing.assert_close(outputs, torch.stack(expected, dim=1))
    for ours, theirs in zip(state, (*a_state, *b_state), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_chunks_one_after_another_are_the_whole_stream() -> None:
    network, stream = networks(), digits(3 * T)
    whole, after = network.run(stream, None)
    state, parts = None, []
    for chunk in stream.split(T, dim=1):
        outputs, state = network.run(chunk, state)
        parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    assert state is not None
    for ours, theirs in zip(state, after, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_b_knows_of_the_digits_only_what_the_messages_say() -> None:
    network = networks()
    with torch.no_grad():
        network.message.weight.zero_()  # every message is the same
    one, other = network(digits(2 * T, seed=1)), network(digits(2 * T, seed=2))
    assert torch.equal(one[..., T + 1 :], other[..., T + 1 :])
    assert not torch.equal(one[..., : T + 1], other[..., : T + 1])


def test_a_stream_that_ends_between_messages_is_refused() -> None:
    with pytest.raises(SpecError, match="every 3 digits"):
        networks()(digits(T + 1))

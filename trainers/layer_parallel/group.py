"""A chain of processes, each owning a stretch of the layers: messages to neighbours over gloo, in lock step."""

import os
from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

UP, DOWN, WORD = 1, 2, 3
"""Tags: a message to the process above, an answer to the one below, a host number that goes up before a message."""
PATIENCE = timedelta(minutes=10)
"""A neighbour that says nothing for so long is taken for lost."""


class LayerGroup:
    """This process's place in the chain. Losing a neighbour raises RuntimeError in whatever waits for it."""

    def __init__(self, rank: int, size: int, rendezvous: Path) -> None:
        self.rank, self.size = rank, size
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # processes of one machine
        dist.init_process_group(
            "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size, timeout=PATIENCE
        )
        self._sending: list[tuple[Any, Tensor]] = []

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def is_last(self) -> bool:
        return self.rank == self.size - 1

    def share(self, costs: Sequence[float]) -> range:
        """The parts, of these costs, that this process owns: neighbours, at least one, near an equal share each."""
        return shares(costs, self.size)[self.rank]

    def send_up(self, word: int, message: Tensor) -> None:
        """To the process above, without waiting for it."""
        self._send(torch.tensor([word]), self.rank + 1, WORD)
        self._send(message, self.rank + 1, UP)

    def receive_from_below(self, like: Tensor) -> tuple[int, Tensor]:
        """The word and the message, which has the shape and type of `like`; waits."""
        word, message = torch.zeros(1, dtype=torch.int64), torch.empty_like(like)
        dist.recv(word, self.rank - 1, tag=WORD)
        dist.recv(message, self.rank - 1, tag=UP)
        return int(word), message

    def answer_below(self, answer: Tensor) -> None:
        """To the process below, without waiting for it."""
        self._send(answer, self.rank - 1, DOWN)

    def expect_answer(self, like: Tensor) -> tuple[Any, Tensor]:
        """A handle to wait for, and the tensor that the answer from above will be in."""
        answer = torch.empty_like(like, memory_format=torch.contiguous_format)
        return dist.irecv(answer, self.rank + 1, tag=DOWN), answer

    def gather(self, own: Any) -> list[Any]:
        """What every process puts in, by rank; all must call it."""
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, own)
        return everyone

    def flush(self) -> None:
        """Wait until all that was sent has left, and drop it."""
        for handle, _ in self._sending:
            handle.wait()
        self._sending.clear()

    def close(self) -> None:
        dist.destroy_process_group()

    def _send(self, tensor: Tensor, to: int, tag: int) -> None:
        tensor = tensor.contiguous()
        self._sending.append((dist.isend(tensor, to, tag=tag), tensor))  # kept alive until it has left


def shares(costs: Sequence[float], size: int) -> list[range]:
    """`size` stretches that cover all parts, none empty, each ending nearest to its share of the whole cost.

    Raises ValueError for more processes than parts.
    """
    if size > len(costs):
        raise ValueError(f"{size} processes cannot share {len(costs)} parts; each needs one")
    until = list(accumulate(costs))
    borders = [0]
    for rank in range(1, size):
        possible = range(borders[-1] + 1, len(costs) - (size - rank) + 1)
        wanted = until[-1] * rank / size
        borders.append(min(possible, key=lambda end: abs(until[end - 1] - wanted)))
    borders.append(len(costs))
    return [range(low, high) for low, high in zip(borders, borders[1:], strict=False)]  # noqa: RUF007

"""Offline alternating minimization's memory: every sample's codes, kept from one pass over the data to the next."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import Batch
from trainers.errors import SpecError


class KeptCodes:
    """Each hidden layer's codes, (rows, *shape), by row of the data set's published file."""

    def __init__(self) -> None:
        self.codes: list[Tensor] = []
        self.known: Tensor | None = None

    def recall(self, rows: Tensor, fresh: Sequence[Tensor], *, first_epoch: bool) -> list[Tensor]:
        """The codes of these samples; the `fresh` ones where a sample comes for the first time."""
        if self.known is None:
            self.known = torch.zeros(0, dtype=torch.bool, device=rows.device)
            self.codes = [code.new_zeros(0, *code.shape[1:]) for code in fresh]
        # The first epoch meets every sample: a look at the device, then no more.
        missing = int(rows.max()) + 1 - len(self.known) if first_epoch else 0
        if missing > 0:
            self.known = torch.cat([self.known, self.known.new_zeros(missing)])
            self.codes = [torch.cat([kept, kept.new_zeros(missing, *kept.shape[1:])]) for kept in self.codes]
        known = self.known[rows]
        self.known[rows] = True
        return [
            torch.where(known.view(-1, *[1] * (code.dim() - 1)), kept[rows], code)
            for kept, code in zip(self.codes, fresh, strict=True)
        ]

    def of(self, rows: Tensor) -> list[Tensor]:
        """The codes of samples that were recalled before."""
        return [kept[rows] for kept in self.codes]

    def keep(self, rows: Tensor, codes: Sequence[Tensor]) -> None:
        """From now on these are theirs."""
        for kept, code in zip(self.codes, codes, strict=True):
            kept.index_copy_(0, rows, code)

    def state_dict(self) -> dict[str, Any]:
        if self.known is None:
            return {}
        return {"known": self.known} | {str(place): codes for place, codes in enumerate(self.codes)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.known = state["known"].to(device) if state else None
        self.codes = [state[str(place)].to(device) for place in range(len(state) - 1)]


def rows_of(batch: Batch) -> Tensor:
    """Which samples these are. Raises SpecError for data that do not say so."""
    if batch.indices is None:
        raise SpecError(
            "#/hyperparameters/mode",
            "alternating_minimization offline keeps a code for every sample; this data set is a stream without an end. "
            "Choose online.",
            got="offline",
            allowed=["online"],
        )
    return batch.indices

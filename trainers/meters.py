"""Running sums of what steps report, on the device; one transfer to the host when an epoch ends."""

from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import StepReport


class Meters:
    """Means of measures over an epoch: `train_loss` from the pass "train", `inverses_loss` from "inverses"."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, phase: str, report: StepReport) -> None:
        for name, (value, count) in report.measures.items():
            key = f"{phase}_{name}"
            if key in self._sums:
                self._sums[key] += value
                self._counts[key] += count
            else:
                self._sums[key] = value.detach().to(torch.float64, copy=True)
                self._counts[key] = count

    def read(self) -> dict[str, float]:
        """Means so far."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values())).tolist()
        return {key: value / self._counts[key] for key, value in zip(self._sums, sums, strict=True)}

    def clear(self) -> None:
        self._sums.clear()
        self._counts.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self._sums = {key: value.to(device) for key, value in state["sums"].items()}
        self._counts = dict(state["counts"])

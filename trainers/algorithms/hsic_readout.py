"""Reading classes off units that were trained without a read-out: one unit for each class, one class for each unit.

The objective asks that classes lie apart, not that each has a unit of its own: one class may lie at the origin, where
all units are quiet. For the kernels that is a code like any other (and a state that training does not leave), but no
unit stands for it, and one unit is left over that stands for none. Such a class is read off silence.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class Matching:
    """Counts over a pass of training data how often each unit was the most active for each class, then pairs them.

    level: activation that no unit reaches when all are quiet; None: classes are read off units alone.
    counts: (classes, units), rows the label. silent: of these, (classes, units), those that were below the level.
    unit_of_class: (classes,) once a pass is complete, else None; `classes` itself stands for silence.
    """

    def __init__(self, classes: int, device: torch.device, level: float | None = None) -> None:
        self.level = level
        self.counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.silent = torch.zeros_like(self.counts)
        self.unit_of_class: Tensor | None = None

    def open(self) -> None:
        """A new pass begins; the last matching holds until it is complete."""
        self.counts.zero_()
        self.silent.zero_()

    def add(self, labels: Tensor, units: Tensor) -> None:
        """labels (batch,) int64 and activations (batch, classes) of the last layer."""
        classes = torch.arange(len(self.counts), device=labels.device)
        of_label = (labels.unsqueeze(1) == classes).double().t()
        most, unit = units.max(1, keepdim=True)
        of_unit = (unit == classes).double()
        self.counts += (of_label @ of_unit).to(torch.int64)
        if self.level is not None:
            self.silent += (of_label @ (of_unit * (most < self.level))).to(torch.int64)

    def close(self) -> float:
        """Match one to one, so that most training samples are right; returns the share of them.

        Silence takes the place of a unit where no fewer are right so: what is counted for it is the least that will
        be, since the unit that is left over then takes part in no reading.
        """
        size, total = len(self.counts), max(int(self.counts.sum()), 1)
        right, units = _assigned(self.counts)
        if self.level is not None:
            heard = torch.cat([self.counts - self.silent, self.silent.sum(1, keepdim=True)], dim=1)
            right_with_silence, with_silence = _assigned(heard)
            if size in with_silence and right_with_silence >= right:
                right, units = right_with_silence, with_silence
        self.unit_of_class = torch.tensor(units, device=self.counts.device)
        return right / total

    def read(self, units: Tensor) -> Tensor | None:
        """Activations (batch, classes) in the order of the classes, the level for silence; None before a matching."""
        if self.unit_of_class is None:
            return None
        level = units.new_full((len(units), 1), self.level or 0.0)
        return torch.cat([units, level], dim=1)[:, self.unit_of_class]

    def order(self) -> Tensor | None:
        """All units in the order of their classes, one that is left over in the place of a silent class."""
        if self.unit_of_class is None:
            return None
        units, size = self.unit_of_class.tolist(), len(self.counts)
        (spare,) = set(range(size + 1)) - set(units)  # a unit, or silence where every unit has its class
        return torch.tensor([spare if unit == size else unit for unit in units], device=self.counts.device)

    def state_dict(self) -> dict[str, Tensor]:
        state = {"counts": self.counts, "silent": self.silent}
        return state if self.unit_of_class is None else state | {"unit_of_class": self.unit_of_class}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.counts.copy_(state["counts"])
        self.silent.copy_(state["silent"])
        found = state.get("unit_of_class")
        self.unit_of_class = None if found is None else found.to(self.counts.device)


def _assigned(counts: Tensor) -> tuple[int, list[int]]:
    """How many samples are right under the best pairing of rows with columns, and the column of each row."""
    rows, columns = linear_sum_assignment(counts.tolist(), maximize=True)
    pairs = dict(zip(map(int, rows), map(int, columns), strict=True))
    order = [pairs[row] for row in range(len(counts))]
    return sum(int(counts[row, column]) for row, column in enumerate(order)), order

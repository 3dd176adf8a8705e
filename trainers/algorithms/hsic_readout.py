"""Reading classes off units that were trained without a read-out: one unit for each class, one class for each unit."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class Matching:
    """Counts over a pass of training data how often each unit was the most active for each class, then pairs them.

    counts: (classes, units), rows the label. unit_of_class: (classes,) once a pass is complete, else None.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.unit_of_class: Tensor | None = None

    def open(self) -> None:
        """A new pass begins; the last matching holds until it is complete."""
        self.counts.zero_()

    def add(self, labels: Tensor, units: Tensor) -> None:
        """labels (batch,) int64 and activations (batch, classes) of the last layer."""
        classes = torch.arange(len(self.counts), device=labels.device)
        of_label = (labels.unsqueeze(1) == classes).double()
        of_unit = (units.argmax(1, keepdim=True) == classes).double()
        self.counts += (of_label.t() @ of_unit).to(torch.int64)

    def close(self) -> float:
        """Match one to one, so that most training samples are right; returns the share of them."""
        classes, units = linear_sum_assignment(self.counts.tolist(), maximize=True)
        pairs = dict(zip(map(int, classes), map(int, units), strict=True))
        order = [pairs[label] for label in range(len(self.counts))]
        self.unit_of_class = torch.tensor(order, device=self.counts.device)
        right = self.counts[torch.arange(len(order), device=self.counts.device), self.unit_of_class].sum()
        return float(right) / max(float(self.counts.sum()), 1.0)

    def read(self, units: Tensor) -> Tensor | None:
        """Activations (batch, classes) in the order of the classes; None before the first matching."""
        return None if self.unit_of_class is None else units[:, self.unit_of_class]

    def state_dict(self) -> dict[str, Tensor]:
        state = {"counts": self.counts}
        return state if self.unit_of_class is None else state | {"unit_of_class": self.unit_of_class}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.counts.copy_(state["counts"])
        found = state.get("unit_of_class")
        self.unit_of_class = None if found is None else found.to(self.counts.device)

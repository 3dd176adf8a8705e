"""What a run of the HSIC bottleneck remembers of itself, and the pictures that it makes of that."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.pictures import panels, saved, shade
from trainers.events import Artefact

POINTS_A_PASS = 10
LONGEST = 2000
"""Points; at twice as many every second one is dropped."""


class History:
    """Dependences per layer over training, and the read-out's accuracy on training data by pass.

    Everything is a tensor on the device until it is saved or drawn; `passes` counts the passes begun.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.names = list(names)
        self.passes = 0
        self.at: list[float] = []  # in passes over the data
        self.values: list[Tensor] = []  # (2, layers): nHSIC with the input, nHSIC with the label
        self.accuracy_at: list[float] = []
        self.accuracies: list[Tensor] = []
        self.correct = torch.zeros((), dtype=torch.float64, device=device)
        self.count = 0

    def begin_step(self, step: int) -> None:
        if step == 0:
            self.passes += 1
            self.correct, self.count = torch.zeros_like(self.correct), 0

    def wants_point(self, step: int, steps: int) -> bool:
        return step % max(1, steps // POINTS_A_PASS) == 0

    def add(self, step: int, steps: int, dependences: Sequence[tuple[Tensor, Tensor]]) -> None:
        """One (with input, with label) a layer, in the order of `names`."""
        self.at.append(self.passes - 1 + (step + 1) / steps)
        self.values.append(torch.stack([torch.stack(pair) for pair in zip(*dependences, strict=True)]).double())
        if len(self.at) >= 2 * LONGEST:
            self.at, self.values = self.at[::2], self.values[::2]

    def add_correct(self, correct: Tensor, count: int, step: int, steps: int) -> None:
        """Of one batch; at the end of a pass its accuracy is kept."""
        self.correct = self.correct + correct
        self.count += count
        if step + 1 == steps:
            self.add_accuracy(self.correct / self.count)

    def add_accuracy(self, accuracy: Tensor) -> None:
        """Of the pass that ends now."""
        self.accuracy_at.append(float(self.passes))
        self.accuracies.append(accuracy.double())

    def state_dict(self) -> dict[str, Any]:
        like = self.correct
        return {
            "passes": self.passes,
            "at": torch.tensor(self.at, dtype=torch.float64),
            "values": torch.stack(self.values) if self.values else like.new_zeros((0, 2, len(self.names))),
            "accuracy_at": torch.tensor(self.accuracy_at, dtype=torch.float64),
            "accuracies": torch.stack(self.accuracies) if self.accuracies else like.new_zeros(0),
            "correct": self.correct,
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.correct.device
        self.passes, self.count = state["passes"], state["count"]
        self.at, self.accuracy_at = state["at"].tolist(), state["accuracy_at"].tolist()
        self.values = list(state["values"].to(device))
        self.accuracies = list(state["accuracies"].to(device))
        self.correct = state["correct"].to(device)

    # -- pictures -----------------------------------------------------------------------------------------------------

    def draw_dependences(self, folder: Path) -> Artefact | None:
        """nHSIC with input and with label, a line for each layer, over passes."""
        if not self.values:
            return None
        figure, axes = panels(2)
        curves = torch.stack(self.values).cpu()
        for side, (axis, whom) in enumerate(zip(axes, ("input", "label"), strict=True)):
            for place, name in enumerate(self.names):
                shown = name if len(self.names) <= 12 or place in (0, len(self.names) - 1) else None
                axis.plot(
                    self.at, curves[:, side, place].tolist(), color=shade(place, len(self.names)), label=shown, lw=1
                )
            axis.set(xlabel="passes over the data", ylabel=f"dependence on the {whom}")
        axes[1].legend(fontsize=7)
        return saved(figure, folder / "dependence_per_layer.svg", "dependence on input and on label, by layer")

    def draw_accuracy(self, folder: Path) -> Artefact | None:
        """The read-out's accuracy on training data; the passes that trained hidden layers count too."""
        if not self.accuracies:
            return None
        figure, (axis,) = panels(1)
        axis.plot(self.accuracy_at, torch.stack(self.accuracies).tolist(), marker="o", ms=3)
        axis.set(xlabel="passes over the data, all phases", ylabel="accuracy on training data", xlim=(0, None))
        return saved(figure, folder / "accuracy_by_pass.svg", "training accuracy of the read-out by total passes")


def draw_activations(units: Tensor, labels: Tensor, classes: int, folder: Path) -> Artefact:
    """Heat map: mean activation of each unit, (batch, units), for each class; units in the order of their class."""
    rows = [
        units[labels == label].mean(0) if bool((labels == label).any()) else units[0] * 0 for label in range(classes)
    ]
    table = torch.stack(rows).float().cpu()
    order = torch.argsort(table.argmax(0), stable=True) if table.shape[1] != classes else torch.arange(classes)
    figure, (axis,) = panels(1)
    image = axis.imshow(table[:, order].tolist(), aspect="auto", cmap="viridis")
    figure.colorbar(image, ax=axis)
    axis.set(xlabel="unit", ylabel="class", yticks=range(classes) if classes <= 20 else [])
    return saved(figure, folder / "activations_by_class.svg", "mean activation of the last HSIC layer's units by class")

"""What a run remembers of its synthesizers, and the picture that it makes of that."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import Moment
from trainers.algorithms.pictures import panels, saved, shade
from trainers.events import Artefact

POINTS_A_PASS = 20
LONGEST = 2000
"""Points of an interface; at twice as many every second one is dropped."""


class SynthesizerHistory:
    """By interface, now and then: passes done, and the prediction's cosine with its target and distance from it."""

    def __init__(self) -> None:
        self.points: dict[str, list[Tensor]] = {}
        self.latest = 0.0

    def is_due(self, moment: Moment) -> bool:
        """Along sequences diagnosed steps may all be the first of a sequence, where there is nothing to compare."""
        return _passes(moment) - self.latest >= 1 / POINTS_A_PASS

    def add(self, moment: Moment, details: Mapping[str, Mapping[str, Tensor]] | None) -> None:
        """details: `synthesizer_cosine` and `synthesizer_error`, interface → scalar; left out where one of them has no
        value, as at a new synthesizer."""
        if not details:
            return
        at = _passes(moment)
        for name, cosine in details["synthesizer_cosine"].items():
            error = details["synthesizer_error"][name]
            if not bool(torch.isfinite(cosine) & torch.isfinite(error)):
                continue
            self.latest = at
            points = self.points.setdefault(name, [])
            # In float64, and the last one kept: `latest` is read from them when a run goes on.
            points.append(torch.stack([error.new_tensor(at, dtype=torch.float64), cosine.double(), error.double()]))
            if len(points) >= 2 * LONGEST:
                self.points[name] = points[1::2]

    def draw(self, folder: Path, order: Sequence[str]) -> Artefact | None:
        """Both over passes, a line for each interface, lowest first; None where nothing was compared."""
        names = [name for name in order if name in self.points]
        if not names:
            return None
        figure, (cosines, errors) = panels(2)
        for place, name in enumerate(names):
            at, cosine, error = torch.stack(self.points[name]).cpu().unbind(1)
            style = {"color": shade(place, len(names)), "lw": 1, "marker": ".", "ms": 3}
            cosines.plot(at.tolist(), cosine.tolist(), label=name, **style)
            errors.plot(at.tolist(), error.tolist(), **style)
        cosines.set(xlabel="passes over the data", ylabel="cosine of synthetic gradient and target", ylim=(-1.05, 1.05))
        cosines.legend(fontsize=7)
        errors.set(xlabel="passes over the data", ylabel="distance / norm of the target", yscale="log")
        errors.axhline(1, color="0.6", lw=0.8, ls="--")  # what a prediction of 0 would have
        return saved(figure, folder / "synthesizers.svg", "how well synthetic gradients predict, by interface")

    def state_dict(self) -> dict[str, Any]:
        return {name: torch.stack(points) for name, points in self.points.items()}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.points = {name: list(points.to(device)) for name, points in state.items()}
        self.latest = max((float(points[-1, 0]) for points in state.values()), default=0.0)


def _passes(moment: Moment) -> float:
    return moment.epoch + (moment.step + 1) / moment.steps

"""Pictures that a run leaves as artefacts: SVG, drawn by matplotlib, of the same bytes for the same run."""

from pathlib import Path
from typing import Any

from trainers.events import Artefact


def panels(count: int) -> tuple[Any, list[Any]]:
    """A figure, and its axes side by side."""
    # Without pyplot, which keeps every figure in the process; drawing alone needs the import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * count, 3.6), layout="constrained")
    return figure, [figure.add_subplot(1, count, number + 1) for number in range(count)]


def saved(figure: Any, path: Path, description: str) -> Artefact:
    """The artefact, written to `path`, whose folder need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return Artefact(name=path.name, media_type="image/svg+xml", path=str(path), description=description)


def shade(place: int, count: int) -> tuple[float, float, float]:
    """Colour of one of `count` layers, from the input's blue to the output's red."""
    red = 0.15 + 0.8 * place / max(count - 1, 1)
    return red, 0.25, 1 - red

"""Where the points of a curve lie on the axes that curves are compared on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def epoch_fractions(steps: NDArray[Any], finished: NDArray[Any]) -> NDArray[np.float64]:
    """Epochs with their fractions. Both (points,): the step of each point, and how many epochs were finished there.

    The first point at which k are finished lies at the end of epoch k; an evaluation within an epoch lies between two
    such points, by its step.
    """
    ends, first = np.unique(finished, return_index=True)
    kept = ends > 0
    found: NDArray[np.float64] = np.interp(steps, np.append(0, steps[first[kept]]), np.append(0, ends[kept])).astype(
        np.float64
    )
    return found

"""What a job can ask for, from the trainers' registry: what algorithms, networks, data sets and recipes share.

The registry imports torch (1-2 s, 200 MB), which of all processes only the web process pays, and only once:
`start_warming()`, called when it starts, does so on a thread, so that the first job posted need not wait.
"""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from service.api.problem import ApiError
from trainers.spec import did_you_mean

Kind = Literal["algorithm", "network", "data set", "recipe"]


class Unknown(ApiError):
    """A name that the registry does not hold."""

    status, code, title = 404, "not-found", "Not found"


def start_warming() -> threading.Thread:
    """Load the registry and everything in it, beside the process's other work."""
    thread = threading.Thread(target=_warm, name="warm-registry", daemon=True)
    thread.start()
    return thread


def described_all(kind: Kind) -> list[dict[str, Any]]:
    """Everything of one kind, in the registry's order."""
    return [_described(kind, name) for name in _book(kind)]


def described(kind: Kind, name: str) -> dict[str, Any]:
    """One of them. Raises Unknown, with the names that there are."""
    names = list(_book(kind))
    if name not in names:
        known = f"Known: {', '.join(names)}." if names else "There are none."
        raise Unknown(f"There is no {kind} {name[:80]!r}.{did_you_mean(name[:80], names)} {known}")
    return _described(kind, name)


@cache
def _described(kind: Kind, name: str) -> dict[str, Any]:
    """The same for as long as the process lives."""
    from trainers import describe

    ways: dict[Kind, Callable[[str], dict[str, Any]]] = {
        "algorithm": describe.describe_algorithm,
        "network": describe.describe_network,
        "data set": describe.describe_dataset,
        "recipe": describe.describe_recipe,
    }
    return ways[kind](name)


def _book(kind: Kind) -> Any:
    from trainers.recipes import RECIPES
    from trainers.registry import ALGORITHMS, DATASETS, NETWORKS

    return {"algorithm": ALGORITHMS, "network": NETWORKS, "data set": DATASETS, "recipe": RECIPES}[kind]


def _warm() -> None:
    from trainers.compute_cost import estimate

    for kind in ("algorithm", "network", "data set", "recipe"):
        described_all(kind)
    # The first step of a fused optimizer imports much of torch: another 2 s, which a first dry run would wait for.
    estimate({"algorithm": "backprop", "dataset": "digits"})

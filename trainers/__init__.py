"""Trains neural networks with backpropagation and its alternatives: pure PyTorch, usable alone.

The public face. It is lazy: `import trainers` costs nothing; torch is loaded by the first name that needs it.
`trainers.spec`, `trainers.events` and `trainers.errors` never load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.registry import list_algorithms, list_datasets, list_networks, list_recipes
    from trainers.spec import TrainingSpec
    from trainers.training import fit

__all__ = [
    "TrainingSpec",
    "fit",
    "list_algorithms",
    "list_datasets",
    "list_networks",
    "list_recipes",
]

_HOMES = {
    "TrainingSpec": "trainers.spec",
    "fit": "trainers.training",
    "list_algorithms": "trainers.registry",
    "list_datasets": "trainers.registry",
    "list_networks": "trainers.registry",
    "list_recipes": "trainers.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trainers' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

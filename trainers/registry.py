"""One mechanism by which algorithms, networks and datasets are found, ours and third parties'.

Ours are listed below by name and home, and imported when first used. Others come as entry points of the groups
`altprop.algorithms`, `altprop.networks`, `altprop.datasets` (recipes: trainers.recipes).
"""

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from trainers.errors import SpecError
from trainers.spec import did_you_mean


class Registry(Mapping[str, Any]):
    """Names to objects; an object is imported when it is first asked for."""

    def __init__(self, kind: str, plural: str, homes: Mapping[str, str]) -> None:
        self.kind, self.plural = kind, plural
        self._homes = dict(homes)
        self._found: dict[str, Any] = {}
        self._searched = False

    def find(self, name: str, *, pointer: str) -> Any:
        """The object of that name. Raises SpecError at `pointer` with the known names."""
        if name not in self:
            known = list(self)
            raise SpecError(
                pointer,
                f"There is no {self.kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.",
                got=name,
                allowed=known,
            )
        return self[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            self._search()
            module, _, attribute = self._homes[name].partition(":")
            self._found[name] = getattr(importlib.import_module(module), attribute)
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        self._search()
        return name in self._homes

    def __iter__(self) -> Iterator[str]:
        self._search()
        return iter(self._homes)

    def __len__(self) -> int:
        self._search()
        return len(self._homes)

    def _search(self) -> None:
        """Third parties' entries, looked up once; ours win where names clash."""
        if not self._searched:
            self._searched = True
            for entry in entry_points(group=f"altprop.{self.plural}"):
                self._homes.setdefault(entry.name, entry.value)


ALGORITHMS = Registry(
    "algorithm",
    "algorithms",
    {
        "backprop": "trainers.algorithms.backprop:Backprop",
        "frozen": "trainers.algorithms.controls:Frozen",
        "backprop_checkpointed": "trainers.algorithms.controls:BackpropCheckpointed",
        "backprop_extra_heads": "trainers.algorithms.controls:BackpropExtraHeads",
        "alternating_minimization": "trainers.algorithms.alternating_minimization:AlternatingMinimization",
        "difference_target_propagation": (
            "trainers.algorithms.difference_target_propagation:DifferenceTargetPropagation"
        ),
        "hsic_bottleneck": "trainers.algorithms.hsic_bottleneck:HSICBottleneck",
        "synthetic_gradients": "trainers.algorithms.synthetic_gradients:SyntheticGradients",
    },
)

NETWORKS = Registry(
    "network",
    "networks",
    {
        "mlp": "trainers.networks.mlp:MLP",
        "convnet": "trainers.networks.convnet:ConvNet",
        "resnet": "trainers.networks.resnet:ResNet",
        "residual_mlp": "trainers.networks.residual_mlp:ResidualMLP",
        "recurrent": "trainers.networks.recurrent:Recurrent",
        "two_networks": "trainers.networks.two_networks:TwoNetworks",
    },
)

DATASETS = Registry(
    "dataset",
    "datasets",
    {
        "digits": "trainers.datasets.digits:Digits",
        "mnist": "trainers.datasets.mnist:Mnist",
        "fashion_mnist": "trainers.datasets.mnist:FashionMnist",
        "cifar10": "trainers.datasets.cifar10:Cifar10",
        "tiny_shakespeare": "trainers.datasets.tiny_shakespeare:TinyShakespeare",
        "sequential_mnist": "trainers.datasets.mnist_variants:SequentialMnist",
        "permuted_mnist": "trainers.datasets.mnist_variants:PermutedMnist",
        "copy": "trainers.datasets.copy_tasks:Copy",
        "repeat_copy": "trainers.datasets.copy_tasks:RepeatCopy",
        "digit_counting": "trainers.datasets.digit_counting:DigitCounting",
        "arrays": "trainers.datasets.arrays:Arrays",
    },
)


def list_algorithms() -> list[str]:
    """Names that `TrainingSpec.algorithm` takes."""
    return list(ALGORITHMS)


def list_networks() -> list[str]:
    """Names that `TrainingSpec.network["kind"]` takes."""
    return list(NETWORKS)


def list_datasets() -> list[str]:
    """Names that `TrainingSpec.dataset` takes."""
    return list(DATASETS)


def list_recipes() -> list[str]:
    """Names of published results that can be repeated."""
    from trainers.recipes import RECIPES

    return list(RECIPES)

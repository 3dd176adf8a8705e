"""Logs from which layers' weights each layer's update was computed, within one step.

Every tensor carries the names of the layers whose parameters went into it, directly or through activations and
signals; whatever is written into a layer's own weights tells what its update read. What an optimizer or a feedback path
remembers of earlier steps counts as known by now, and is not logged.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from trainers.interventions.operations import (
    address,
    is_list_operation,
    is_whole,
    name_of,
    overwrites,
    tensors_in,
    written,
)
from trainers.interventions.watches import Watch
from trainers.interventions.weight_book import Use
from trainers.networks.base import Network

Names = frozenset[str]
NOTHING: Names = frozenset()


class ReadsLog(Watch):
    """`reads`: layer → layers whose parameters its update was computed from, its own left out."""

    def attach(self, network: Network) -> Self:
        super().attach(network)
        self.reads: dict[str, set[str]] = {}
        self._known: dict[int, tuple[Names, torch.UntypedStorage]] = {}
        self.begin_step()
        return self

    def begin_step(self) -> None:
        super().begin_step()
        self._known.clear()
        self._owners = {address(value): self.book.layer_of[name] for name, value in self.network.named_parameters()}

    def after(self, func: Any, uses: list[Use], args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        if is_list_operation(name_of(func)):
            self._side_by_side(func, args, kwargs, result)
            return
        into = written(func, args, kwargs)
        sources = list(tensors_in([list(args), kwargs]))
        if overwrites(func):
            sources = [each for each in sources if not any(each is other for other in into)]
        self._put(into or list(tensors_in(result)), self._of(sources))

    def _side_by_side(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """The n-th result of an operation on lists is computed from the n-th of each list."""
        lists = [each for each in [*args, *kwargs.values()] if isinstance(each, list | tuple) and _is_tensors(each)]
        into = {id(each) for each in written(func, args, kwargs)}
        made = result if isinstance(result, list | tuple) else []
        for place in range(max((len(each) for each in lists), default=0)):
            row = [each[place] for each in lists if place < len(each)]
            changed = [each for each in row if id(each) in into]
            changed += [each for each in list(made)[place : place + 1] if isinstance(each, Tensor)]
            self._put(changed, self._of(row))

    def _of(self, tensors: Sequence[Tensor]) -> Names:
        found: set[str] = set()
        for tensor in tensors:
            if tensor.numel():
                where = address(tensor)
                found |= self._known[where][0] if where in self._known else NOTHING
                if where in self._owners:
                    found.add(self._owners[where])
        return frozenset(found)

    def _put(self, tensors: Sequence[Tensor], names: Names) -> None:
        for tensor in tensors:
            if not tensor.numel():
                continue
            memory = tensor.untyped_storage()
            owner = self._owners.get(memory.data_ptr())
            if owner is None:
                if not is_whole(tensor) and memory.data_ptr() in self._known:
                    names = names | self._known[memory.data_ptr()][0]
                self._known[memory.data_ptr()] = (names, memory)
            elif tensor.is_floating_point():
                self.reads.setdefault(owner, set()).update(names - {owner})


def _is_tensors(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(each, Tensor) for each in values)

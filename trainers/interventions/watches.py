"""Dispatch modes that watch every operation of a step and alter some: interventions with no hook in the algorithm.

    Watch                 follows weights and logs their uses; alters nothing
    ScrambledTransport    weights through which an error goes back are replaced by noise
    HiddenOutputs         the network's outputs are replaced by noise: labels are left, the error is not
    WithheldLayers        all that some layers compute, forwards or backwards, is replaced by noise
    WithheldDerivatives   derivatives of nonlinearities are 0, as those of step units are
    WithheldMessages      what has come down through another layer since the outputs is replaced by noise

Noise has the norm of what it replaces, so that nothing overflows or vanishes by it, and a generator of its own.
A watch is entered around `setup` and every step, and alters only while `active`.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.interventions.operations import (
    ACTIVATION_DERIVATIVES,
    CONVOLUTION_BACKWARD,
    address,
    is_list_operation,
    is_whole,
    name_of,
    operands,
    overwrites,
    tensors_in,
    written,
)
from trainers.interventions.weight_book import Use, WeightBook
from trainers.networks.base import Network
from trainers.streams import generator_for


def noise_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers with the tensor's shape, type and norm (1 a unit where it is all zeros)."""
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    norm = torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64).cpu()
    scale = norm / drawn.norm().clamp(min=1e-300) if float(norm) > 0 else 1.0
    return (drawn * scale).to(tensor)


class Watch(TorchDispatchMode):
    """Follows the weights of one network; `uses` logs those since `begin_step`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = generator_for(seed, f"interventions/{type(self).__name__}")
        self.active = False
        self.uses: list[Use] = []

    def attach(self, network: Network) -> Self:
        """Before the algorithm's `setup`, so that copies made there are known."""
        self.network, self.book = network, WeightBook(network)
        return self

    def begin_step(self) -> None:
        self.uses.clear()
        self.book.refresh()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        uses = self.book.uses(func, args)
        self.uses += uses
        given = self.before(uses, args) if self.active else args
        result = func(*given, **kwargs)
        self.book.follow(func, args, kwargs, result)
        if self.active:
            self.after(func, uses, args, kwargs, result)
        return result

    def before(self, uses: list[Use], args: Sequence[Any]) -> Sequence[Any]:
        """The arguments to compute with."""
        return args

    def after(self, func: Any, uses: list[Use], args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Look at the results, or alter them in place."""

    def overwrite(self, result: Tensor) -> None:
        result.copy_(noise_like(result, self.generator))


class ScrambledTransport(Watch):
    def before(self, uses: list[Use], args: Sequence[Any]) -> Sequence[Any]:
        backward = [use for use in uses if use.direction == "backward"]
        if not backward:
            return args
        given = list(args)
        for use in backward:
            given[use.slot] = noise_like(given[use.slot], self.generator)
        return given


class WithheldLayers(Watch):
    """`withheld`: names of layers."""

    def __init__(self, seed: int, withheld: frozenset[str]) -> None:
        super().__init__(seed)
        self.withheld = withheld

    def after(self, func: Any, uses: list[Use], args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        if any(self.book.layer_of[use.weight] in self.withheld for use in uses):
            self.overwrite(next(tensors_in(result)))  # of a convolution's backward pass: the gradient by its input


class HiddenOutputs(Watch):
    def after(self, func: Any, uses: list[Use], args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        top = self.network.layers[-1].name
        if any(use.direction == "forward" and self.book.layer_of[use.weight] == top for use in uses):
            self.overwrite(next(tensors_in(result)))


class WithheldDerivatives(Watch):
    """Those of torch's own operations; `trials.zero_derivatives` sees to the ones that are written out."""

    def after(self, func: Any, uses: list[Use], args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        if name_of(func) in ACTIVATION_DERIVATIVES:
            for each in tensors_in(result):
                each.zero_()


class WithheldMessages(Watch):
    """Counts contractions since a layer above ran forwards, and lets a signal through only one: straight to `layer`.

    What was computed from the outputs, or from any activation above, may reach the layer directly, by whatever weights;
    what has come through a second contraction has been at another layer, and is noise from there. The layer's own
    weights may be passed at will, since a block has several, and a recurrent layer hands signals back through time. A
    contraction over samples gives a weight's gradient and is no way down.
    """

    def __init__(self, seed: int, layer: str, above: frozenset[str], samples: frozenset[int]) -> None:
        super().__init__(seed)
        self.layer, self.above, self.samples = layer, above, samples
        self._hops: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def begin_step(self) -> None:
        super().begin_step()
        self._hops.clear()

    def after(self, func: Any, uses: list[Use], args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        name = name_of(func)
        if is_list_operation(name):
            return  # optimizers: the updates are made
        given = list(tensors_in([list(args), kwargs]))
        into = written(func, args, kwargs)
        overwritten = overwrites(func)
        sources = [each for each in given if not (overwritten and any(each is other for other in into))]
        hops = max((self._of(each) for each in sources), default=-1)
        starts = any(use.direction == "forward" and self.book.layer_of[use.weight] in self.above for use in uses)
        results = list(tensors_in(result))
        if starts and hops <= 0:
            self._mark(results, 0)
            return
        if hops < 0:
            if overwritten:
                self._mark(results, -1)
            return
        if not self._descends(name, uses, args):
            self._mark(results, hops)
            return
        if hops >= 1:
            self.overwrite(results[0])
        self._mark(results[:1], min(hops + 1, 2))
        self._mark(results[1:], hops)  # the gradients by a kernel, beside the one by its input

    def _descends(self, name: str, uses: list[Use], args: Sequence[Any]) -> bool:
        """A contraction that is not over samples, nor with the layer's own weights."""
        if any(self.book.layer_of[use.weight] == self.layer for use in uses):
            return False
        if name in CONVOLUTION_BACKWARD:
            return bool(args[10][0])
        found = operands(name, args)
        return any(
            isinstance(args[each.slot], Tensor)
            and not any(args[each.slot].shape[dim] in self.samples for dim in each.contracted)
            for each in found
        )

    def _of(self, tensor: Tensor) -> int:
        known = self._hops.get(address(tensor)) if tensor.numel() else None
        return -1 if known is None else known[0]

    def _mark(self, tensors: list[Tensor], hops: int) -> None:
        for tensor in tensors:
            if not tensor.numel() or self.book.owns(tensor):  # a weight that was updated sends nothing down
                continue
            if is_whole(tensor):
                self._hops.pop(address(tensor), None)
            if hops >= 0:
                memory = tensor.untyped_storage()
                self._hops[memory.data_ptr()] = (max(hops, self._of(tensor)), memory)

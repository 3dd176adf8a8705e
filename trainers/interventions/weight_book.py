"""Keeps account of which tensors hold forward weights, and of which way round they are used.

A weight may reach an operation as a view, a transposed copy, a scaled or noisy copy made long ago, or an inverse. The
book follows it through all operations on weights alone, from the moment that the network is built, and knows for each
element of such a tensor where in its weight it comes from. So it can tell, whatever the shapes and the names:

    forward    a contraction over the weight's inputs:  W h
    backward   a contraction over its outputs:          Wᵀ δ, an error that goes back through the forward weight

A matrix that it could not follow (through numpy, say) is known by its numbers, when it is used, if it has the shape of
a weight or of its transpose and lies within 8 degrees of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainers.interventions.operations import (
    CONVOLUTION_BACKWARD,
    COPIES,
    FILLS,
    REARRANGEMENTS,
    Operand,
    address,
    fills_given,
    is_list_operation,
    is_pointwise,
    layer_names,
    name_of,
    operands,
    tensors_in,
    written,
)
from trainers.networks.base import Network

Direction = Literal["forward", "backward"]
MIRROR = 0.99
"""Cosine from which on two matrices are taken for the same."""
SMALLEST_MIRROR = 16
"""Elements; fewer could be alike by chance."""
SKETCH = 256
"""Elements that are compared."""


@dataclass(frozen=True, slots=True)
class Use:
    """A weight in a product with something that is no weight."""

    weight: str
    direction: Direction
    slot: int
    """Among the operation's arguments."""
    exact: bool
    """It holds the weight's present values, to the bit."""


@dataclass(slots=True)
class _Page:
    """One piece of memory: element → its place in the flat weight, −1 for an element that holds none of it.

    places None: computed from the weight (a norm, a factor of it), element by element unknown.
    """

    weight: str
    places: Tensor | None
    memory: torch.UntypedStorage
    """Kept, so that its address is not given to another tensor."""


class WeightBook:
    """Of one network."""

    def __init__(self, network: Network) -> None:
        self.weights: dict[str, Tensor] = dict(network.weights())
        self.layer_of = layer_names(network)
        self.unclear: set[str] = set()
        """Operations in which a weight met data in a way that tells no direction."""
        self._pages: dict[int, _Page] = {}
        self._owners: dict[int, str] = {}
        self._sketches: dict[tuple[int, ...], tuple[list[tuple[str, bool]], Tensor]] = {}
        self.refresh()

    def refresh(self) -> None:
        """At the start of a step: weights may have got new memory, and have new values."""
        self._sketches.clear()
        for name, weight in self.weights.items():
            where = address(weight)
            if self._owners.get(where) != name:
                self._owners[where] = name
                self._register(weight, name, torch.arange(weight.numel()).view(weight.shape))

    # -- uses ---------------------------------------------------------------------------------------------------------

    def uses(self, func: Any, args: Sequence[Any]) -> list[Use]:
        """Every weight in this operation that is multiplied with data, and which way round."""
        name = name_of(func)
        multiplies = name in ("mul", "div") and len(args) > 1 and isinstance(args[1], Tensor)
        if is_pointwise(func):
            return self._broadcast_uses(args) if multiplies else []
        uses = [self._use(args, operand) for operand in operands(name, args)]
        found = [use for use in uses if use is not None]
        if not found:
            self._note_unclear(name, args)
        return found

    def _use(self, args: Sequence[Any], operand: Operand) -> Use | None:
        tensor, other = args[operand.slot], args[operand.other]
        if not isinstance(other, Tensor) or self.holds(other) is not None:
            return None
        page = self.holds(tensor) or self._mirrored(tensor)
        if page is None:
            return None
        places = _seen(page, tensor)
        if places is None:
            self.unclear.add("a product with what was computed from a weight")
            return None
        direction = self._direction(page.weight, places, operand.contracted)
        return None if direction is None else Use(page.weight, direction, operand.slot, self._exact(page, tensor))

    def _direction(self, weight: str, places: Tensor, contracted: tuple[int, ...]) -> Direction | None:
        outputs, inputs = self._varies(weight, places, contracted)
        if outputs != inputs:
            return "backward" if outputs else "forward"
        if outputs:
            return None  # both: a flat weight
        rest = [dim for dim in range(places.dim()) if dim not in contracted and dim - places.dim() not in contracted]
        outputs, inputs = self._varies(weight, places, rest)  # one unit wide: what is left over tells
        return "backward" if inputs and not outputs else "forward"

    def _varies(self, weight: str, places: Tensor, dims: Sequence[int]) -> tuple[bool, bool]:
        """Whether the weight's output, and its input, changes along these dimensions."""
        per_output = self.weights[weight][0].numel()
        first = int(places[(0,) * places.dim()])
        outputs = inputs = False
        for dim in dims:
            if places.shape[dim] > 1:
                step = [0] * places.dim()
                step[dim] = 1
                second = int(places[tuple(step)])
                outputs |= first // per_output != second // per_output
                inputs |= first % per_output != second % per_output
        return outputs, inputs

    def _broadcast_uses(self, args: Sequence[Any]) -> list[Use]:
        """(signal[:, :, None] * W).sum(1): a contraction in two steps. What the signal varies along tells which."""
        found = []
        for slot, other in ((0, 1), (1, 0)):
            tensor, signal = args[slot], args[other]
            if not isinstance(tensor, Tensor) or self.holds(signal) is not None or signal.dim() == 0:
                continue
            page = self.holds(tensor)
            shape = torch.broadcast_shapes(tensor.shape, signal.shape)
            if page is None or page.places is None or shape == tensor.shape:
                continue
            places = _seen(page, tensor)
            if places is None:
                continue
            places, spread = places.expand(shape), signal.expand(shape)
            along = [dim for dim in range(len(shape)) if shape[dim] > 1 and spread.stride(dim)]
            outputs, inputs = self._varies(page.weight, places, along)
            if outputs != inputs:
                found.append(Use(page.weight, "backward" if outputs else "forward", slot, self._exact(page, tensor)))
        return found

    def _exact(self, page: _Page, tensor: Tensor) -> bool:
        places = _seen(page, tensor)
        weight = self.weights[page.weight].detach()
        return places is not None and torch.equal(tensor.detach().to(weight.dtype), weight.reshape(-1)[places])

    def _note_unclear(self, name: str, args: Sequence[Any]) -> None:
        if name in COPIES or name in REARRANGEMENTS or name in CONVOLUTION_BACKWARD or is_list_operation(name):
            return  # a convolution's backward pass uses its kernel for the gradient by its input alone
        tensors = [each for each in tensors_in(list(args)) if each.is_floating_point() and each.dim() > 1]
        held = [self.holds(each) is not None for each in tensors]
        if any(held) and not all(held):
            self.unclear.add(name)

    # -- following ----------------------------------------------------------------------------------------------------

    def holds(self, tensor: Tensor) -> _Page | None:
        """What is known of a tensor's memory, where that holds a weight."""
        return self._pages.get(address(tensor)) if tensor.numel() else None

    def owns(self, tensor: Tensor) -> bool:
        """Whether it is one of the network's own weights, or a view of one."""
        return address(tensor) in self._owners

    def follow(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Note what the operation's results hold. `args` are those that the algorithm gave."""
        name = name_of(func)
        if name == "_foreach_copy":
            for into, source in zip(args[0], args[1], strict=True):
                self._written(into, "copy", [source], pointwise=False)
            return
        if is_list_operation(name):
            return
        into = written(func, args, kwargs)
        if fills_given(func):
            for each in into:
                if not self.owns(each):
                    self._forget(each)
            result = [each for each in into if not self.owns(each)]
        elif into:
            sources = [each for each in tensors_in(list(args)) if each is not into[0]]
            self._written(into[0], name, sources, pointwise=is_pointwise(func))
            return
        sources = list(tensors_in(list(args)))
        held = [each for each in sources if self.holds(each) is not None]
        if not held:
            return
        for made in tensors_in(result):
            if self.holds(made) is None:  # else a view
                self._made(func, name, args, kwargs, made, sources, held)

    def _written(self, into: Tensor, name: str, sources: list[Tensor], *, pointwise: bool) -> None:
        if self.owns(into):
            return  # the network's own weight is updated
        if name in FILLS:
            self._forget(into)
        elif name == "copy":
            page = self.holds(sources[0])
            if page is None:
                self._forget(into)
            else:
                self._register(into, page.weight, _seen(page, sources[0]))
        elif pointwise and self.holds(into) is None:
            for source in sources:
                page = self.holds(source)
                if page is not None and source.shape == into.shape:
                    self._register(into, page.weight, _seen(page, source))
                    return
        elif not pointwise and self.holds(into) is not None:
            self._forget(into)

    def _made(
        self,
        func: Any,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        made: Tensor,
        sources: list[Tensor],
        held: list[Tensor],
    ) -> None:
        """A new tensor was computed from `held`, and from `sources` that are none."""
        page = self.holds(held[0])
        if page is None or not made.numel():
            return
        if name in COPIES or is_pointwise(func):
            # A noisy copy of a weight is still a copy; something that a weight is spread over is not.
            same = next((each for each in held if each.shape == made.shape), None)
            if same is not None:
                page = self._pages[address(same)]
                self._register(made, page.weight, _seen(page, same))
            return
        of_weights_alone = all(self.holds(each) is not None for each in sources if each.is_floating_point())
        if not of_weights_alone or len({self._pages[address(each)].weight for each in held}) > 1:
            return
        if name in REARRANGEMENTS:
            self._register(made, page.weight, self._rearranged(func, args, kwargs))
            return
        shape = self.weights[page.weight].shape
        flat = torch.arange(shape.numel()).view(shape)
        if made.shape == shape:
            self._register(made, page.weight, flat)
        elif len(shape) == 2 and made.shape == shape[::-1]:
            self._register(made, page.weight, flat.t())
        elif made.dim() > 1:
            self._register(made, page.weight, None)

    def _rearranged(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
        """The places after a rearrangement: the same one, of the places."""

        def places_of(value: Any) -> Any:
            if isinstance(value, Tensor):
                page = self.holds(value)
                places = None if page is None else _seen(page, value)
                return value if places is None else places.double()
            if isinstance(value, list | tuple):
                return type(value)(places_of(each) for each in value)
            return value

        moved: Tensor = func(*(places_of(each) for each in args), **kwargs)
        return moved.long() if bool((moved == moved.round()).all()) else None

    def _register(self, tensor: Tensor, weight: str, places: Tensor | None) -> None:
        """From now on this part of the tensor's memory holds these places of the weight."""
        memory = tensor.untyped_storage()
        if places is None or 0 in tensor.stride():
            self._pages[memory.data_ptr()] = _Page(weight, None, memory)
            return
        known = self._pages.get(memory.data_ptr())
        size = memory.nbytes() // tensor.element_size()
        whole = known.places if known is not None and known.weight == weight else None
        if whole is None or len(whole) != size:
            whole = torch.full((size,), -1)
        whole.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset()).copy_(places)
        self._pages[memory.data_ptr()] = _Page(weight, whole, memory)

    def _forget(self, tensor: Tensor) -> None:
        page = self.holds(tensor)
        if page is None:
            return
        if page.places is not None:
            page.places.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset()).fill_(-1)
            if bool((page.places >= 0).any()):
                return
        del self._pages[address(tensor)]

    # -- by the numbers -----------------------------------------------------------------------------------------------

    def _mirrored(self, tensor: Tensor) -> _Page | None:
        """The page of a matrix that has a weight's numbers, however it came by them."""
        if tensor.dim() != 2 or tensor.numel() < SMALLEST_MIRROR or not tensor.is_floating_point():
            return None
        names, sketches = self._sketch(tuple(tensor.shape))
        if not names:
            return None
        own = tensor.detach().reshape(-1)[:SKETCH].to(sketches.dtype)
        cosines = (sketches @ own).abs() / (sketches.norm(dim=1) * own.norm()).clamp(min=1e-30)
        best = int(cosines.argmax())
        if float(cosines[best]) < MIRROR:
            return None
        weight, turned = names[best]
        shape = self.weights[weight].shape
        flat = torch.arange(shape.numel()).view(shape)
        self._register(tensor, weight, flat.t() if turned else flat)
        return self.holds(tensor)

    def _sketch(self, shape: tuple[int, ...]) -> tuple[list[tuple[str, bool]], Tensor]:
        """Weights of this shape, or of its transpose (True), and their first elements."""
        if shape not in self._sketches:
            names: list[tuple[str, bool]] = []
            rows: list[Tensor] = []
            for name, weight in self.weights.items():
                for turned in (False, True):
                    values = weight.detach().t() if turned and weight.dim() == 2 else weight.detach()
                    if tuple(values.shape) == shape and not (turned and weight.dim() != 2):
                        names.append((name, turned))
                        rows.append(values.reshape(-1)[:SKETCH])
            self._sketches[shape] = names, torch.stack(rows) if rows else torch.empty(0)
        return self._sketches[shape]


def _seen(page: _Page, tensor: Tensor) -> Tensor | None:
    """The places of a view's elements; None where they are not known, or not all are of the weight."""
    if page.places is None or len(page.places) != page.memory.nbytes() // tensor.element_size():
        return None
    places = page.places.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
    return places if int(places[(0,) * places.dim()]) >= 0 and int(places[(-1,) * places.dim()]) >= 0 else None

"""torch's operations as an intervention sees them: which operand is summed over, which write, which only rearrange.

Names are those of the schema without overload and without the underscore of an in-place form: "mm" is mm, mm.out, mm_.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from trainers.networks.base import Network


@dataclass(frozen=True, slots=True)
class Operand:
    """One argument of a contraction: a product that sums over some of its dimensions."""

    slot: int
    """Its place among the arguments."""
    contracted: tuple[int, ...]
    """Dimensions that are summed over."""
    other: int
    """The place of what it is multiplied with."""


PRODUCTS: dict[str, tuple[Operand, ...]] = {
    "mm": (Operand(0, (-1,), 1), Operand(1, (-2,), 0)),
    "bmm": (Operand(0, (-1,), 1), Operand(1, (-2,), 0)),
    "addmm": (Operand(1, (-1,), 2), Operand(2, (-2,), 1)),
    "_addmm_activation": (Operand(1, (-1,), 2), Operand(2, (-2,), 1)),
    "baddbmm": (Operand(1, (-1,), 2), Operand(2, (-2,), 1)),
    "addbmm": (Operand(1, (-1,), 2), Operand(2, (-2,), 1)),
    "mv": (Operand(0, (-1,), 1),),
    "addmv": (Operand(1, (-1,), 2),),
    "linear": (Operand(1, (-1,), 0),),
    # A look-up is a product with one-hot vectors.
    "embedding": (Operand(0, (0,), 1),),
}
CONVOLUTIONS = ("convolution", "convolution_overrideable", "_convolution")
CONVOLUTION_BACKWARD = ("convolution_backward", "convolution_backward_overrideable")

ACTIVATION_DERIVATIVES = frozenset(
    f"{name}_backward"
    for name in (
        "threshold", "tanh", "sigmoid", "gelu", "elu", "leaky_relu", "hardtanh", "hardsigmoid", "hardswish", "silu",
        "mish", "softplus", "log_sigmoid", "rrelu_with_noise", "_prelu_kernel", "glu",
    )
)  # fmt: skip
"""Operations that multiply a signal with the derivative of a nonlinearity: autograd's, and those called by hand."""

COPIES = frozenset({"clone", "_to_copy", "copy", "contiguous", "lift_fresh_copy", "detach_copy", "alias_copy"})
REARRANGEMENTS = frozenset(
    {
        "cat", "stack", "flip", "roll", "repeat", "index_select", "gather", "index", "constant_pad_nd",
        "t_copy", "transpose_copy", "permute_copy", "view_copy", "expand_copy", "slice_copy", "select_copy",
        "unsqueeze_copy", "squeeze_copy", "diagonal_copy", "_reshape_copy", "narrow_copy",
    }
)  # fmt: skip
"""Their results hold elements of their operands, in other places."""
FILLS = frozenset(
    {"zero", "fill", "normal", "uniform", "bernoulli", "random", "exponential", "cauchy", "log_normal", "geometric"}
)
"""In place, with nothing left of what was there."""


@cache  # every operation of a step asks
def name_of(func: Any) -> str:
    """ "mm" for every overload of aten::mm and mm_."""
    return str(func._schema.name).rpartition("::")[2].rstrip("_")


def operands(name: str, args: Sequence[Any]) -> tuple[Operand, ...]:
    """Those of a contraction that may hold a weight; none for any other operation."""
    found = PRODUCTS.get(name)
    if found is not None:
        return found
    if name in CONVOLUTIONS:
        kernel = tuple(range(1, args[1].dim()))
        return (Operand(1, (0,) if args[6] else kernel, 0),)
    if name in CONVOLUTION_BACKWARD and args[10][0]:  # else the gradient by the input is not asked for
        kernel = tuple(range(1, args[2].dim()))
        return (Operand(2, kernel if args[7] else (0,), 0),)
    return ()


@cache
def is_pointwise(func: Any) -> bool:
    return torch.Tag.pointwise in func.tags


def is_list_operation(name: str) -> bool:
    """One that works on lists of tensors side by side, as fused optimizers do."""
    return name.startswith(("_foreach_", "_fused_", "_amp_foreach_"))


def tensors_in(values: Any) -> Iterator[Tensor]:
    """All tensors of (nested) arguments or results, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def written(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that the operation writes into, `out=` among them."""
    found: list[Tensor] = []
    for place, name in _writes(func):
        found.extend(tensors_in(args[place] if place < len(args) else kwargs.get(name)))
    return found


@cache
def _writes(func: Any) -> tuple[tuple[int, str], ...]:
    """Place and name of the arguments that it writes into."""
    arguments = enumerate(func._schema.arguments)
    return tuple((place, each.name) for place, each in arguments if each.alias_info and each.alias_info.is_write)


@cache
def fills_given(func: Any) -> bool:
    """Whether it is told where to put its result, as by `out=`."""
    return any(each.kwarg_only and each.alias_info and each.alias_info.is_write for each in func._schema.arguments)


def overwrites(func: Any) -> bool:
    """Whether nothing is left of what was there where it writes."""
    return name_of(func) in FILLS or name_of(func) == "copy" or fills_given(func)


def address(tensor: Tensor) -> int:
    """Of the memory that the tensor is a view of; equal for all views, and for arrays of others that share it."""
    return tensor.untyped_storage().data_ptr()


def layer_names(network: Network) -> dict[str, str]:
    """Parameter → the layer that it belongs to."""
    names = sorted((layer.name for layer in network.layers), key=len, reverse=True)
    return {
        parameter: next(name for name in names if parameter.startswith(f"{name}."))
        for parameter, _ in network.named_parameters()
    }


def is_whole(tensor: Tensor) -> bool:
    """Whether it is all of its memory, not a part."""
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()

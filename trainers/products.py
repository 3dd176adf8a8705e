"""Matrix products, the bulk of a step: by oneDNN where the library that torch multiplies by is slow.

torch's own products go to MKL, which takes its AVX-512 path on Intel's processors only. oneDNN, which torch ships too,
takes it on any: on a Zen 5 core 256 × 256 × 256 in float32 takes 0.15 ms instead of 0.30, larger ones 45 % as long. The
operator is one that torch's own compiler emits; where it is missing, or cannot be used, torch's product is taken.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SMALLEST = 1_500_000
"""Multiplications below which oneDNN's preparations cost more than it wins: 200 × 100 × 10 take twice as long."""


def product(x: Tensor, w: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """x wᵀ + bias of matrices (n, k) and (m, k), either a transposed view if need be. Not differentiable.

    `out` may take the result: use what is returned.
    """
    if _by_onednn(x, w):
        return _by_pointwise(x, w, bias)
    if bias is None:
        return torch.mm(x, w.t(), out=out)
    return torch.addmm(bias, x, w.t(), out=out)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b of (batch, in) and (out, in), as torch's: differentiable (once), and in autocast's precision.

    Every algorithm multiplies by it, backprop too, so that none is compared by its library.
    """
    if x.dim() != 2 or not _by_onednn(x, weight):
        return F.linear(x, weight, bias)
    return _differentiable(x, weight, bias, "none")


def tanh_comes_with_product(x: Tensor, weight: Tensor) -> bool:
    """Whether `tanh_linear` takes these. Torch's own tanh of 100 x 240 takes as long as the product of 240 x 240 that
    it follows; oneDNN computes it on the product's way to memory, for an eighth of that."""
    return x.dim() == 2 and _by_onednn(x, weight)


def tanh_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """tanh(x Wᵀ + b), differentiable (once); only where `tanh_comes_with_product`."""
    return _differentiable(x, weight, bias, "tanh")


def tanh_of(a: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`tanh_linear` to the last bit, as a function of a = x Wᵀ + b, for who wants the gradient by a."""
    found: Tensor = _TanhOf.apply(a, x, weight, bias)
    return found


def _differentiable(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    if torch.is_grad_enabled():
        found: Tensor = _Linear.apply(x, weight, bias, activation)
        return found
    return _by_pointwise(x, weight, bias, activation)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        result = _by_pointwise(x, weight, bias, activation)
        ctx.save_for_backward(x, weight, result if activation == "tanh" else None)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, h = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if h is not None:
            delta = torch.ops.aten.tanh_backward(delta, h)
        return (
            product(delta, weight.t()) if wanted[0] else None,
            product(delta.t(), x.t()) if wanted[1] else None,
            delta.sum(0) if wanted[2] else None,
            None,
        )


class _TanhOf(torch.autograd.Function):
    """Computed from what a was made of, and a function of a alone."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        h = _by_pointwise(x, weight, bias, "tanh")
        ctx.save_for_backward(h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, None, None, None]:
        (h,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(delta, h), None, None, None


def _by_pointwise(x: Tensor, w: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, w, bias, activation, [], "")
    return result


def _by_onednn(x: Tensor, w: Tensor) -> bool:
    return bool(
        x.numel() * w.shape[0] >= SMALLEST
        and x.is_cpu
        and x.dtype == w.dtype == torch.float32
        and _onednn_is_faster()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._len_torch_dispatch_stack()  # counters of FLOPs and bytes do not know the operator
    )


@cache
def _onednn_is_faster() -> bool:
    """AVX-512, a processor that is not Intel's, and the operator."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and _vendor() not in ("", "GenuineIntel")
    )


def _vendor() -> str:
    """Of the processor; empty where it is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("vendor_id")), "")

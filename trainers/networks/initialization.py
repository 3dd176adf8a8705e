"""Initial weights: drawn on the CPU in float32 from a stream per layer, so that two algorithms start alike."""

import re
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

_NORMAL = re.compile(r"normal\((\d+(?:\.\d+)?(?:e-?\d+)?)\)")
NAMES = ("kaiming", "xavier", "orthogonal", "uniform", "normal(std)")


def _known(name: str) -> str:
    if name not in NAMES[:4] and not _NORMAL.fullmatch(name):
        raise ValueError(f"initialization must be one of {', '.join(NAMES)}, e.g. normal(0.01)")
    return name


Initialization = Annotated[str, AfterValidator(_known)]
"""kaiming (normal, fan-in), xavier (uniform; Glorot), orthogonal, uniform (PyTorch's own ±1/√fan-in), normal(std)."""


@torch.no_grad()
def initialize(weight: Tensor, scheme: str, gain: float, generator: torch.Generator) -> None:
    """Fill `weight`, (out, in, *kernel), in place by `scheme`; `gain` is the nonlinearity's, for kaiming alone."""
    fan_in = weight[0].numel()
    drawn = torch.empty(weight.shape, dtype=torch.float32)
    if scheme == "kaiming":
        drawn.normal_(0, gain / fan_in**0.5, generator=generator)
    elif scheme == "xavier":
        fan_out = weight.shape[0] * (fan_in // weight.shape[1])
        bound = (6 / (fan_in + fan_out)) ** 0.5
        drawn.uniform_(-bound, bound, generator=generator)
    elif scheme == "orthogonal":
        nn.init.orthogonal_(drawn, generator=generator)
    elif scheme == "uniform":
        drawn.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
    else:
        match = _NORMAL.fullmatch(scheme)
        if match is None:
            raise ValueError(f"unknown initialization {scheme!r}")
        drawn.normal_(0, float(match[1]), generator=generator)
    weight.copy_(drawn)


@torch.no_grad()
def initialize_bias(bias: Tensor, scheme: str, fan_in: int, generator: torch.Generator) -> None:
    """Zero, except with PyTorch's own scheme, which draws biases too."""
    bias.zero_()
    if scheme == "uniform":
        bias.copy_(torch.empty(bias.shape).uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator))

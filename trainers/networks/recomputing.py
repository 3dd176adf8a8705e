"""Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): each layer's insides are forgotten after the forward
pass and computed again on the way back. Only what layers hand to each other is kept.

The second computation sees the same dropout masks and leaves running statistics and generators where they were, so
gradients are those of the plain pass, bit for bit.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainers.networks.base import BatchNorm, Layer, Network


def forward_recomputing(network: Network, inputs: Tensor) -> Tensor:
    """Outputs of a batch in training, for autograd."""
    h = inputs
    for layer in network.layers:
        h = checkpoint(layer, h, use_reentrant=False, preserve_rng_state=False, context_fn=partial(_passes, layer))
    return h


def _passes(layer: Layer) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Around the first computation and around the second."""
    return nullcontext(), _again(layer, [(each, each.get_state()) for each in _generators(layer)])


@contextmanager
def _again(layer: Layer, drawn_from: list[tuple[torch.Generator, Tensor]]) -> Iterator[None]:
    norms = [(module, module.momentum) for module in layer.modules() if isinstance(module, BatchNorm)]
    now = [(generator, generator.get_state()) for generator, _ in drawn_from]
    for generator, state in drawn_from:
        generator.set_state(state)
    for norm, _ in norms:
        norm.momentum = 0.0  # running statistics are written, and stay what they are
    try:
        yield
    finally:
        for generator, state in now:
            generator.set_state(state)
        for norm, momentum in norms:
            norm.momentum = momentum


def _generators(layer: Layer) -> list[torch.Generator]:
    return [
        value for module in layer.modules() for value in vars(module).values() if isinstance(value, torch.Generator)
    ]

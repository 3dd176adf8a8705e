"""Memory that every layer and step writes anew.

A step of the HSIC bottleneck makes some fifty tensors of batch × units and batch × batch. Taken from the allocator each
time they cost a page fault every 4 KiB, an eighth of the step at a batch of 256, and never lie in a cache.
"""

import torch
from torch import Tensor

MOST_KEPT = 256
"""Tensors; a run has one or two batch sizes and a few widths. Beyond it all are let go, so that no run hoards."""


class Workspace:
    """Hands out the tensor of a name and shape again at each request, its content undefined.

    keep: False hands out fresh tensors, for steps whose parts are looked at once all layers have run.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._kept: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._keep = keep

    def room(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of that shape, contiguous, of `like`'s dtype and device."""
        key = (name, tuple(shape))
        kept = self._kept.get(key)
        if kept is not None and kept.dtype == like.dtype and kept.device == like.device:
            return kept
        fresh = torch.empty(shape, dtype=like.dtype, device=like.device)
        if self._keep:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = fresh
        return fresh

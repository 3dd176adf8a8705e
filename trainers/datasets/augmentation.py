"""Random crops and mirrored images, drawn for a whole epoch and applied to a batch at once, on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.streams import generator_for


@dataclass(frozen=True, slots=True)
class Draws:
    """One epoch's chances, by position in its order: (count,) each."""

    top: Tensor
    left: Tensor
    mirrored: Tensor


class CropAndFlip:
    """Pads images with `padding` black pixels on each side, cuts out the old size somewhere, mirrors half of them.

    Black is 0 before normalisation, as He et al. 2015 (arXiv 1512.03385, section 4.2) and most programs have it.
    """

    def __init__(self, padding: int, flip: bool) -> None:
        self.padding, self.flip = padding, flip
        self._padded: dict[torch.Size, Tensor] = {}

    def draw(self, count: int, *, seed: int, epoch: int, device: torch.device) -> Draws:
        """The chances of an epoch, from the stream "augmentation/<epoch>" alone."""
        generator = generator_for(seed, f"augmentation/{epoch}")
        corners = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator).to(device)
        mirrored = torch.rand(count, generator=generator) < 0.5
        return Draws(corners[0], corners[1], (mirrored & self.flip).to(device))

    def apply_(self, images: Tensor, draws: Draws, first: int) -> Tensor:
        """Augments uint8 images (batch, channels, height, width) in place; draws count from position `first`."""
        here = slice(first, first + len(images))
        if self.padding:
            self._crop_(images, draws.top[here], draws.left[here])
        if self.flip:
            torch.where(draws.mirrored[here, None, None, None], images.flip(-1), images, out=images)
        return images

    def _crop_(self, images: Tensor, top: Tensor, left: Tensor) -> None:
        count, channels, height, width = images.shape
        padding = self.padding
        padded = self._padded.get(images.shape)
        if padded is None:
            padded = images.new_zeros(count, channels, height + 2 * padding, width + 2 * padding)
            self._padded[images.shape] = padded
        padded[:, :, padding : padding + height, padding : padding + width] = images
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (batch, channels, top, left, height, width)
        images.copy_(windows[torch.arange(count, device=images.device), :, top, left])

"""Crops and mirrored images, against an obvious loop over samples."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.datasets.augmentation import CropAndFlip, Draws


def slowly(image: torch.Tensor, padding: int, top: int, left: int, mirrored: bool) -> torch.Tensor:
    channels, height, width = image.shape
    result = torch.zeros_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                y, x = i + top - padding, j + left - padding
                value = image[c, y, x] if 0 <= y < height and 0 <= x < width else 0
                result[c, i, width - 1 - j if mirrored else j] = value
    return result


@given(padding=st.integers(0, 3), flip=st.booleans(), epoch=st.integers(0, 99), first=st.integers(0, 4))
def test_each_image_is_cropped_and_mirrored_by_its_own_draw(padding: int, flip: bool, epoch: int, first: int) -> None:
    change = CropAndFlip(padding, flip)
    images = torch.randint(0, 256, (3, 2, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(epoch))
    draws = change.draw(7, seed=1, epoch=epoch, device=torch.device("cpu"))
    expected = [
        slowly(image, padding, int(draws.top[k]), int(draws.left[k]), bool(draws.mirrored[k]))
        for k, image in enumerate(images, first)
    ]
    assert torch.equal(change.apply_(images.clone(), draws, first), torch.stack(expected))


def test_draws_reach_every_corner_and_mirror_half() -> None:
    draws: Draws = CropAndFlip(4, True).draw(4000, seed=0, epoch=0, device=torch.device("cpu"))
    assert set(draws.top.tolist()) == set(draws.left.tolist()) == set(range(9))
    assert 0.45 < draws.mirrored.float().mean() < 0.55
    assert not CropAndFlip(4, False).draw(100, seed=0, epoch=0, device=torch.device("cpu")).mirrored.any()


def test_draws_differ_between_epochs_and_seeds_and_repeat_otherwise() -> None:
    change, device = CropAndFlip(4, True), torch.device("cpu")
    base = change.draw(50, seed=0, epoch=0, device=device)
    assert torch.equal(base.top, change.draw(50, seed=0, epoch=0, device=device).top)
    assert not torch.equal(base.top, change.draw(50, seed=0, epoch=1, device=device).top)
    assert not torch.equal(base.top, change.draw(50, seed=1, epoch=0, device=device).top)


def test_the_border_of_one_batch_does_not_show_in_the_next() -> None:
    change = CropAndFlip(2, False)
    corner = Draws(torch.tensor([0]), torch.tensor([0]), torch.tensor([False]))
    for _ in range(2):
        shifted = change.apply_(torch.full((1, 1, 3, 3), 9, dtype=torch.uint8), corner, 0)
        assert shifted[0, 0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 9]]

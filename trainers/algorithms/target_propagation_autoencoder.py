"""An auto-encoder of one hidden layer trained by difference target propagation (arXiv 1412.7525, its last experiment).

h = f(x),  z = g(h + ε)                       encoder, decoder; ε ~ N(0, σ²)
ẑ = z − η̂ ∂ℓ/∂z                               what the reconstruction should have been
ĥ = h + f(ẑ) − f(z)                           the encoder is the decoder's inverse: nothing else is learned
‖g(h + ε) − ẑ‖²   ‖f(x + ε′) − ĥ‖²            train decoder and encoder, each by itself
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from trainers.algorithms.target_propagation_networks import layer_gradients
from trainers.events import Artefact
from trainers.networks.dense import DenseLayer

COLUMNS = 20
SHOWN_FILTERS, SHOWN_SAMPLES = 200, 20


@dataclass(frozen=True, slots=True)
class AutoencoderStep:
    """Reconstructions, (batch, pixels), gradients by weight, and per layer ∂loss/∂a and mean ‖ĥ − h‖."""

    outputs: Tensor
    gradients: dict[str, Tensor]
    signals: dict[str, Tensor]
    distances: dict[str, Tensor]


def autoencoder_step(
    encoder: DenseLayer,
    decoder: DenseLayer,
    x: Tensor,
    *,
    corrupted: Tensor,
    noise: Tensor,
    towards: Callable[[Tensor], Tensor],
) -> AutoencoderStep:
    """x: (batch, pixels). corrupted: x + ε′. noise: ε, (batch, hidden). towards: z → ẑ."""
    h = encoder.activation.function(encoder.affine(x))
    seen = h + noise
    a = decoder.affine(seen)
    z = decoder.activation.function(a)
    z_target = towards(z)
    h_target = h + (encoder(z_target) - encoder(z))  # grouped so that ẑ = z leaves h alone to the last bit
    decoder_delta = decoder.activation.times_derivative(z - z_target, a, z).mul_(2 / len(x))
    a = encoder.affine(corrupted)
    f = encoder.activation.function(a)
    encoder_delta = encoder.activation.times_derivative(f - h_target, a, f).mul_(2 / len(x))
    return AutoencoderStep(
        z,
        layer_gradients(encoder, encoder_delta, corrupted) | layer_gradients(decoder, decoder_delta, seen),
        {encoder.name: encoder_delta, decoder.name: decoder_delta},
        {encoder.name: (h_target - h).norm(dim=1).mean(), decoder.name: (z_target - z).norm(dim=1).mean()},
    )


def draw_autoencoder(
    filters: Tensor, samples: Tensor, reconstructions: Tensor, shape: tuple[int, ...], folder: Path
) -> list[Artefact]:
    """Two PNG files in `folder`: filters, (hidden, pixels), and samples above their reconstructions.

    shape: (channels, height, width) of a sample. Nothing is drawn of samples that are not images.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    count = min(SHOWN_SAMPLES, len(samples))
    each = filters[:SHOWN_FILTERS].reshape(-1, *shape)
    largest = each.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    pairs = torch.cat([samples[:count].reshape(-1, *shape), reconstructions[:count].reshape(-1, *shape)])
    return [
        _png(
            tiled(each / (2 * largest) + 0.5, COLUMNS),
            folder / "filters.png",
            f"Weights of the first {len(each)} hidden units, each scaled to its largest: grey is 0, white positive.",
        ),
        _png(
            tiled(pairs.clamp(0, 1), count),
            folder / "reconstructions.png",
            "Samples of the validation split (above) and their reconstructions (below).",
        ),
    ]


def tiled(images: Tensor, columns: int) -> Tensor:
    """(count, channels, height, width) in 0..1 → one (channels, …, …) image, row by row, a pixel of grey between."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.full((channels, rows * (height + 1) + 1, columns * (width + 1) + 1), 0.5)
    for number, image in enumerate(images.detach().float().cpu()):
        top, left = number // columns * (height + 1) + 1, number % columns * (width + 1) + 1
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def _png(sheet: Tensor, path: Path, description: str) -> Artefact:
    pixels = (sheet * 255).round().to(torch.uint8)
    size = (pixels.shape[2], pixels.shape[1])
    mode, data = ("L", pixels[0]) if len(pixels) == 1 else ("RGB", pixels.permute(1, 2, 0))
    Image.frombytes(mode, size, bytes(data.contiguous().flatten().tolist())).resize(
        (size[0] * 2, size[1] * 2), Image.Resampling.NEAREST
    ).save(path)
    return Artefact(name=path.name, media_type="image/png", path=str(path), description=description)

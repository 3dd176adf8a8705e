"""Using a finished network outside a run: outputs for inputs of your own, and its weights alone."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from trainers import checkpoint as checkpoints
from trainers.device import dtype_of
from trainers.errors import CheckpointError, SpecError
from trainers.training import load_for_prediction


def predict_file(checkpoint: Path, inputs: Path, output: Path) -> None:
    """Write the network's outputs (logits) for the samples in `inputs`, an .npy file. Raises SpecError for inputs
    that are missing, pickled, not numbers, or of another shape than the network takes."""
    try:
        samples = np.load(inputs, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SpecError("#/inputs", f"Cannot read {inputs} as an .npy array: {error}.") from None
    parts = load_for_prediction(checkpoint)
    shape = parts.network.in_shape
    if not np.issubdtype(samples.dtype, np.number) or tuple(samples.shape[-len(shape) :]) != tuple(shape):
        raise SpecError(
            "#/inputs",
            f"The network takes numbers of shape (samples, {', '.join(map(str, shape))}); "
            f"{inputs} holds {samples.dtype} of shape {samples.shape}.",
        )
    tensor = torch.from_numpy(samples).to(parts.device, dtype_of(parts.spec.training.precision))
    with torch.no_grad():
        outputs = parts.algorithm.predict(tensor)
    if outputs is None:
        raise CheckpointError("The algorithm has no read-out at this step, so there are no outputs yet.")
    with output.open("wb") as file:
        np.save(file, outputs.cpu().numpy())


def export_network(checkpoint: Path, output: Path) -> None:
    """The network's tensors by name (`layer1.weight`, …), nothing else. Raises CheckpointError."""
    loaded = checkpoints.load(checkpoint)
    tensors, _ = checkpoints.flatten(loaded.state["algorithm"]["network"])
    save_file(tensors, output, metadata={"format": "altprop-weights/1"})

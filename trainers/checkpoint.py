"""The full training state as one safetensors file: tensors by path, everything else in a JSON header.

    algorithm/network/layer1.weight      tensors of a nested state, path by path
    metadata["altprop"]                  JSON: format, spec, position, numbers, machine, dataset, metrics

Never pickle. The same state gives the same bytes.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainers.errors import CheckpointError

FORMAT = "altprop-checkpoint/1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds: the nested state, and the header that says what it is."""

    state: dict[str, Any]
    header: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """A whole file on disk."""

    path: Path
    bytes: int
    sha256: str


def save(path: Path, state: dict[str, Any], header: dict[str, Any]) -> Written:
    """Write whole or not at all: under a temporary name, synced, then renamed."""
    tensors, numbers = flatten(state)
    text = json.dumps({"format": FORMAT, **header, "numbers": numbers}, allow_nan=False, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, temporary, metadata={"altprop": text})
        size, digest = _digest(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Written(path, size, digest)


def load(path: Path | str) -> Checkpoint:
    """Raises CheckpointError for a file that is missing, damaged, or not a checkpoint of this format."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("altprop", "null"))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise CheckpointError(f"{path} is not an Altprop checkpoint ({FORMAT}).")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint at {path}.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read: {error}.") from error
    return Checkpoint(unflatten(tensors, header.pop("numbers")), header)


def flatten(state: dict[str, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Nested state → (path → tensor, path → JSON scalar). Raises TypeError for anything else in it."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for key, value in state.items():
        path = f"{prefix}{key}"
        if "/" in str(key):
            raise TypeError(f"'/' separates levels of a state, so it cannot stand in the key {path!r}")
        if isinstance(value, dict):
            inner_tensors, inner_numbers = flatten(value, f"{path}/")
            tensors |= inner_tensors
            numbers |= inner_numbers
            if not value:
                numbers[f"{path}/"] = {}
        elif isinstance(value, Tensor):
            tensors[path] = value.detach().cpu().contiguous().clone()  # safetensors refuses shared storage
        elif isinstance(value, float) and not math.isfinite(value):
            tensors[f"{path}/ float"] = torch.tensor(value, dtype=torch.float64)  # JSON has no NaN
        elif value is None or isinstance(value, bool | int | float | str):
            numbers[path] = value
        else:
            raise TypeError(f"a state holds tensors, dicts and JSON scalars; {path} is a {type(value).__name__}")
    return tensors, numbers


def unflatten(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    state: dict[str, Any] = {}
    for path, value in {**tensors, **numbers}.items():
        *parents, leaf = path.split("/")
        if leaf == " float":
            *parents, leaf = parents
            value = float(value)
        node = state
        for parent in parents:
            node = node.setdefault(parent, {})
        if leaf:
            node[leaf] = value
    return state


def weights_sha256(state: dict[str, Any]) -> str:
    """SHA-256 over all network tensors (names, shapes, bytes): equal weights, equal sum."""
    digest = hashlib.sha256()
    tensors, _ = flatten(state)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _digest(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        os.fsync(file.fileno())
        return file.tell(), digest.hexdigest()

"""One seed, named streams of random numbers: no global generator anywhere, so runs repeat and resume exactly."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch

Streams = Callable[[str], torch.Generator]


def generator_for(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on seed and name alone.

    CPU generators keep only the low 32 bits of a seed, so seed and name are hashed down to 32 here:
    `seed << 32 | k` would collide.
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))


class StreamBook:
    """Opens a generator per name once; saves and restores the states of all that it has opened."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.device = seed, device
        self._open: dict[str, torch.Generator] = {}

    def __call__(self, name: str) -> torch.Generator:
        if name not in self._open:
            self._open[name] = generator_for(self.seed, name, self.device)
        return self._open[name]

    def once(self, name: str) -> torch.Generator:
        """A fresh CPU generator that is not kept: for what is drawn once, such as initial weights."""
        return generator_for(self.seed, name)

    def state_dict(self) -> dict[str, Any]:
        # "/" separates levels in a checkpoint, so the names are kept as JSON-safe keys with ":" instead.
        return {name.replace("/", ":"): generator.get_state() for name, generator in self._open.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self(name.replace(":", "/")).set_state(value.cpu())

"""Energy that the device reports: NVML for a GPU, RAPL for a CPU where it can be read; else the reason why not.

Both count the whole device, other processes and idle power included.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")
READ_EVERY_SECONDS = 10.0
"""RAPL's counter wraps around after some minutes at full power, so it is read now and then."""


class Counter(Protocol):
    """Grows with the energy used."""

    source: str

    def joules(self) -> float:
        """Since some fixed moment."""
        ...


@dataclass(slots=True)
class Rapl:
    """A processor package's counter, in files that may be readable by root alone."""

    zones: list[Path]
    source: str = "RAPL, processor packages"
    _last: list[float] = field(default_factory=list)
    _wrapped: float = 0.0

    def joules(self) -> float:
        now = [float((zone / "energy_uj").read_text()) for zone in self.zones]
        for zone, before, value in zip(self.zones, self._last, now, strict=False):
            if value < before:
                self._wrapped += float((zone / "max_energy_range_uj").read_text())
        self._last = now
        return (sum(now) + self._wrapped) * 1e-6


@dataclass(slots=True)
class Nvml:
    """The GPU's own counter of millijoules since the driver was loaded."""

    handle: Any
    source: str = "NVML, total energy of the GPU"

    def joules(self) -> float:
        import pynvml

        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) * 1e-3


def find_counter(device: torch.device, powercap: Path = POWERCAP) -> Counter | str:
    """The device's counter, or the reason why there is none, as a sentence."""
    return _find_nvml(device) if device.type == "cuda" else _find_rapl(powercap)


def _find_nvml(device: torch.device) -> Counter | str:
    import pynvml

    try:
        pynvml.nvmlInit()
        # By UUID: NVML numbers all GPUs, CUDA only those that CUDA_VISIBLE_DEVICES leaves.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return f"not available: NVML says {error}."
    return Nvml(handle)


def _find_rapl(powercap: Path) -> Counter | str:
    zones = [zone for zone in sorted(powercap.glob("*rapl:[0-9]*")) if zone.name.count(":") == 1]
    if not zones:
        return "not available: this machine has no RAPL counters (a virtual machine, or a processor without)."
    try:
        for zone in zones:
            (zone / "energy_uj").read_text()
    except OSError as error:
        return f"not available: the RAPL counter {zone.name} cannot be read ({error.strerror})."
    return Rapl(zones)


class EnergyMeter:
    """Joules of one run over all its attempts; None once an attempt ran where they could not be read."""

    def __init__(self, device: torch.device, powercap: Path = POWERCAP) -> None:
        self._counter = find_counter(device, powercap)
        self._begin = 0.0 if isinstance(self._counter, str) else self._counter.joules()
        self._earlier: float | None = 0.0
        self._read_at = time.perf_counter()

    def look(self) -> None:
        """Called often; reads the counter when it is time to, lest a wrap-around be missed."""
        now = time.perf_counter()
        if not isinstance(self._counter, str) and now - self._read_at >= READ_EVERY_SECONDS:
            self._read_at = now
            self._counter.joules()

    def joules(self) -> float | None:
        """Used so far."""
        if isinstance(self._counter, str) or self._earlier is None:
            return None
        return self._earlier + self._counter.joules() - self._begin

    @property
    def source(self) -> str:
        """What was read, or why nothing could be."""
        if isinstance(self._counter, str):
            return self._counter
        if self._earlier is None:
            return "not available: an earlier attempt of this run could not read it."
        return self._counter.source

    def state_dict(self) -> dict[str, Any]:
        return {"joules": self.joules()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._earlier = state["joules"]

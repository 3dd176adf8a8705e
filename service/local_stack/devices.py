"""Which devices the workers of this machine train on, told without loading torch."""

import os
from typing import Literal

import pynvml

from service.local_stack.errors import StackError

DeviceChoice = Literal["auto", "cpu", "cuda"]
CPU_WORKERS_AT_MOST = 4  # by default: each holds a trainer and the next one, warm, in memory


def visible_devices(found: list[str], visible: str | None) -> list[str]:
    """The GPUs (UUIDs) that CUDA_VISIBLE_DEVICES leaves, named there by their number or by how their UUID begins."""
    if visible is None:
        return found
    chosen: list[str] = []
    for word in (part.strip() for part in visible.split(",")):
        matches = (
            found[int(word) : int(word) + 1] if word.isdecimal() else [u for u in found if word and u.startswith(word)]
        )
        if not matches:
            break  # CUDA, too, ignores all that follows an entry it does not know
        chosen += matches
    return chosen


def _all_cuda_devices() -> list[str]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no driver: no GPU
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def choose_devices(choice: DeviceChoice) -> list[str]:
    """The GPUs to train on, by UUID; an empty list means the CPU. Raises StackError if CUDA is asked for in vain."""
    if choice == "cpu":
        return []
    found = visible_devices(_all_cuda_devices(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if choice == "cuda" and not found:
        raise StackError("This machine shows no CUDA device: choose --device cpu, or look at nvidia-smi.")
    return found


def default_workers(gpus: list[str]) -> int:
    """One a GPU; on the CPU one a core, up to a few."""
    return len(gpus) or min(CPU_WORKERS_AT_MOST, os.cpu_count() or 1)

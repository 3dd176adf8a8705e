"""The machine under a run: device, threads, precision, determinism. Process state, set before the first operation."""

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from trainers.errors import SpecError
from trainers.spec import Training


def resolve_device(name: str) -> str:
    """`auto` → cuda where there is one, else cpu. Raises SpecError for cuda on a machine without."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SpecError(
            "#/training/device", "This machine has no CUDA device; use cpu or auto.", got=name, allowed=["auto", "cpu"]
        )
    return name


def resolve_threads(threads: int | None) -> int:
    """The number asked for, else all cores that this process may use."""
    if threads is not None:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_process(training: Training) -> torch.device:
    """Set threads, precision and determinism for the whole process; `training` is resolved."""
    torch.set_num_threads(training.threads or 1)
    torch.set_flush_denormal(True)
    if training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(training.deterministic, warn_only=False)
    # Filling fresh memory with NaN is for debugging; it costs a pass over every buffer.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not training.deterministic
    torch.set_float32_matmul_precision("high" if training.precision == "tf32" else "highest")
    return torch.device(resolve_device(training.device))


def dtype_of(precision: str) -> torch.dtype:
    """Of weights and inputs; bfloat16 keeps float32 weights and computes under autocast."""
    return torch.float64 if precision == "float64" else torch.float32


def computing(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which steps and predictions run."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def machine(device: torch.device) -> dict[str, Any]:
    """What a checkpoint and a result record, since it can change sums in the last bit."""
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }

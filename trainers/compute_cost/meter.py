"""Follows one run: throughput without warm-up, peak memory, energy; and puts the price tag on its result.

Seconds are the loop's own clock. Serial time is what is measured here; a critical path (the time if layers ran in
parallel) needs times per layer, and has its place beside `training_seconds`.
"""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from trainers.compute_cost.counting import count
from trainers.compute_cost.energy import EnergyMeter
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec

WARM_UP_STEPS = 5
"""Of an attempt, left out of the throughput: the first fused optimizer step alone may take a second."""


@dataclass(slots=True)
class CostMeter:
    """Follows one run: memory, energy and throughput. Its state is the energy that earlier attempts used."""

    device: torch.device
    energy: EnergyMeter
    _warm: tuple[int, float] | None = None
    _steps: int = 0

    @classmethod
    def start(cls, device: torch.device) -> Self:
        """From now on; called when data and network lie on the device."""
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        return cls(device, EnergyMeter(device))

    def step_done(self, samples: int, clock: Mapping[str, float]) -> None:
        """After each step: notes where the warm-up ended."""
        self._steps += 1
        if self._steps == WARM_UP_STEPS:
            self._warm = samples, _busy(clock)

    def samples_per_second(self, samples: int, clock: Mapping[str, float]) -> float | None:
        """Of this attempt, its first steps, evaluation, checkpoints and diagnostics left out.

        A run no longer than its warm-up shows all that it has.
        """
        seen, since = self._warm if self._warm is not None and samples > self._warm[0] else (0, 0.0)
        seconds = _busy(clock) - since
        return (samples - seen) / seconds if seconds > 0 else None

    def report(
        self, spec: TrainingSpec, passes: list[str], *, epochs: int, samples: int, clock: Mapping[str, float]
    ) -> dict[str, Any]:
        """For the result. `passes` are the phases of all passes that were made; `samples` were seen in all of them."""
        measured = self._measured(samples, clock)
        begin = time.perf_counter()
        try:
            cost = count(resolve_parts(spec))
        except Exception as error:  # a run that is done must not be lost over the price tag on it
            return {**measured, "flops": f"not available: counting failed ({error})."}
        per_pass = {phase: cost.phase_flops[phase] * passes.count(phase) for phase in dict.fromkeys(passes)}
        total = sum(per_pass.values()) * samples / max(len(passes), 1)
        if measured["peak_memory_bytes"] is None:
            measured["peak_memory_bytes"] = cost.step_bytes
        return {
            **measured,
            "flops_per_sample": sum(per_pass.values()) / epochs,
            "forward_flops_per_sample": cost.forward_flops,
            "phase_flops_per_sample": cost.phase_flops,
            "backprop_closed_form": cost.backprop_closed_form,
            "counted_at_batch": cost.batch,
            "training_flops": total,
            "flops_per_second": total / _busy(clock) if _busy(clock) else None,
            "parameter_bytes": cost.parameter_bytes,
            "state_bytes": cost.state_bytes,
            "counting_seconds": time.perf_counter() - begin,
        }

    def state_dict(self) -> dict[str, Any]:
        return self.energy.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.energy.load_state_dict(state)

    def _measured(self, samples: int, clock: Mapping[str, float]) -> dict[str, Any]:
        cuda = self.device.type == "cuda"
        return {
            "training_seconds": _busy(clock),
            "seconds": dict(clock),
            "samples_per_second": self.samples_per_second(samples, clock),
            "peak_memory_bytes": torch.cuda.max_memory_allocated(self.device) if cuda else None,
            "peak_memory_means": "largest sum of tensors on the GPU over the run, data set included"
            if cuda
            else "tensors alive at once in a training step, counted on a copy of the run, without the data set",
            "process_peak_bytes": process_peak_bytes(),
            "energy_joules": self.energy.joules(),
            "energy_source": self.energy.source,
        }


def process_peak_bytes() -> int:
    """Largest resident size of this process since it began: Python, torch and data included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _busy(clock: Mapping[str, float]) -> float:
    return clock["training"] + clock["data"]

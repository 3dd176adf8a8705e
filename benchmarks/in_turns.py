"""Timing several things in turns, round by round, so that whatever slows the machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from trainers.algorithms.base import Batch


def in_turns(
    steps: Mapping[str, Callable[[Batch], object]], batches: Sequence[Batch], rounds: int, repeats: int = 1
) -> dict[str, list[float]]:
    """Seconds a step, a number a round, by name; each takes the batches once before, to warm up.

    With one thread they are the processor's seconds, since other work on the machine then counts less.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = clock()
            for _ in range(repeats if number else 1):
                for batch in batches:
                    step(batch)
            if number:
                seconds[name].append((clock() - start) / repeats / len(batches))
    return seconds


def ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """Of paired rounds: median and quartiles."""
    low, median, high = statistics.quantiles([a / b for a, b in zip(slow, fast, strict=True)], n=4)
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3), "rounds": len(slow)}


def shown(value: dict[str, float]) -> str:
    """`2.96 (2.90–3.01)`."""
    return f"{value['median']:.2f} ({value['low']:.2f}–{value['high']:.2f})"

"""FLOPs and bytes of a training step, counted.

A throw-away copy of the run's network and algorithm is made on the CPU and fed with random samples of the task's
shape, so that counting touches no state of the run and needs no data. One eager step a phase is counted.

    FLOPs       2 a multiply-add, in matrix products, convolutions and factorizations; elementwise work is left out
    closed form for dense layers with P weights, P₁ of them in the first layer: forward 2P, backward 4P − 2P₁,
                since the error is not carried below the first layer
    memory      bytes of all tensors alive at once in a step: weights, optimizer state, activations, temporaries
"""

import math
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.algorithms.base import Algorithm, Batch, Moment
from trainers.assembly import objective_for
from trainers.checkpoint import flatten
from trainers.datasets.declaration import LabelledOptions, Task
from trainers.device import computing, dtype_of
from trainers.networks.base import Network
from trainers.resolve import Resolved
from trainers.spec import TrainingSpec
from trainers.streams import StreamBook, generator_for

LARGEST_COUNT = 1e11
"""FLOPs of one counted step, about a second or two on one core; a step that has more is counted on a smaller batch."""
UNKNOWN_TIME_STEPS = 20
"""In a sequence whose length the data set leaves open."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """Of one algorithm on one network, per sample where not said otherwise."""

    batch: int
    """Samples in the counted batch."""
    forward_flops: float
    phase_flops: dict[str, float]
    """Phase → FLOPs of a training step."""
    passes: dict[str, int]
    """Phase → passes over the data in the whole run."""
    backprop_closed_form: dict[str, float] | None
    """forward, backward and their sum, what backprop takes where every layer is dense: the yardstick."""
    parameters: int
    parameter_bytes: int
    state_bytes: int
    """What the algorithm keeps beyond the network's weights and statistics: optimizer state, feedback weights, …"""
    step_bytes: int
    """Largest sum of the bytes alive within a step; where a smaller batch was counted, carried on in a straight line,
    which is a lower bound."""


def count(resolved: Resolved) -> StepCost:
    """Run a step of each phase on a throw-away copy and count. A step that fails raises what it would in the run."""
    spec, wanted = resolved.spec, batch_size(resolved)
    with LiveBytes() as live:
        network, algorithm = _copy_of_run(resolved)
        few = min(wanted, 4)
        with _counting() as counter, torch.no_grad(), network.evaluating(), _computing(spec):
            # Not under inference_mode, where counters read 0.
            network(_samples(resolved, few).inputs)
        forward = counter.get_total_flops() / few
        batch = max(min(wanted, int(LARGEST_COUNT / max(3 * forward, 1))), min(wanted, 8))
        plan = [(phase, epoch) for epoch in range(spec.training.epochs) for phase in _phases(algorithm, spec, epoch)]
        phases: dict[str, float] = {}
        step_bytes = 0
        for phase, epoch in dict(reversed(plan)).items():  # the epoch that it first comes in
            # The first step makes what is made lazily; the second is counted.
            _counted_step(resolved, algorithm, live, phase, epoch, batch, starts=True)
            flops, peak = _counted_step(resolved, algorithm, live, phase, epoch, batch)
            phases[phase] = flops / batch
            if batch < wanted:  # a smaller one tells the part that grows with the batch from the rest
                _, smaller = _counted_step(resolved, algorithm, live, phase, epoch, batch // 2)
                peak += round((peak - smaller) / (batch - batch // 2) * (wanted - batch))
            step_bytes = max(step_bytes, peak)
        state = algorithm.state_dict()
    own = {name: value for name, value in state.items() if name != "network"}
    return StepCost(
        batch=batch,
        forward_flops=forward,
        phase_flops={phase: phases[phase] for phase, _ in plan},
        passes=dict(Counter(phase for phase, _ in plan)),
        backprop_closed_form=backprop_closed_form(network),
        parameters=sum(weight.numel() for weight in network.parameters()),
        parameter_bytes=sum(weight.numel() * weight.element_size() for weight in network.parameters()),
        state_bytes=sum(tensor.numel() * tensor.element_size() for tensor in flatten(own)[0].values()),
        step_bytes=step_bytes,
    )


def backprop_closed_form(network: Network) -> dict[str, float] | None:
    """FLOPs a sample of backprop in a stack of dense layers, forward 2P and backward 4P − 2P₁; None for others."""
    from trainers.networks.dense import DenseLayer

    sizes = [layer.weight.numel() for layer in network.layers if isinstance(layer, DenseLayer)]
    if len(sizes) != len(network.layers):
        return None
    forward, backward = 2.0 * sum(sizes), 4.0 * sum(sizes) - 2.0 * sizes[0]
    return {"forward": forward, "backward": backward, "step": forward + backward}


def samples_per_pass(resolved: Resolved) -> int | None:
    """Samples (for text: rows times chunks) in a pass; None where only the files tell."""
    options, training = resolved.dataset_options, resolved.spec.training
    if training.steps_per_epoch is not None:
        return training.steps_per_epoch * training.batch_size
    size = resolved.dataset.sizes.get("train")
    if size is None:
        return None
    if isinstance(options, LabelledOptions):
        validation = max(1, size // 10) if options.validation_size is None else options.validation_size
        left = max(size - validation, 1)
        return min(options.train_size, left) if options.train_size is not None else left
    chunk = getattr(options, "chunk_length", None)
    if chunk is None:
        return size
    usable = size - 1 - (chunk - 1 if getattr(options, "shuffle", False) else 0)
    return max(usable // (training.batch_size * chunk), 1) * training.batch_size


def batch_size(resolved: Resolved) -> int:
    """The spec's, or the whole training set where that is smaller."""
    asked = resolved.spec.training.batch_size
    samples = samples_per_pass(resolved)
    return asked if samples is None else max(1, min(asked, samples))


class LiveBytes(TorchDispatchMode):
    """Sums the bytes of all tensors that were made within the block and still live."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._known: set[int] = set()

    def restart(self) -> int:
        """Begin a new peak; the bytes alive now."""
        self.peak = self.now
        return self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else (results,):
            if isinstance(result, Tensor):
                self._see(result)
        return results

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def random_batch(task: Task, size: int, time_steps: int, dtype: torch.dtype, *, starts: bool = True) -> Batch:
    """A batch of the task's shapes (see `Task`), inputs uniform in 0..1, targets uniform."""
    generator = generator_for(0, "compute cost")

    def whole(shape: tuple[int, ...], below: int) -> Tensor:
        return torch.randint(0, below, shape, generator=generator)

    def real(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    sequence = task.kind not in ("classification", "regression")
    inputs = (
        whole((size, time_steps), task.symbols)
        if task.symbols is not None
        else real(size, *((time_steps,) if sequence else ()), *task.input_shape)
    )
    match task.kind:
        case "classification" | "sequence_classification":
            targets = whole((size,), task.outputs)
        case "next_symbol":
            targets = whole((size, time_steps), task.outputs)
        case "regression":
            targets = real(size, task.outputs)
        case "sequence_bits":
            targets = whole((size, time_steps, task.outputs), 2).to(dtype)
        case "digit_counting":
            targets = torch.stack([whole((size,), classes) for classes in task.heads.values()], dim=1)
    return Batch(inputs, targets, torch.arange(size), starts=starts)


def _copy_of_run(resolved: Resolved) -> tuple[Network, Algorithm]:
    """Network and algorithm as `assemble` makes them, on the CPU."""
    training = resolved.spec.training
    streams = StreamBook(training.seed or 0, "cpu")
    network = resolved.network.build(resolved.network_options, resolved.task, streams)
    network.to(torch.device("cpu"), dtype_of(training.precision))
    algorithm = resolved.algorithm()
    algorithm.setup(network, objective_for(resolved), resolved.hyperparameters, streams)
    return network, algorithm


def _computing(spec: TrainingSpec) -> AbstractContextManager[Any]:
    return computing(spec.training.precision, torch.device("cpu"))


def _counted_step(
    resolved: Resolved,
    algorithm: Algorithm,
    live: "LiveBytes",
    phase: str,
    epoch: int,
    batch: int,
    starts: bool = False,
) -> tuple[int, int]:
    """FLOPs of one step, and the most bytes alive in it."""
    moment = Moment(epoch, phase, 0 if starts else 1, 2, progress=epoch / resolved.spec.training.epochs)
    samples = _samples(resolved, batch, starts=starts)
    live.restart()
    with _counting() as counter, _computing(resolved.spec):
        algorithm.step(samples, moment)
    return counter.get_total_flops(), live.peak


def _samples(resolved: Resolved, size: int, *, starts: bool = True) -> Batch:
    dtype = dtype_of(resolved.spec.training.precision)
    return random_batch(resolved.task, size, _time_steps(resolved), dtype, starts=starts)


def _phases(algorithm: Algorithm, spec: TrainingSpec, epoch: int) -> tuple[str, ...]:
    return algorithm.phases(epoch, spec.training.epochs)


def _counting() -> Any:
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False, custom_mapping=FACTORIZATIONS)


def _time_steps(resolved: Resolved) -> int:
    chunk = getattr(resolved.dataset_options, "chunk_length", None)
    return chunk or resolved.task.time_steps or UNKNOWN_TIME_STEPS


def _cholesky(shape: Any, *args: Any, **kwargs: Any) -> int:
    """n³/3 a matrix."""
    return math.prod(shape[:-2]) * shape[-1] ** 3 // 3


def _cholesky_inverse(shape: Any, *args: Any, **kwargs: Any) -> int:
    """2n³/3 a matrix: the triangle's inverse and its square."""
    return math.prod(shape[:-2]) * 2 * shape[-1] ** 3 // 3


def _cholesky_solve(right: Any, factor: Any, *args: Any, **kwargs: Any) -> int:
    """Two triangular systems."""
    return 2 * math.prod(right[:-2]) * right[-1] * factor[-1] ** 2


def _triangular(factor: Any, right: Any, *args: Any, **kwargs: Any) -> int:
    """n² a right-hand side."""
    return math.prod(right[:-2]) * right[-1] * right[-2] * factor[-1]


def _matrix_vector(matrix: Any, vector: Any, *args: Any, **kwargs: Any) -> int:
    return 2 * math.prod(matrix)


def _add_matrix_vector(start: Any, matrix: Any, vector: Any, *args: Any, **kwargs: Any) -> int:
    return 2 * math.prod(matrix)


FACTORIZATIONS: dict[Any, Callable[..., int]] = {
    # Left out by torch's own counter; HSIC's kernels cost more in these than in products.
    torch.ops.aten.linalg_cholesky_ex: _cholesky,
    torch.ops.aten.cholesky: _cholesky,
    torch.ops.aten.cholesky_inverse: _cholesky_inverse,
    torch.ops.aten.cholesky_solve: _cholesky_solve,
    torch.ops.aten.linalg_solve_triangular: _triangular,
    torch.ops.aten.mv: _matrix_vector,
    torch.ops.aten.addmv: _add_matrix_vector,
}

"""Puts the parts of one run together: data, network, objective, algorithm, all from the spec and its one seed."""

from dataclasses import dataclass
from pathlib import Path

import torch

from trainers import device as devices
from trainers.algorithms.base import Algorithm
from trainers.datasets.loaded import Data, LoadedDataset
from trainers.networks.base import Network
from trainers.objective import Objective
from trainers.resolve import Resolved
from trainers.spec import TrainingSpec
from trainers.streams import StreamBook


@dataclass(slots=True)
class Parts:
    """A run that has not begun."""

    spec: TrainingSpec
    device: torch.device
    dataset: LoadedDataset
    data: Data
    network: Network
    objective: Objective
    algorithm: Algorithm


def assemble(resolved: Resolved, *, data_dir: Path | None = None) -> Parts:
    """The parts on their device. Raises DatasetUnavailable, SpecError."""
    training = resolved.spec.training
    threads = devices.resolve_threads(training.threads)
    training = training.model_copy(update={"threads": threads, "device": devices.resolve_device(training.device)})
    spec = resolved.spec.model_copy(update={"training": training})
    device = devices.prepare_process(training)
    dtype = devices.dtype_of(training.precision)
    seed = training.seed
    if seed is None:
        raise AssertionError("a resolved spec has a seed")
    dataset = resolved.dataset.load(resolved.dataset_options, seed=seed, device=device, dtype=dtype, data_dir=data_dir)
    data = dataset.data(batch_size=training.batch_size, steps_per_epoch=training.steps_per_epoch)
    streams = StreamBook(seed, device)
    network = resolved.network.build(resolved.network_options, resolved.task, streams).to(device, dtype)
    objective = objective_for(resolved)
    algorithm = resolved.algorithm()
    algorithm.setup(network, objective, resolved.hyperparameters, streams)
    return Parts(spec, device, dataset, data, network, objective, algorithm)


def objective_for(resolved: Resolved) -> Objective:
    """The loss that the task asks for."""
    task = resolved.task
    if task.kind == "sequence_bits":
        return Objective("binary_cross_entropy", task.outputs)
    if task.kind == "regression":
        return Objective("squared_error", task.outputs)
    if task.heads:
        return Objective("counts", task.outputs, heads=tuple(task.heads.items()))
    return Objective("cross_entropy", task.outputs, characters=task.kind == "next_symbol")

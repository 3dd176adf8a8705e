"""What is measured of each layer at a diagnosed step: a few sums a layer, read from the device all at once."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import Batch, StepReport
from trainers.diagnostics.looking import all_but_units, outputs_of, undisturbed, unit_activations
from trainers.networks.activations import Activation
from trainers.networks.base import Network, RecurrentNetwork, Watched

DIES = ("relu", "gelu", "step")
"""Nonlinearities whose output is exactly 0 on one side, where no signal passes."""
SATURATED = 0.95
"""Of the half-range on either side of the middle."""

Sums = dict[tuple[str, str], Tensor]
"""(layer, quantity) → a scalar on the device."""


@torch.no_grad()
def activity(network: Network, batch: Batch, carried: tuple[Tensor, ...]) -> Sums:
    """Dead and saturated units and activation statistics, with the weights as they are, on one batch."""
    watched: Watched = {}
    with undisturbed(network):
        outputs_of(network, batch, carried, watched)
    sums: Sums = {}
    for layer in network.layers:
        activation, h = unit_activations(layer, watched[layer.name])
        std, mean = torch.std_mean(h.float(), correction=0)
        sums[layer.name, "activation_mean"], sums[layer.name, "activation_std"] = mean, std
        if activation is not None and activation.name in DIES:
            sums[layer.name, "dead_share"] = 1 - _alive(h).float().mean()
        if activation is not None and activation.saturates:
            sums[layer.name, "saturated_share"] = _saturated(activation, h).float().mean()
    return sums


@torch.no_grad()
def dead_shares(network: Network, batches: Iterable[Batch]) -> dict[str, float]:
    """Layer → share of units that output 0 on every sample of `batches`, in evaluation mode."""
    alive: dict[str, Tensor] = {}
    with network.evaluating():
        for batch in batches:
            watched: Watched = {}
            network(batch.inputs, watched)
            for layer in network.layers:
                activation, h = unit_activations(layer, watched[layer.name])
                if activation is not None and activation.name in DIES:
                    here = _alive(h)
                    alive[layer.name] = alive[layer.name] | here if layer.name in alive else here
    return read({(name, ""): 1 - units.float().mean() for name, units in alive.items()}, lambda key: key[0])


@torch.no_grad()
def signal_norms(report: StepReport, network: Network) -> Sums:
    """Root mean square over the batch of each layer's teaching signal, for recurrent layers through time as well."""
    sums: Sums = {}
    for name, signal in (report.signals or {}).items():
        # Squares in float64: those of a signal of 1e-20 are 0 in float32, and vanishing is what is looked for.
        sums[name, "signal_norm"] = _norm(signal) / signal.shape[0] ** 0.5
        if isinstance(network, RecurrentNetwork) and signal.dim() > 2 and signal.shape[1] > 1:
            sums[name, "signal_through_time"] = _norm(signal[:, 0]) / _norm(signal[:, -1])
    return sums


@torch.no_grad()
def update_ratios(before: Mapping[str, Mapping[str, Tensor]], now: Mapping[str, Mapping[str, Tensor]]) -> Sums:
    """‖W_now − W_before‖ / ‖W_before‖ of each layer; a layer whose weights are all 0 has none."""
    places = [(layer, name) for layer, weights in before.items() for name in weights]
    if not places:
        return {}
    old = [before[layer][name] for layer, name in places]
    new = [now[layer][name].detach() for layer, name in places]
    changes = torch.stack(list(torch._foreach_norm(torch._foreach_sub(new, old))))
    sizes = torch.stack(list(torch._foreach_norm(old)))
    sums: Sums = {}
    for layer in before:
        rows = [row for row, (owner, _) in enumerate(places) if owner == layer]
        if rows:
            sums[layer, "update_ratio"] = changes[rows].norm() / sizes[rows].norm()
    return sums


def read(sums: Mapping[Any, Tensor], key: Any = lambda key: key) -> dict[Any, float]:
    """The scalars as host numbers, by one transfer."""
    if not sums:
        return {}
    values = torch.stack([value.detach().double().reshape(()) for value in sums.values()]).tolist()
    return {key(name): value for name, value in zip(sums, values, strict=True)}


def _norm(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor, dtype=torch.float64)


def _alive(h: Tensor) -> Tensor:
    """(units,) bool: some output is not 0."""
    return (h != 0).any(dim=all_but_units(h))


def _saturated(activation: Activation, h: Tensor) -> Tensor:
    return (2 * h - 1 if activation.name == "sigmoid" else h).abs() > SATURATED

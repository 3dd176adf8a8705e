"""What the HSIC bottleneck can train, checked when a spec is validated; and whether a step fits in memory."""

import os
from pathlib import Path
from typing import Any

import torch

from trainers.algorithms.kernels import KernelError, check_groups
from trainers.errors import OutOfMemory, SpecError, UnsupportedNetwork

TRAINS = ("mlp", "convnet", "resnet", "residual_mlp")


def refuse_untrainable(hyperparameters: Any, network: Any, epochs: int) -> None:
    """Raises SpecError for a network, or hyperparameters with it, that cannot be trained; names what is needed."""
    if network.kind not in TRAINS:
        raise UnsupportedNetwork(
            "#/network/kind",
            "hsic_bottleneck compares the samples of a batch layer by layer, and needs one activation for each sample "
            f"and layer; a network of kind {network.kind} has one a time step. Choose {', '.join(TRAINS)}.",
            got=network.kind,
            allowed=list(TRAINS),
        )
    activations = network.activations()
    if not activations:
        raise UnsupportedNetwork(
            "#/network/hidden",
            "hsic_bottleneck trains hidden layers, and this network has none. Give network.hidden at least one width.",
            got=[],
        )
    for activation in activations:
        if activation in ("sign", "step"):
            raise UnsupportedNetwork(
                "#/network/activation",
                f"hsic_bottleneck needs the derivative of a layer's own activation; that of {activation!r} is 0. "
                "Choose tanh or relu.",
                got=activation,
                allowed=["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "elu", "identity"],
            )
    for transmit in getattr(network, "transmits", list)():
        if transmit != "value":
            raise UnsupportedNetwork(
                "#/network/transmit",
                "hsic_bottleneck trains the activation that a layer passes up, and needs its derivative; passing up a "
                f"{transmit} has none. Choose value.",
                got=transmit,
                allowed=["value"],
            )
    _check_combinations(hyperparameters, network, epochs)


def _check_combinations(hyperparameters: Any, network: Any, epochs: int) -> None:
    if hyperparameters.readout == "after" and epochs <= (hyperparameters.readout_epochs or 0):
        raise SpecError(
            "#/hyperparameters/readout_epochs",
            f"training.epochs counts both: {epochs} epochs leave none to HSIC with {hyperparameters.readout_epochs} of "
            "the read-out. Raise training.epochs, lower readout_epochs, or train both at once: readout together.",
            got=hyperparameters.readout_epochs,
        )
    if hyperparameters.readout == "after" and epochs < 2:
        raise SpecError(
            "#/training/epochs",
            "readout after needs two epochs at least, one of HSIC and one of the read-out. Choose readout together.",
            got=epochs,
        )
    if hyperparameters.readout == "match" and hyperparameters.branch_sigmas:
        raise SpecError(
            "#/hyperparameters/branch_sigmas",
            "Branches are joined by a trained read-out; with readout match there is none. Choose after or together.",
            got=hyperparameters.branch_sigmas,
        )
    if hyperparameters.kernel_approximation == "random_features" and (
        hyperparameters.kernel != "gaussian" or hyperparameters.criterion != "normalized"
    ):
        raise SpecError(
            "#/hyperparameters/kernel_approximation",
            "Random features approximate Gaussian kernels and spare the normalised criterion its inverse: they need "
            "kernel gaussian and criterion normalized.",
            got="random_features",
            allowed=["none"],
        )
    if hyperparameters.groups is not None:
        if hyperparameters.kernel_approximation == "random_features":
            raise SpecError("#/hyperparameters/groups", "Groups need exact kernels: kernel_approximation none.")
        for width in getattr(network, "hidden", []):
            check_group_width(width, hyperparameters.groups)


def check_group_width(units: int, groups: int) -> None:
    """Raises SpecError where units of a layer do not divide into the groups."""
    try:
        check_groups(units, groups)
    except KernelError as error:
        raise SpecError(
            "#/hyperparameters/groups", f"{error} Choose a divisor of every layer's units.", got=groups
        ) from None


def check_memory(estimate: int, batch: int, device: torch.device) -> None:
    """Raises OutOfMemory where a step would take more than the device has free."""
    free = free_bytes(device)
    if estimate > free:
        raise OutOfMemory(
            f"HSIC's kernels of a batch of {batch} samples and the activations take about {estimate / 2**30:.1f} GiB, "
            f"and {free / 2**30:.1f} GiB are free. They grow with the square of training.batch_size: lower it, or set "
            "hyperparameters.kernel_approximation to random_features."
        )


def free_bytes(device: torch.device) -> int:
    """What is free on the device now; on the CPU what the system can give without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

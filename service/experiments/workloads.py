"""Short names for the networks of an experiment, told apart by what differs."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

ALWAYS = ("kind", "hidden", "activation")


def network_labels(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """One a network, all different if the networks are: "mlp 256-256 tanh", and what else differs among them.

    Four and more alike in a row are counted: "mlp 64×20 tanh".
    """
    keys = list(dict.fromkeys(key for network in networks for key in network))
    differing = [
        key
        for key in keys
        if key not in ALWAYS and any(network.get(key) != networks[0].get(key) for network in networks)
    ]
    return [
        " ".join(
            [
                *(_value(network[key]) for key in ALWAYS if network.get(key) not in (None, [])),
                *(f"{key}={_value(network.get(key))}" for key in differing),
            ]
        )
        for network in networks
    ]


def _value(value: Any) -> str:
    if isinstance(value, list):
        rows = [(each, len(list(alike))) for each, alike in groupby(map(_value, value))]
        return "-".join(f"{each}×{count}" if count > 3 else "-".join([each] * count) for each, count in rows)
    return str(value)

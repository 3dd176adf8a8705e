"""The controls do what their names say, and nothing else."""

from typing import Any

import pytest
import torch

from trainers import fit
from trainers.assembly import assemble
from trainers.errors import SpecError
from trainers.loop import Outcome
from trainers.resolve import resolve, resolve_parts


def spec_of(algorithm: str, **changes: Any) -> dict[str, Any]:
    return {
        "algorithm": algorithm,
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [24, 16], "activation": "tanh"},
        "training": {"epochs": 2, "batch_size": 100, "seed": 5, "threads": 1, "device": "cpu"},
    } | changes


def finished(algorithm: str, **changes: Any) -> Outcome:
    return fit(spec_of(algorithm, **changes))


def initial_weights() -> dict[str, torch.Tensor]:
    network = assemble(resolve_parts(spec_of("backprop"))).network
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def test_frozen_trains_the_output_layer_alone() -> None:
    before = initial_weights()
    for name, weight in finished("frozen").parts.network.named_parameters():
        assert torch.equal(weight, before[name]) == (not name.startswith("layer3.")), name


def test_frozen_trains_on_top_of_units_without_a_derivative() -> None:
    network = {"kind": "mlp", "hidden": [64], "activation": "sign"}
    outcome = finished("frozen", network=network)
    assert outcome.result is not None
    assert outcome.result["train_loss"] < 2.3  # ln 10 at the start


def test_checkpointed_backprop_ends_with_backprop_s_weights() -> None:
    one, other = finished("backprop"), finished("backprop_checkpointed")
    assert one.result is not None
    assert other.result is not None
    assert one.result["weights_sha256"] == other.result["weights_sha256"]


def test_heads_of_no_weight_leave_backprop_as_it_is() -> None:
    one = finished("backprop")
    other = finished("backprop_extra_heads", hyperparameters={"head_weight": 0.0})
    assert one.result is not None
    assert other.result is not None
    assert one.result["weights_sha256"] == other.result["weights_sha256"]


def test_every_hidden_layer_has_a_head_whose_loss_reaches_it() -> None:
    heads = finished("backprop_extra_heads").parts.algorithm.heads  # type: ignore[attr-defined]
    assert {name: tuple(head.weight.shape) for name, head in heads.items()} == {"layer1": (10, 24), "layer2": (10, 16)}
    with_heads, without = (
        finished("backprop_extra_heads", hyperparameters={"head_weight": weight}).result for weight in (0.3, 0.0)
    )
    assert with_heads is not None
    assert without is not None
    assert with_heads["weights_sha256"] != without["weights_sha256"]


@pytest.mark.parametrize("algorithm", ["backprop_checkpointed", "backprop_extra_heads"])
def test_recurrent_networks_are_refused_with_the_reason(algorithm: str) -> None:
    with pytest.raises(SpecError):
        resolve({"algorithm": algorithm, "dataset": "sequential_mnist"})

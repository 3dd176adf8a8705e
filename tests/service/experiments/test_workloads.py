"""What an experiment's networks are called in tables and pictures."""

from service.experiments.workloads import network_labels


def mlp(*hidden: int, **rest: object) -> dict[str, object]:
    return {"kind": "mlp", "hidden": list(hidden), "activation": "tanh", **rest}


def test_a_network_is_called_by_its_kind_its_widths_and_its_nonlinearity() -> None:
    assert network_labels([mlp(256, 128, 64)]) == ["mlp 256-128-64 tanh"]
    assert network_labels([mlp()]) == ["mlp tanh"]


def test_many_layers_alike_are_counted() -> None:
    assert network_labels([mlp(*[64] * 20)]) == ["mlp 64×20 tanh"]
    assert network_labels([mlp(256, *[64] * 4, 32, 32, 32)]) == ["mlp 256-64×4-32-32-32 tanh"]


def test_what_else_differs_tells_networks_apart() -> None:
    assert network_labels([mlp(8, batch_norm=True), mlp(8, batch_norm=False)]) == [
        "mlp 8 tanh batch_norm=True",
        "mlp 8 tanh batch_norm=False",
    ]

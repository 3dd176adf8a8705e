"""FLOPs against closed forms, memory against sums by hand, energy by counters laid out in a folder."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers import fit
from trainers.compute_cost import CostMeter, backprop_closed_form, count, estimate
from trainers.compute_cost import counting as counting_module
from trainers.compute_cost import energy as energy_module
from trainers.compute_cost.counting import FACTORIZATIONS, LiveBytes, random_batch
from trainers.compute_cost.energy import EnergyMeter, Rapl, find_counter
from trainers.compute_cost.meter import WARM_UP_STEPS, process_peak_bytes
from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.loop import StopRequest
from trainers.registry import ALGORITHMS
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook

CPU = torch.device("cpu")


def spec(algorithm: str = "backprop", **parts: Any) -> dict[str, Any]:
    training = {"epochs": 2, "seed": 7, "batch_size": 32, "threads": 1, "device": "cpu"} | parts.pop("training", {})
    return {"algorithm": algorithm, "dataset": "digits", "training": training, **parts}


def mlp(*hidden: int, **options: Any) -> dict[str, Any]:
    return {"kind": "mlp", "hidden": list(hidden), **options}


# -- FLOPs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (30,), (50, 20), (16,) * 12])
@pytest.mark.parametrize("extras", [{}, {"batch_norm": True, "dropout": 0.2}], ids=["plain", "norm and dropout"])
def test_backprop_in_dense_layers_takes_2p_forwards_and_4p_less_2p1_backwards(
    hidden: tuple[int, ...], extras: dict[str, Any]
) -> None:
    widths = [64, *hidden, 10]
    sizes = [below * above for below, above in pairwise(widths)]
    P, P_1 = sum(sizes), sizes[0]
    cost = count(resolve_parts(spec(network=mlp(*hidden, **extras))))
    assert cost.forward_flops == 2 * P
    assert cost.phase_flops == {"train": 2 * P + 4 * P - 2 * P_1}
    assert cost.backprop_closed_form == {"forward": 2 * P, "backward": 4 * P - 2 * P_1, "step": 6 * P - 2 * P_1}
    assert cost.passes == {"train": 2}


def test_a_convolution_takes_two_flops_a_weight_and_place() -> None:
    cost = count(resolve_parts(spec(dataset="mnist", network={"kind": "convnet"}, training={"batch_size": 8})))
    network = resolve_parts(spec(dataset="mnist", network={"kind": "convnet"}))
    parts = network.network.build(network.network_options, network.task, StreamBook(0))
    expected, h = 0, torch.rand(1, 1, 28, 28)
    for layer in parts.layers:
        a = layer.affine(h)
        places = a[0, 0].numel()  # of the filter; 1 for a dense layer
        expected += 2 * layer.weight.numel() * places
        h = layer.activate(a)
    assert cost.forward_flops == expected
    assert cost.backprop_closed_form is None
    assert 2 * expected < cost.phase_flops["train"] < 3 * expected


def test_flops_are_counted_phase_by_phase() -> None:
    cost = count(resolve_parts(spec("difference_target_propagation", network=mlp(30, 20, activation="tanh"))))
    assert set(cost.phase_flops) == set(cost.passes)
    assert len(cost.phase_flops) > 1
    assert all(flops > cost.forward_flops for flops in cost.phase_flops.values())


def test_a_large_step_is_counted_on_a_smaller_batch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spec(dataset="mnist", network={"kind": "convnet"})
    whole = count(resolve_parts(asked))
    monkeypatch.setattr(counting_module, "LARGEST_COUNT", 1.0)
    small = count(resolve_parts(asked))
    assert (whole.batch, small.batch) == (32, 8)
    assert small.phase_flops == whole.phase_flops
    assert small.step_bytes == pytest.approx(whole.step_bytes, rel=0.15)


@pytest.mark.parametrize(
    ("operation", "flops"),
    [
        (lambda a: torch.linalg.cholesky(a), 12**3 // 3),
        (lambda a: torch.cholesky_inverse(a), 2 * 12**3 // 3),
        (lambda a: torch.cholesky_solve(a[:, :5], a), 2 * 12 * 12 * 5),
        (lambda a: torch.linalg.solve_triangular(a, a[:, :5], upper=False), 12 * 12 * 5),
        (lambda a: a @ a[0], 2 * 12 * 12),
        (lambda a: a @ a, 2 * 12**3),
    ],
    ids=["cholesky", "inverse", "solve", "triangular", "matrix-vector", "product"],
)
def test_factorizations_count_too(operation: Any, flops: int) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False, custom_mapping=FACTORIZATIONS) as counter:
        operation(torch.eye(12))
    assert counter.get_total_flops() == flops


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_every_algorithm_can_be_counted(algorithm: str) -> None:
    cost = count(resolve_parts(spec(algorithm, network=mlp(24, 16, activation="tanh"))))
    assert cost.forward_flops == 2 * (64 * 24 + 24 * 16 + 16 * 10)
    assert all(flops > 0 for flops in cost.phase_flops.values())
    assert cost.step_bytes > cost.parameter_bytes + cost.state_bytes


def test_counting_leaves_the_global_generator_and_the_process_alone() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    count(resolve_parts(spec(network=mlp(24, dropout=0.5))))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("task", "inputs", "targets"),
    [
        (Task("classification", (3, 8, 8), 10), (4, 3, 8, 8), (4,)),
        (Task("regression", (5,), 2), (4, 5), (4, 2)),
        (Task("sequence_classification", (5,), 10), (4, 7, 5), (4,)),
        (Task("next_symbol", (), 65, symbols=65), (4, 7), (4, 7)),
        (Task("sequence_bits", (10,), 9), (4, 7, 10), (4, 7, 9)),
        (Task("digit_counting", (784,), 10, heads={"odd": 4, "threes": 10}), (4, 7, 784), (4, 2)),
    ],
    ids=lambda value: value.kind if isinstance(value, Task) else "",
)
def test_random_samples_have_the_shapes_of_the_task(
    task: Task, inputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    batch = random_batch(task, 4, 7, torch.float64)
    assert tuple(batch.inputs.shape) == inputs
    assert tuple(batch.targets.shape) == targets
    assert batch.inputs.dtype == (torch.int64 if task.symbols else torch.float64)


# -- memory -----------------------------------------------------------------------------------------------------------


def test_live_bytes_follow_tensors_as_they_come_and_go() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)
        view = a[:10]
        assert live.now == 4000
        b = a + 1
        assert live.now == 8000
        del b
        assert (live.now, live.peak) == (4000, 8000)
        assert live.restart() == 4000
        a.add_(1)
        assert live.peak == 4000
        del a
        assert live.now == 4000  # the view holds it
        del view
        assert live.now == 0


def test_a_step_of_adam_holds_weights_two_moments_and_gradients() -> None:
    cost = count(resolve_parts(spec(network=mlp(2000), training={"batch_size": 1})))
    P = 64 * 2000 + 2000 + 2000 * 10 + 10
    assert cost.parameters == P
    assert cost.parameter_bytes == 4 * P
    assert cost.state_bytes == pytest.approx(2 * 4 * P, rel=0.01)
    assert cost.step_bytes == pytest.approx(4 * 4 * P, rel=0.1)


def test_plain_gradient_descent_keeps_nothing() -> None:
    sgd = {"optimizer": "sgd", "learning_rate": 0.1}
    assert count(resolve_parts(spec(hyperparameters=sgd))).state_bytes == 0


# -- the price of a spec ----------------------------------------------------------------------------------------------


def test_an_estimate_needs_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTPROP_DATA_DIR", str(tmp_path / "nothing here"))
    price = estimate({"algorithm": "backprop", "dataset": "mnist", "network": mlp(256, 256)})
    P = 784 * 256 + 256 * 256 + 256 * 10
    assert price["flops_per_sample"] == 6 * P - 2 * 784 * 256
    assert price["parameters"] == P + 256 + 256 + 10
    samples = price["samples_per_pass"]
    assert price["steps"] == 10 * -(-samples // 128)
    assert price["training_flops"] == price["flops_per_sample"] * samples * 10
    assert price["memory_bytes"] > 4 * 4 * P
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{}, {"train_size": 100}, {"drop_last": True, "validation_size": 37}])
def test_estimated_steps_are_those_of_the_run(options: dict[str, Any]) -> None:
    asked = spec(network=mlp(8), dataset_options=options)
    result = fit(asked).result
    assert result is not None
    price = estimate(asked)
    assert price["steps"] == result["steps"]
    assert price["flops_per_sample"] == result["compute_cost"]["flops_per_sample"]
    assert price["parameters"] == result["parameters"]


def test_a_bad_spec_is_refused_as_by_fit() -> None:
    with pytest.raises(SpecError, match="no algorithm 'backprp'"):
        estimate(spec("backprp"))


# -- a run ------------------------------------------------------------------------------------------------------------


def test_the_result_carries_what_the_run_cost() -> None:
    result = fit(spec(network=mlp(30))).result
    assert result is not None
    cost = result["compute_cost"]
    P = 64 * 30 + 30 * 10
    assert cost["flops_per_sample"] == 6 * P - 2 * 64 * 30
    assert cost["training_flops"] == cost["flops_per_sample"] * result["samples"]
    assert cost["training_seconds"] == result["seconds"]["training"] + result["seconds"]["data"]
    assert set(cost["seconds"]) == {"training", "data", "evaluation", "checkpoint", "diagnostics"}
    assert cost["samples_per_second"] > result["samples"] / cost["training_seconds"] * 0.5
    assert cost["peak_memory_bytes"] > cost["parameter_bytes"] + cost["state_bytes"]
    assert cost["process_peak_bytes"] > 50_000_000  # torch alone


def test_counting_does_not_change_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spec(network=mlp(30, dropout=0.5))
    counted = fit(asked).result

    def fails(resolved: Any) -> Any:
        raise RuntimeError("no memory for a copy")

    monkeypatch.setattr("trainers.compute_cost.meter.count", fails)
    uncounted = fit(asked).result
    assert counted is not None
    assert uncounted is not None
    assert counted["weights_sha256"] == uncounted["weights_sha256"]
    assert uncounted["compute_cost"]["flops"] == "not available: counting failed (no memory for a copy)."
    assert uncounted["compute_cost"]["training_seconds"] > 0


def test_throughput_leaves_the_warm_up_out() -> None:
    meter, clock = CostMeter.start(CPU), {"training": 100.0, "data": 0.0}
    for step in range(1, WARM_UP_STEPS + 1):  # slow: the first steps take 100 s
        meter.step_done(10 * step, clock)
    warm = 10 * WARM_UP_STEPS
    assert meter.samples_per_second(warm, clock) == pytest.approx(warm / 100)  # nothing else to show
    clock = {"training": 101.0, "data": 1.0}
    meter.step_done(warm + 600, clock)
    assert meter.samples_per_second(warm + 600, clock) == pytest.approx(300)


def test_the_process_peak_covers_what_it_holds() -> None:
    block = torch.ones(30_000_000)
    assert process_peak_bytes() > block.nbytes


# -- energy -----------------------------------------------------------------------------------------------------------


def rapl(root: Path, *microjoules: int, largest: int = 1_000_000_000) -> list[Path]:
    zones = []
    for number, value in enumerate(microjoules):
        zone = root / f"intel-rapl:{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "energy_uj").write_text(f"{value}\n")
        (zone / "max_energy_range_uj").write_text(f"{largest}\n")
        core = root / f"intel-rapl:{number}:0"  # a part of the package: it must not be counted twice
        core.mkdir(exist_ok=True)
        (core / "energy_uj").write_text("999999999\n")
        zones.append(zone)
    return zones


def test_energy_is_the_sum_over_packages_since_the_start(tmp_path: Path) -> None:
    zones = rapl(tmp_path, 5_000_000, 7_000_000)
    meter = EnergyMeter(CPU, tmp_path)
    (zones[0] / "energy_uj").write_text("6000000")
    (zones[1] / "energy_uj").write_text("9000000")
    assert meter.joules() == pytest.approx(3)
    assert meter.source == "RAPL, processor packages"


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (zone,) = rapl(tmp_path, 900_000_000)
    meter = EnergyMeter(CPU, tmp_path)
    monkeypatch.setattr(energy_module, "READ_EVERY_SECONDS", 0.0)
    for value in (100_000_000, 950_000_000, 50_000_000):
        (zone / "energy_uj").write_text(str(value))
        meter.look()
    assert meter.joules() == pytest.approx(1150)  # 200, then 850, then 100


def test_energy_goes_on_over_attempts_and_is_unknown_once_one_could_not_read_it(tmp_path: Path) -> None:
    (zone,) = rapl(tmp_path, 0)
    first = EnergyMeter(CPU, tmp_path)
    (zone / "energy_uj").write_text("2000000")
    second = EnergyMeter(CPU, tmp_path)
    second.load_state_dict(first.state_dict())
    (zone / "energy_uj").write_text("5000000")
    assert second.joules() == pytest.approx(5)
    blind = EnergyMeter(CPU, tmp_path / "none")
    blind.load_state_dict(second.state_dict())
    third = EnergyMeter(CPU, tmp_path)
    third.load_state_dict(blind.state_dict())
    assert blind.joules() is None
    assert third.joules() is None
    assert third.source == "not available: an earlier attempt of this run could not read it."


def test_a_machine_without_counters_says_why(tmp_path: Path) -> None:
    reason = find_counter(CPU, tmp_path)
    assert isinstance(reason, str)
    assert reason.startswith("not available: this machine has no RAPL counters")
    assert EnergyMeter(CPU, tmp_path).joules() is None


def test_a_counter_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (zone,) = rapl(tmp_path, 0)
    (zone / "energy_uj").unlink()
    (zone / "energy_uj").mkdir()  # unreadable for root too
    assert find_counter(CPU, tmp_path) == (
        "not available: the RAPL counter intel-rapl:0 cannot be read (Is a directory)."
    )


def test_packages_alone_are_read(tmp_path: Path) -> None:
    rapl(tmp_path, 1, 2)
    counter = find_counter(CPU, tmp_path)
    assert isinstance(counter, Rapl)
    assert [zone.name for zone in counter.zones] == ["intel-rapl:0", "intel-rapl:1"]


def test_a_resumed_runs_energy_is_in_its_checkpoint(tmp_path: Path) -> None:
    asked = spec(network=mlp(8))
    stopped = fit(asked, output=tmp_path, stop=StopRequest(after_steps=3))
    resumed = fit(asked, output=tmp_path, resume=stopped.checkpoint).result
    assert resumed is not None
    cost = resumed["compute_cost"]
    readable = not isinstance(find_counter(CPU), str)
    assert (cost["energy_joules"] is not None) == readable
    assert cost["energy_source"].startswith("RAPL" if readable else "not available")


def test_the_closed_form_is_for_dense_stacks_alone() -> None:
    resolved = resolve_parts(spec(network={"kind": "residual_mlp"}))
    network = resolved.network.build(resolved.network_options, resolved.task, StreamBook(0))
    assert backprop_closed_form(network) is None

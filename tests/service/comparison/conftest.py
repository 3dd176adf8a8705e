"""Made-up experiments with known answers, for every test of the comparison."""

import numpy as np
import pytest

from service.comparison.runs import (
    Cost,
    Curve,
    Diagnostics,
    Experiment,
    Proof,
    Property,
    Run,
    RunState,
    Tuning,
    Workload,
)

DIGITS = Workload("digits", "mlp 64-64", 0.1)
MNIST = Workload("mnist", "mlp 240x7", 0.1)

# arm: (final accuracy, speed of learning, seconds an epoch, what the signal loses in a layer)
ARMS = {
    "backprop": (0.970, 0.9, 1.0, 0.75),
    "difference_target_propagation": (0.955, 0.5, 3.1, 0.97),
    "synthetic_gradients": (0.9701, 0.9, 0.80, 0.80),
    "hsic_bottleneck": (0.93, 0.7, 2.0, 1.0),
    "alternating_minimization": (0.91, 1.4, 5.0, 0.9),
    "frozen": (0.85, 0.8, 0.5, 0.0),
    "backprop_checkpointed": (0.970, 0.9, 1.35, 0.75),
    "backprop_extra_heads": (0.9702, 0.9, 1.2, 0.75),
}
NEEDS = {
    "weight transport": True,
    "backward locking": True,
    "update locking": True,
    "derivative of the nonlinearity": True,
}


def make_run(
    arm: str,
    seed: int,
    workload: Workload = DIGITS,
    *,
    accuracy: float | None = None,
    state: str = "succeeded",
    reason: str | None = None,
    epochs: int = 8,
    seconds: float | None = None,
    layers: int = 5,
) -> Run:
    """A run whose numbers are a function of its arguments alone."""
    final, speed, pace, keep = ARMS.get(arm, ARMS["backprop"])
    rng = np.random.default_rng([seed, *arm.encode(), *workload.key.encode()])
    shared = np.random.default_rng([seed, 7]).normal(0, 0.003)
    final = final + shared + rng.normal(0, 0.0004) if accuracy is None else accuracy
    pace = (pace * (1 + rng.normal(0, 0.01))) if seconds is None else seconds / epochs
    epoch = np.arange(1.0, epochs + 1)
    accuracies = final - (final - workload.chance) * np.exp(-speed * epoch) * (1 + rng.normal(0, 0.03, epochs))
    if state == "diverged":
        epoch, accuracies = epoch[:2], accuracies[:2]
    names = tuple(f"layer{i + 1}" for i in range(layers + 1))
    steps = np.arange(0.0, 800, 100)
    depth_from_top = np.arange(layers, -1, -1)
    norms = 0.1 * keep**depth_from_top * np.exp(rng.normal(0, 0.05, (len(steps), layers + 1)))
    own = arm.startswith("backprop")
    cosines = np.clip(
        np.where(own, 0.99, (0.3 + 0.6 * keep) * 0.9**depth_from_top) + rng.normal(0, 0.02, norms.shape), -1, 1
    )
    return Run(
        arm=arm,
        algorithm=arm,
        workload=workload,
        seed=seed,
        state=RunState(state),
        reason=reason,
        metrics={} if state != "succeeded" else {"test_accuracy": float(final)},
        curve=Curve(
            epoch=epoch,
            passes=epoch * (2 if arm.startswith("difference") else 1),
            step=epoch * 100,
            seconds=epoch * pace,
            flops=epoch * pace * 1e9,
            validation_accuracy=accuracies,
            losses={"train_loss": 1 - accuracies},
        ),
        cost=Cost(
            training_seconds=pace * epochs,
            critical_path_seconds=pace * epochs / (4 if arm.startswith(("hsic", "synthetic")) else 1),
            samples_per_second=1000 / pace,
            flops_per_sample=1e6 * pace,
            peak_memory_bytes=2e8 * (0.6 if arm == "backprop_checkpointed" else 1.0),
        ),
        diagnostics=Diagnostics(
            layers=names,
            steps=steps,
            signal_norms=norms,
            angle_cosines=cosines,
            angle_null=np.full(norms.shape, 0.05),
            dead_shares=np.full(norms.shape, 0.02),
            saturated_shares=np.full(norms.shape, 0.1),
            update_ratios=np.full(norms.shape, 1e-3),
        ),
        properties=tuple(
            Property(
                name,
                needed=needed and (own or name != "weight transport"),
                reason="as the paper says",
                proof=Proof.CONFIRMED if name == "weight transport" else Proof.UNTESTED,
            )
            for name, needed in NEEDS.items()
        ),
        hyperparameters={
            "learning_rate": 0.01,
            **({} if own or arm == "frozen" else {"target_step": 0.3, "noise": 0.1}),
        },
        url=f"/api/v1/jobs/{arm}-{workload.dataset}-{seed}",
    )


def make_experiment(
    arms: tuple[str, ...] = tuple(ARMS), workloads: tuple[Workload, ...] = (DIGITS, MNIST), seeds: int = 10
) -> Experiment:
    return Experiment(
        name="five algorithms",
        runs=tuple(make_run(arm, seed, w) for w in workloads for arm in arms for seed in range(seeds)),
        tuning=tuple(
            Tuning(
                arm=arm,
                workload=DIGITS.key,
                scores=tuple(np.random.default_rng(len(arm)).beta(8, 1 if arm == "backprop" else 2, 24)),
                hyperparameters=("learning_rate",),
                seconds=120.0,
            )
            for arm in arms
            if not arm.startswith(("frozen", "backprop_"))
        ),
        provenance={"commit": "0123abcd", "machine": "2 cores", "versions": {"torch": "2.13"}},
        url="/api/v1/experiments/1",
    )


def make_sweep(seeds: int = 10) -> Experiment:
    """Backprop dies beyond 20 layers, target propagation lives to 50."""
    deepest = {"backprop": 20, "difference_target_propagation": 50, "frozen": 5}
    runs = []
    for depth in (5, 10, 20, 30, 50):
        workload = Workload("mnist", f"tanh mlp, {depth} hidden", 0.1, depth=depth)
        for arm, last in deepest.items():
            for seed in range(seeds):
                alive = depth <= last
                rng = np.random.default_rng([depth, seed, len(arm)])
                runs.append(
                    make_run(
                        arm,
                        seed,
                        workload,
                        accuracy=(0.95 - 0.001 * depth if alive else 0.12) + rng.normal(0, 0.003),
                        layers=depth,
                    )
                )
    return Experiment("depth sweep", tuple(runs))


@pytest.fixture(scope="session")
def five_algorithms() -> Experiment:
    return make_experiment()


@pytest.fixture(scope="session")
def sweep() -> Experiment:
    return make_sweep()


@pytest.fixture(scope="session")
def digits() -> Workload:
    return DIGITS


@pytest.fixture(scope="session")
def run_of():
    return make_run


@pytest.fixture(scope="session")
def experiment_of():
    return make_experiment

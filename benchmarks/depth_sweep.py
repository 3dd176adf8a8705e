"""Gradient health over depth: tanh networks of 5 to 50 hidden layers. Where does the signal die, and who still trains?

    python benchmarks/depth_sweep.py --runs depth_sweep.runs.jsonl --seeds 1-6
    python benchmarks/depth_sweep.py --runs depth_sweep.runs.jsonl --report

Each finished run is one line of the runs file, and is skipped when the command is repeated, so it may be stopped at
will. The scores are those of `service.comparison` (rule 11 of the protocol); results/depth_sweep.md, .json and .svg are
written from all lines with the depths, widths, epochs and weights asked for.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from recipe_runs import RESULTS, append, commit, lines, told

from service.comparison.gradient_health import LayerHealth, Sweep, deepest_trained, layer_health, signal_fall, sweeps
from service.comparison.plots.style import arm_styles, legend, mark_level, render
from service.comparison.runs import Diagnostics, Experiment, Run, RunState, Workload, run_state
from trainers import fit
from trainers.errors import TrainerError
from trainers.events import Diagnostics as Diagnosed
from trainers.events import Event

ALGORITHMS = (
    "backprop",
    "alternating_minimization",
    "difference_target_propagation",
    "hsic_bottleneck",
    "synthetic_gradients",
    "frozen",
)
DIED = 1e-3
"""Share of the last hidden layer's signal below which a layer counts as unreached."""
LOWEST_SHOWN = -12
"""Power of ten at which the picture ends; lines that fall on leave it."""
KEPT = ("layer", "signal_norm", "update_ratio", "dead_share", "saturated_share", "angle_cosine", "angle_null")
COST = ("training_seconds", "samples_per_second")


def main() -> None:
    options = arguments()
    if not options.report:
        for seed in seeds_of(options.seeds):
            for depth in options.depths:
                for algorithm in options.algorithms:
                    run_once(spec_of(options, algorithm, depth, seed), options.runs)
    asked = [spec_of(options, algorithm, depth, 0) for algorithm in options.algorithms for depth in options.depths]
    found = [line for line in lines(options.runs) if without_seed(line["asked"]) in map(without_seed, asked)]
    if not found:
        raise SystemExit(f"{options.runs} holds no run of this sweep yet; leave --report out to make some.")
    write_report(options, found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, metavar="FILE", help="one JSON line a finished run")
    parser.add_argument("--seeds", default="1", help="e.g. 3 or 1-6")
    parser.add_argument("--depths", type=int, nargs="+", default=[5, 10, 20, 35, 50], help="hidden layers")
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), help="backprop must be one")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--train-size", type=int, help="train on so many samples only")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--initialization", default="xavier")
    parser.add_argument("--report", action="store_true", help="only summarise what was run")
    options = parser.parse_args()
    if "backprop" not in options.algorithms:
        parser.error("--algorithms must name backprop: every depth is judged against it")
    return options


def seeds_of(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def spec_of(options: argparse.Namespace, algorithm: str, depth: int, seed: int) -> dict[str, Any]:
    """Defaults of the algorithm, on one thread of a CPU."""
    return {
        "algorithm": algorithm,
        "dataset": options.dataset,
        "dataset_options": {} if options.train_size is None else {"train_size": options.train_size},
        "network": {
            "kind": "mlp",
            "hidden": [options.width] * depth,
            "activation": "tanh",
            "initialization": options.initialization,
        },
        "training": {
            "epochs": options.epochs,
            "batch_size": 100,
            "seed": seed,
            "threads": 1,
            "device": "cpu",
            "diagnose_every_steps": 25,
        },
    }


def without_seed(asked: dict[str, Any]) -> dict[str, Any]:
    return {**asked, "training": {**asked["training"], "seed": None}}


# -- running ----------------------------------------------------------------------------------------------------------


def run_once(spec: dict[str, Any], runs: Path) -> None:
    """Make one run and append it to the file, unless it is there."""
    if any(line["asked"] == spec for line in lines(runs)):
        return
    told(spec["algorithm"], f"{len(spec['network']['hidden'])} layers, seed {spec['training']['seed']}")
    moments: list[dict[str, Any]] = []

    def keep(event: Event) -> None:
        if isinstance(event, Diagnosed):
            moments.append({"step": event.step, "layers": [{k: row.get(k) for k in KEPT} for row in event.layers]})

    try:
        result = fit(spec, on_event=keep).result or {}
        ended = {
            "state": "succeeded",
            "scores": {name: result[name] for name in ("test_accuracy", "validation_accuracy")},
            "cost": {name: result["compute_cost"][name] for name in COST},
            "machine": result["machine"],
        }
        told(f"  test accuracy {result['test_accuracy']:.3f}, {result['compute_cost']['training_seconds']:.1f} s")
    except TrainerError as error:
        ended = {"state": "failed", "reason": error.code, "sentence": error.sentence}
        told(f"  {error.sentence}")
    append(runs, {"asked": spec, "commit": commit(), "diagnosed": moments, **ended})


# -- scoring ----------------------------------------------------------------------------------------------------------


def experiment_of(found: Iterable[dict[str, Any]]) -> Experiment:
    """The runs as the comparison knows them."""
    return Experiment("Depth sweep", tuple(run_of(line) for line in found))


def run_of(line: dict[str, Any]) -> Run:
    spec = line["asked"]
    depth = len(spec["network"]["hidden"])
    return Run(
        arm=spec["algorithm"],
        algorithm=spec["algorithm"],
        workload=Workload(spec["dataset"], f"{depth} tanh layers", 0.1, depth=depth),
        seed=spec["training"]["seed"],
        state=run_state(line["state"], line.get("reason")),
        metrics=line.get("scores", {}),
        reason=line.get("reason"),
        diagnostics=diagnostics_of(line["diagnosed"]),
    )


def diagnostics_of(moments: list[dict[str, Any]]) -> Diagnostics | None:
    """Those moments that show a teaching signal: a pass of inverses shows none."""
    shown = [each for each in moments if any(row["signal_norm"] is not None for row in each["layers"])]
    if not shown:
        return None

    def grid(name: str) -> Any:
        return [[row[name] for row in each["layers"]] for each in shown]

    return Diagnostics(
        layers=tuple(row["layer"] for row in shown[0]["layers"]),
        steps=[each["step"] for each in shown],  # type: ignore[arg-type]  # columns are made of what they get
        signal_norms=grid("signal_norm"),
        angle_cosines=grid("angle_cosine"),
        angle_null=grid("angle_null"),
        dead_shares=grid("dead_share"),
        saturated_shares=grid("saturated_share"),
        update_ratios=grid("update_ratio"),
    )


def relative_signal(health: LayerHealth) -> NDArray[np.float64]:
    """Each hidden layer's signal as a share of the last hidden layer's, bottom to top."""
    norms = health.signal_norms[:-1]
    return norms / norms[-1] if norms[-1] > 0 else np.full(len(norms), np.nan)


def row_of(experiment: Experiment, sweep: Sweep, arm: str, workload: Workload) -> dict[str, Any]:
    """One algorithm at one depth."""
    runs = experiment.runs_of(arm, workload)
    scores = [r.metrics["test_accuracy"] if r.state is RunState.SUCCEEDED else workload.chance for r in runs]
    falls = [fall for fall in map(signal_fall, runs) if fall is not None]
    health = layer_health(experiment, arm, workload)
    shares = relative_signal(health) if health else np.array([])
    below = [place for place, share in enumerate(shares) if share < DIED]
    return {
        "algorithm": arm,
        "depth": workload.depth,
        "seeds": len(runs),
        "test_accuracy": float(np.mean(scores)),
        "trains": bool(np.mean(scores) >= sweep.threshold),
        "went_wrong": sum(run.went_wrong for run in runs),
        "signal_fall": float(np.median(falls)) if falls else None,
        "dead_below_layer": below[-1] + 2 if below else None,
    }


# -- telling ----------------------------------------------------------------------------------------------------------


def write_report(options: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """The table, the numbers, and the picture."""
    experiment = experiment_of(found)
    swept = sweeps(experiment)
    if not swept:
        raise SystemExit("The report needs backprop at the smallest depth, and runs of at least two depths.")
    sweep = swept[0]
    rows = [row_of(experiment, sweep, arm, w) for arm in experiment.arms for w in sweep.workloads]
    rows = [row for row in rows if row["seeds"]]
    deepest = {arm: deepest_trained(experiment, sweep, arm) for arm in experiment.arms}
    plot = render("depth_sweep", "Gradient health over depth", lambda figure: draw(figure, experiment, sweep), (9, 4))
    facts = {
        "command": command_of(options),
        "commits": sorted({line["commit"] for line in found}),
        "machines": sorted({json.dumps(line["machine"], sort_keys=True) for line in found if "machine" in line}),
        "threshold": sweep.threshold,
        "deepest_trained": {arm: {str(seed): depth for seed, depth in each.items()} for arm, each in deepest.items()},
        "rows": rows,
    }
    RESULTS.joinpath("depth_sweep.json").write_text(json.dumps(facts, indent=1) + "\n")
    RESULTS.joinpath("depth_sweep.svg").write_text(plot.svg)
    RESULTS.joinpath("depth_sweep.md").write_text(text_of(options, sweep, rows, deepest, facts, plot.alt))
    told("wrote", RESULTS / "depth_sweep.md")


def command_of(options: argparse.Namespace) -> str:
    size = "" if options.train_size is None else f" --train-size {options.train_size}"
    return (
        f"python benchmarks/depth_sweep.py --runs FILE --seeds {options.seeds} --dataset {options.dataset}{size} "
        f"--depths {' '.join(map(str, options.depths))} --width {options.width} --epochs {options.epochs} "
        f"--initialization {options.initialization}"
    )


def text_of(
    options: argparse.Namespace,
    sweep: Sweep,
    rows: list[dict[str, Any]],
    deepest: dict[str, dict[int, float]],
    facts: dict[str, Any],
    alt: str,
) -> str:
    seeds = max(row["seeds"] for row in rows)
    head = f"""# Gradient health over depth

`{facts["command"]}`

Tanh networks of {options.width} units a layer on {options.dataset}, {options.initialization} weights,
{options.epochs} epochs with each algorithm's default hyperparameters; {seeds} seed{"s" if seeds > 1 else ""}.
A network trains if its test accuracy is at least {100 * sweep.threshold:.1f} %, half way from chance to backprop's at
the smallest depth. *Fall*: powers of ten between the teaching signal at the last and at the first hidden layer, either
way; a signal of exactly 0 counts as the smallest float32. *Dies*: the lowest layer that still gets {DIED:g} of the last
hidden layer's signal.{" With one seed nothing here is a verdict." if seeds == 1 else ""}

![{alt}](depth_sweep.svg)

| algorithm | deepest that trains | {" | ".join(f"{depth} layers" for depth in sweep.depths)} |
|---|---|{"---|" * len(sweep.depths)}
"""
    table = []
    for arm in dict.fromkeys(row["algorithm"] for row in rows):
        by_depth = {row["depth"]: row for row in rows if row["algorithm"] == arm}
        reached = list(deepest[arm].values())
        best = "unknown" if not reached else "none" if max(reached) < sweep.depths[0] else f"{np.median(reached):g}"
        cells = " | ".join(cell_of(by_depth[d]) if d in by_depth else "not run" for d in sweep.depths)
        table.append(f"| {arm} | {best} | {cells} |")
    machines = "; ".join(machine_text(json.loads(each)) for each in facts["machines"])
    return f"{head}{chr(10).join(table)}\n\n{machines}; commit {', '.join(facts['commits'])}.\n"


def cell_of(row: dict[str, Any]) -> str:
    """Accuracy, in bold where it trains; fall; where the signal dies."""
    shown = f"{100 * row['test_accuracy']:.1f} %"
    shown = f"**{shown}**" if row["trains"] else shown
    if row["went_wrong"]:
        shown += f" ({row['went_wrong']} went wrong)"
    if row["signal_fall"] is not None:
        shown += f"; fall {row['signal_fall']:.1f}"
    if row["dead_below_layer"] is not None:
        shown += f"; dies at layer {row['dead_below_layer']}"
    return shown


def machine_text(machine: dict[str, Any]) -> str:
    return f"{machine['device_name']}, {machine['threads']} thread, torch {machine['torch']}"


def draw(figure: Figure, experiment: Experiment, sweep: Sweep) -> str:
    """Left: accuracy by depth. Right: the signal through the deepest network."""
    left, right = figure.subplots(1, 2)
    styles = arm_styles(experiment)
    deepest = sweep.workloads[-1]
    said = []
    for arm, style in styles.items():
        look = {"color": style.colour, "marker": style.marker, "linestyle": style.line, "linewidth": style.width}
        points = [(w.depth, experiment.runs_of(arm, w)) for w in sweep.workloads if experiment.runs_of(arm, w)]
        means = [np.mean([r.metrics.get("test_accuracy", deepest.chance) for r in runs]) for _, runs in points]
        left.plot([depth for depth, _ in points], means, **look)
        said.append(f"{arm} {100 * means[-1]:.0f} %")
        health = layer_health(experiment, arm, deepest)
        if health is not None:
            shares = relative_signal(health)
            powers = np.log10(np.maximum(shares, np.finfo(np.float32).tiny))
            right.plot(np.arange(1, len(shares) + 1), powers, **{**look, "marker": ""})
    mark_level(left, sweep.threshold, "trains")
    left.set(xlabel="hidden layers", ylabel="test accuracy", ylim=(0, 1.02), title="Who still trains?")
    right.set(xlabel="hidden layer", ylabel="signal by the last hidden layer's, powers of ten")
    right.set_ylim(bottom=max(right.get_ylim()[0], LOWEST_SHOWN))
    right.set_title(f"Where does the signal die? ({deepest.depth} layers)")
    mark_level(right, float(np.log10(DIED)), "dead")
    legend(figure, styles, list(styles))
    return (
        f"Two panels. Left: test accuracy of each algorithm by number of hidden layers; at {deepest.depth}: "
        f"{', '.join(said)}. Right: the teaching signal at each hidden layer of the deepest network, as a share of the "
        f"last hidden layer's, in powers of ten down to {LOWEST_SHOWN}."
    )


if __name__ == "__main__":
    main()

"""Runs recipes over seeds, resumably: every finished run is one JSON line, and an interrupted one goes on.

Shared by the scripts of single algorithms. A run that is already in the file is skipped, so a command may be stopped
and repeated at will. Each line records the spec asked for, the whole spec, the curve and the result, with the machine
and versions that the result holds and the commit it was run at.
"""

import argparse
import hashlib
import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import stats
from scipy.stats import qmc

from trainers import fit
from trainers.errors import TrainerError
from trainers.events import Event, Finding, Metrics
from trainers.recipes import RECIPES
from trainers.spec import TrainingSpec

mpl.rcParams["svg.hashsalt"] = "altprop"  # ids in a plot follow from what it shows: the same runs, the same bytes
RESULTS = Path(__file__).parent / "results"
LEFT_OUT = ("confusion_matrix", "per_class_accuracy", "diagnostics")


def arguments(description: str | None, recipes: Sequence[str]) -> argparse.Namespace:
    """The command line that all these scripts share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=recipes, action="append", help="may be repeated; default: all")
    parser.add_argument("--arm", action="append", help="only these arms; may be repeated")
    parser.add_argument("--form", choices=["quick", "paper"], default="paper")
    parser.add_argument("--seeds", default="1-5", help="e.g. 3 or 1-5")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="only summarise what was run")
    return parser.parse_args()


def run_recipes(options: argparse.Namespace, recipes: Sequence[str], runs: Path) -> None:
    """Every arm of every recipe asked for, seed by seed."""
    first, _, last = options.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for name in options.recipe or recipes:
            for arm, spec in RECIPES[name].form(options.form).arms.items():
                if options.arm is None or arm in options.arm:
                    run_once(name, arm, seeded(spec, seed, options.epochs, options.threads), runs)


def seeded(spec: TrainingSpec, seed: int, epochs: int | None, threads: int) -> TrainingSpec:
    """The recipe's spec for one seed, on the CPU."""
    changes: dict[str, Any] = {"seed": seed, "threads": threads, "device": "cpu"}
    if epochs is not None:
        changes["epochs"] = epochs
    return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})


def run_once(
    recipe: str, arm: str, spec: TrainingSpec, runs: Path, *, field: str = "recipe", left_out: Sequence[str] = LEFT_OUT
) -> dict[str, Any]:
    """Run, or finish, one run and append it to the file; a finished one is read from there.

    field: what a line calls `recipe`. left_out: of the result.
    """
    asked = spec.model_dump(mode="json", exclude_unset=True)
    for line in lines(runs):
        if (line[field], line["arm"], line["asked"]) == (recipe, arm, asked):
            return dict(line)
    folder = state_folder(recipe, asked)
    curve_file, findings_file = folder / "curve.jsonl", folder / "findings.jsonl"
    told(recipe, arm, f"seed {spec.training.seed}")

    def keep(event: Event) -> None:
        if isinstance(event, Metrics):
            values = {name: value if value is None else round(value, 6) for name, value in event.values.items()}
            with curve_file.open("a") as file:
                file.write(json.dumps({"epoch": event.epoch, "step": event.step, **values}) + "\n")
            told(f"  epoch {event.epoch}:", *(f"{k} {v:.4f}" for k, v in event.values.items() if v is not None))
        elif isinstance(event, Finding):
            with findings_file.open("a") as file:
                file.write(json.dumps(event.sentence) + "\n")

    checkpoints = sorted(folder.glob("step-*.safetensors"))
    ended: dict[str, Any]
    whole: dict[str, Any] | None
    try:
        outcome = fit(spec, on_event=keep, output=folder, resume=checkpoints[-1] if checkpoints else None)
        whole = outcome.spec.model_dump(mode="json")
        ended = {key: value for key, value in (outcome.result or {}).items() if key not in left_out}
    except TrainerError as error:
        whole, ended = None, {"failed": error.code, "sentence": error.sentence}
    curve = {each["step"]: each for each in lines(curve_file)}  # a resumed run repeats some epochs, bit for bit
    line = {
        field: recipe,
        "arm": arm,
        "seed": spec.training.seed,
        "asked": asked,
        "spec": whole,
        "findings": list(dict.fromkeys(lines(findings_file))),
        "commit": commit(),
        "curve": [curve[step] for step in sorted(curve)],
        "result": ended,
    }
    append(runs, line)
    shutil.rmtree(folder)
    return line


def state_folder(name: str, asked: dict[str, Any]) -> Path:
    """Where an interrupted run of this spec left its checkpoints; a run with other settings has a folder of its own."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / "altprop-recipe-runs" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lines(path: Path) -> list[Any]:
    """The JSON lines of a file; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def append(path: Path, line: dict[str, Any]) -> None:
    """One more JSON line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")


def is_done(path: Path, key: dict[str, Any]) -> bool:
    """Whether the file has a line with all of `key`'s values."""
    return any(all(line.get(name) == value for name, value in key.items()) for line in lines(path))


def quasi_random(
    space: dict[str, tuple[float, float]], count: int, *, seed: int, digits: int
) -> list[dict[str, float]]:
    """The first points of a scrambled Sobol sequence through a log-uniform space, rounded to significant digits."""
    points: Any = qmc.Sobol(len(space), seed=seed).random_base2(math.ceil(math.log2(max(count, 2))))
    return [
        {
            name: float(f"{low * (high / low) ** share:.{digits}g}")
            for (name, (low, high)), share in zip(space.items(), point, strict=True)
        }
        for point in points[:count]
    ]


def told(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def commit() -> str:
    """The commit at hand, with a mark where the tree differs from it."""
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def mean_and_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the half-width of its 95 % Student-t interval; None for fewer than two values."""
    if len(values) < 2:
        return float(np.mean(values)), None
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(np.mean(values)), float(half)


def shown(values: Sequence[float], scale: float = 1.0, unit: str = "") -> str:
    """`98.31 ± 0.06 % (n = 5)`."""
    mean, half = mean_and_interval([value * scale for value in values])
    return f"{mean:.2f}{f' ± {half:.2f}' if half is not None else ''}{unit} (n = {len(values)})"

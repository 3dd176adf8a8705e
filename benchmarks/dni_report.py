"""Tables and plots of decoupled neural interfaces from their finished runs: dni.md, dni.json, dni.*.svg.

Called by `benchmarks/synthetic_gradients.py`. A row is an arm of a recipe at one length of run, one network and one
set of settings, over its seeds: mean and 95 % interval (Student's t). Runs that failed are counted, and stay in the
row. The source's figure for the arm stands beside it, with its mark. Joint tables (MNIST by depth; sequences by T) take
of each arm the longest run.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from dni_search import PREFIX, RECORD, best_settings
from recipe_runs import lines, mean_and_interval, shown

from trainers.recipes import RECIPES, Figure

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Row = dict[str, Any]
COUNTS = ("test_odd_accuracy", "test_threes_accuracy")


def write_report(runs: Path, folder: Path) -> None:
    """From the lines in `runs`, and the recorded search if there is one."""
    groups: dict[tuple[str, str, int, str], list[Row]] = defaultdict(list)
    for line in lines(runs):
        asked = line["asked"]
        settings = json.dumps(asked.get("hyperparameters", {}) | {"network": asked.get("network")}, sort_keys=True)
        groups[line["recipe"], line["arm"], asked["training"]["epochs"], settings].append(line)
    rows = [row_of(*key, group) for key, group in sorted(groups.items())]
    search = found()
    folder.joinpath("dni.json").write_text(json.dumps({"runs": rows, "search": search}, indent=1) + "\n")
    parts = [
        "# Decoupled neural interfaces: measured\n\n",
        "`python benchmarks/synthetic_gradients.py` runs the recipes, `--report` writes this page. ± is a 95 % ",
        "interval over seeds; one seed has none. The paper's figures are marked unconfirmed where they were read in ",
        "notes on its tables.\n",
        *mnist_by_depth(rows, folder),
        *by_chunk(rows, folder, "repeat-copy"),
        *by_chunk(rows, folder, "copy"),
        *by_chunk(rows, folder, "characters"),
    ]
    for recipe in sorted({row["recipe"] for row in rows}):
        parts += section(recipe, [row for row in rows if row["recipe"] == recipe], folder)
    parts += searches(search)
    folder.joinpath("dni.md").write_text("".join(parts))
    print("".join(parts))


# -- rows -------------------------------------------------------------------------------------------------------------


def measure_of(result: dict[str, Any]) -> tuple[str, str, Callable[[float], float]]:
    """What a run of this kind is judged by: field, words for it, and how its value is shown."""
    if "longest_solved" in result:
        return "longest_solved", "longest sequence solved", float
    if "test_bits_per_character" in result:
        return "test_bits_per_character", "test bits a character", float
    return "test_accuracy", "test error, %", lambda accuracy: 100 * (1 - accuracy)


def row_of(recipe: str, arm: str, epochs: int, settings: str, runs: Sequence[Row]) -> Row:
    finished = [run for run in runs if "failed" not in run["result"]]
    hyperparameters = json.loads(settings)
    row: Row = {
        "recipe": recipe,
        "arm": arm,
        "epochs": epochs,
        "network": hyperparameters.pop("network"),
        "settings": hyperparameters,
        "seeds": sorted(run["seed"] for run in runs),
        "failed": sorted({run["result"]["sentence"] for run in runs if "failed" in run["result"]}),
        "source": [figure_text(figure) for figure in RECIPES[recipe].figures if is_of(figure, arm)],
        "source_value": next((f.value for f in RECIPES[recipe].figures if is_of(f, arm)), None),
        "commits": sorted({run["commit"] for run in runs}),
    }
    if not finished:
        return row
    field, words, as_shown = measure_of(finished[0]["result"])
    values = [as_shown(run["result"][field]) for run in finished]
    curves = [[(point["step"], as_shown(point[field])) for point in run["curve"] if field in point] for run in finished]
    row |= {
        "measure": words,
        "values": values,
        "mean_and_interval": mean_and_interval(values),
        "after_first_epoch": [curve[0][1] for curve in curves if curve],
        "curves": curves,
        "steps": finished[0]["result"]["steps"],
        "seconds": [sum(run["result"]["seconds"].values()) for run in finished],
        "samples_per_second": [run["result"]["samples_per_second"] for run in finished],
    }
    for count in COUNTS:
        if count in finished[0]["result"]:
            row[count] = [100 * run["result"][count] for run in finished]
    return row


def is_of(figure: Figure, arm: str) -> bool:
    """Figures name their arm after the measure: "test_accuracy, cDNI"; sequences' say Aux for DNI + Aux."""
    _, _, named = figure.measure.partition(", ")
    return named.replace(",", "").replace("Aux", "DNI + Aux").replace("DNI + DNI", "DNI") == arm.replace(",", "")


def figure_text(figure: Figure) -> str:
    unit = "accuracy " if figure.measure.startswith("test_accuracy") else ""
    value = f"{figure.value:g}" if isinstance(figure.value, int | float) else figure.value
    return f"{unit}{value} ({figure.mark}) {figure.note}".strip()


def row_to_show(rows: Sequence[Row], recipe: str, arm: str) -> Row | None:
    """Of the arm's rows that have a value that of the settings which the search found; of several the one with the
    longest runs, then the most seeds."""
    own = [row for row in rows if (row["recipe"], row["arm"]) == (PREFIX + recipe, arm) and "values" in row]
    best = best_settings(PREFIX + recipe, arm) or {}
    return max(
        own, key=lambda row: (best.items() <= row["settings"].items(), row["epochs"], len(row["seeds"])), default=None
    )


# -- joint tables -----------------------------------------------------------------------------------------------------


def mnist_by_depth(rows: Sequence[Row], folder: Path) -> list[str]:
    """Rows: arms; columns: depths, ours and the paper's."""
    depths, arms = (3, 4, 5, 6), ("no bprop", "backprop", "DNI", "cDNI")
    cells = {(arm, depth): row_to_show(rows, f"mnist-{depth}", arm) for arm in arms for depth in depths}
    return joint("MNIST by depth: test error, %", "layers", "mnist-depth", cells, arms, depths, folder)


def by_chunk(rows: Sequence[Row], folder: Path, recipe: str) -> list[str]:
    """Rows: BPTT, DNI, DNI + Aux; columns: T. A table for each size of network."""
    arms, chunks = ("BPTT", "DNI", "DNI + Aux"), (2, 3, 4, 5, 8)
    parts: list[str] = []
    rows = [row for row in rows if row["recipe"] == PREFIX + recipe]
    for size in sorted({row["network"]["hidden"] for row in rows}):
        own = [row for row in rows if row["network"]["hidden"] == size]
        cells = {(arm, T): row_to_show(own, recipe, f"{arm} T = {T}") for arm in arms for T in chunks}
        title = f"{RECIPES[PREFIX + recipe].title}, {size} units"
        parts += joint(title, "T", f"{recipe}-{size}", cells, arms, chunks, folder)
    return parts


def joint(
    title: str,
    across: str,
    name: str,
    cells: dict[tuple[str, int], Row | None],
    arms: Sequence[str],
    columns: Sequence[int],
    folder: Path,
) -> list[str]:
    """A table of ours beside the source's, and its plot; nothing where nothing was run."""
    columns = [column for column in columns if any(cells[arm, column] for arm in arms)]
    if not columns:
        return []
    head = [f"{across} = {column}" for column in columns]
    parts = [f"\n## {title}\n\n| arm | {' | '.join(head)} | epochs |\n|---|{'---|' * (len(columns) + 1)}\n"]
    figure, axes = plt.subplots(figsize=(6, 4))
    for colour, arm in enumerate(arms):
        own = {column: row for column in columns if (row := cells[arm, column]) is not None}
        if not own:
            continue
        shown_cells = [cell_text(own.get(column)) for column in columns]
        epochs = ", ".join(str(each) for each in sorted({row["epochs"] for row in own.values()}))
        parts.append(f"| {arm} | {' | '.join(shown_cells)} | {epochs} |\n")
        means = [row["mean_and_interval"] for row in own.values()]
        axes.errorbar(
            list(own), [m for m, _ in means], [h or 0 for _, h in means], color=f"C{colour}", marker="o", label=arm
        )
        source = {c: row["source_value"] for c, row in own.items() if isinstance(row["source_value"], int | float)}
        if source:
            axes.plot(list(source), list(source.values()), color=f"C{colour}", ls="--", lw=1)
    axes.set_xlabel(across)
    axes.set_xticks(list(columns))
    axes.set_ylabel(next(row["measure"] for row in cells.values() if row is not None))
    axes.set_title("ours; dashed: the paper's", fontsize=9)
    axes.legend()
    save(figure, folder / f"dni.{name}.svg")
    parts.append(f"\nOurs, in brackets the paper's.\n\n![by {across}](dni.{name}.svg)\n")
    return parts


def cell_text(row: Row | None) -> str:
    if row is None:
        return ""
    source = f" [{row['source_value']:g}]" if row["source_value"] is not None else ""
    return value_text(row) + source


def value_text(row: Row, field: str = "values") -> str:
    """Lengths one by one: few seeds find whole numbers far apart, which an interval says little about."""
    if row["measure"] == "longest sequence solved":
        return f"{', '.join(f'{length:g}' for length in row[field])} (n = {len(row[field])})"
    return shown(row[field])


# -- a recipe's section -----------------------------------------------------------------------------------------------


def section(recipe: str, rows: Sequence[Row], folder: Path) -> list[str]:
    measured = next((row["measure"] for row in rows if "measure" in row), "measured")
    parts = [
        f"\n## {RECIPES[recipe].title}\n\n`{recipe}`: {RECIPES[recipe].summary}\n\n",
        f"| arm | epochs | seeds | {measured} | after epoch 1 | source's figure | samples/s | settings | failed |\n",
        "|---|---|---|---|---|---|---|---|---|\n",
    ]
    note = shared_note(recipe)
    sizes = {json.dumps(row["network"]) for row in rows}
    for row in rows:
        has = "values" in row
        rates = row.get("samples_per_second", [])
        settings = ", ".join(f"{name} {value}" for name, value in row["settings"].items() if name != "optimizer")
        if len(sizes) > 1:
            settings = f"{row['network']['hidden']} units, {settings}"
        columns = [
            row["arm"],
            row["epochs"],
            ", ".join(map(str, row["seeds"])),
            value_text(row) if has else "none finished",
            value_text(row, "after_first_epoch") if has and row["after_first_epoch"] else "",
            "; ".join(source.removesuffix(note).strip() for source in row["source"]),
            f"{sum(rates) / len(rates):,.0f}" if rates else "",
            settings,
            "; ".join(row["failed"]),
        ]
        parts.append(f"| {' | '.join(map(str, columns))} |\n")
    if note:
        parts.append(f"\nThe source's figures: {note}.\n")
    counted = [row for row in rows if COUNTS[0] in row]
    if counted:
        parts.append("\n| arm | epochs | odd digits right, % | threes right, % |\n|---|---|---|---|\n")
        for row in counted:
            parts.append(f"| {row['arm']} | {row['epochs']} | {' | '.join(shown(row[c]) for c in COUNTS)} |\n")
    if any(row.get("curves") for row in rows):
        parts.append(f"\n![curves](dni.curves.{recipe.removeprefix(PREFIX)}.svg)\n")
        curves(recipe, rows, folder)
    return parts


def shared_note(recipe: str) -> str:
    """What all figures of the recipe are marked with, to be said once; "" where they differ."""
    notes = {figure.note for figure in RECIPES[recipe].figures}
    return notes.pop() if len(notes) == 1 else ""


def curves(recipe: str, rows: Sequence[Row], folder: Path) -> None:
    """The measure of every run over its steps, a colour an arm; of each arm the longest run."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    short = recipe.removeprefix(PREFIX)
    arms = sorted({row["arm"] for row in rows})
    for colour, arm in enumerate(arms):
        row = row_to_show(rows, short, arm)
        for number, curve in enumerate(row["curves"] if row else ()):
            label = arm if number == 0 else None
            axes.plot([step for step, _ in curve], [value for _, value in curve], color=f"C{colour}", label=label, lw=1)
    axes.set_xlabel("updates")
    axes.set_ylabel(next(row["measure"] for row in rows if "measure" in row))
    axes.set_title(RECIPES[recipe].title, fontsize=10)
    axes.legend(fontsize=7)
    save(figure, folder / f"dni.curves.{short}.svg")


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


# -- the search -------------------------------------------------------------------------------------------------------


def found() -> list[dict[str, Any]]:
    """The best trial of each case and arm, and how many there were."""
    trials: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines(RECORD):
        trials[line["case"], line["arm"]].append(line)
    return [
        {"trials": len(own), **max(own, key=lambda line: float("-inf") if line["score"] is None else line["score"])}
        for _, own in sorted(trials.items())
    ]


def searches(best: Sequence[dict[str, Any]]) -> list[str]:
    if not best:
        return []
    parts = [
        "\n## Search\n\n`python benchmarks/dni_search.py`, on validation data; sequences: by the longest solved in ",
        "training.\n\n",
    ]
    parts.append("| case | arm | trials | best score | its settings |\n|---|---|---|---|---|\n")
    for line in best:
        settings = ", ".join(f"{name} {value}" for name, value in line["settings"].items()) or "the recipe's own"
        score = "none finished" if line["score"] is None else f"{line['score']:.4f}"
        parts.append(f"| {line['case']} | {line['arm']} | {line['trials']} | {score} | {settings} |\n")
    return parts

"""`python -m trainers`: train, score and look at networks on the command line, with no service.

    list | describe NAME | validate SPEC | run SPEC | evaluate CHECKPOINT | predict CHECKPOINT | export CHECKPOINT
    intervene ALGORITHM | recipes | serve

SPEC is a JSON file, `-` for standard input, or the JSON itself. Exit codes: 0 done; 2 a bad spec, file or option, with
one clear sentence; 1 the run itself failed (diverged, out of memory, data unavailable),
or `intervene` refuted something.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.errors import CheckpointError, SpecError, TrainerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except SpecError as error:
        for field in error.errors:
            print(f"{field.pointer}: {field.detail}", file=sys.stderr)
        return 2
    except CheckpointError as error:
        print(error.sentence, file=sys.stderr)
        return 2
    except TrainerError as error:
        print(error.sentence, file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m trainers", description=(__doc__ or "").splitlines()[0])
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=run)
        return sub

    command("list", show_list, "algorithms, networks, data sets and recipes by name")
    describe = command("describe", show_description, "everything known of one of them, as JSON")
    describe.add_argument("name")
    validate = command("validate", show_validated, "the spec with every default filled in, or what is wrong with it")
    validate.add_argument("spec")

    run = command("run", run_spec, "train a spec or a recipe")
    run.add_argument("spec", nargs="?", help="a JSON file, - for standard input, or the JSON itself")
    run.add_argument("--recipe", help="run a recipe instead of a spec")
    run.add_argument("--arm", help="only this arm of the recipe")
    run.add_argument("--paper", action="store_true", help="the recipe's paper form instead of the quick one")
    run.add_argument("--seed", type=int, help="overrides training.seed")
    run.add_argument("--output", type=Path, required=True, metavar="DIR", help="for events, result and checkpoints")
    run.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="go on from here, bit for bit")
    run.add_argument("--stop-after-steps", type=int, metavar="N", help="save and stop once N steps are done")

    evaluate = command("evaluate", evaluate_checkpoint, "score a checkpoint on its data set")
    evaluate.add_argument("checkpoint", type=Path)
    evaluate.add_argument("--split", choices=["train", "validation", "test"], default="test")
    predict = command("predict", predict_inputs, "outputs of a checkpoint's network for inputs of your own")
    predict.add_argument("checkpoint", type=Path)
    predict.add_argument("inputs", type=Path, help="an .npy file, (samples, *input shape), scaled as in training")
    predict.add_argument("--output", type=Path, required=True, help="the .npy file to write")
    export = command("export", export_weights, "the network's weights alone, as safetensors")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("--output", type=Path, required=True)

    tests = command("intervene", show_interventions, "tests of what an algorithm declares to need, by taking it away")
    tests.add_argument("algorithm")
    tests.add_argument("--network", metavar="JSON", help="default: an mlp with three hidden layers of tanh units")
    tests.add_argument("--hyperparameters", metavar="JSON", help="default: the algorithm's")
    tests.add_argument("--dataset", help="of whose shapes; its data are not read. Default: digits or sequential_mnist")
    tests.add_argument("--seed", type=int, default=0, help="of weights and noise")
    tests.add_argument("--json", action="store_true", help="the whole report as JSON")

    command("recipes", show_recipes, "published results that can be repeated")
    serve = command(
        "serve", serve_jobs, "trainer process of a worker: a job on standard input, events on standard output"
    )
    serve.set_defaults(command=serve_jobs)
    return top


def show_list(options: argparse.Namespace) -> int:
    from trainers.recipes import RECIPES
    from trainers.registry import list_algorithms, list_datasets, list_networks

    names = {
        "algorithms": list_algorithms(),
        "networks": list_networks(),
        "datasets": list_datasets(),
        "recipes": list(RECIPES),
    }
    for kind, all_of_kind in names.items():
        print(f"{kind}: {', '.join(all_of_kind)}")
    return 0


def show_description(options: argparse.Namespace) -> int:
    from trainers.describe import describe

    print(json.dumps(describe(options.name), indent=2, ensure_ascii=False))
    return 0


def show_validated(options: argparse.Namespace) -> int:
    from trainers.resolve import resolve

    print(resolve(read_spec(options.spec)).model_dump_json(indent=2))
    return 0


def run_spec(options: argparse.Namespace) -> int:
    from trainers.console import run_all

    if (options.spec is None) == (options.recipe is None):
        raise SpecError("#", "Name either a spec or --recipe NAME.")
    if options.spec is not None:
        specs = {"": read_spec(options.spec)}
    else:
        specs = recipe_specs(options)
    if options.seed is not None:
        for spec in specs.values():
            spec["training"] = {**spec.get("training", {}), "seed": options.seed}
    return run_all(specs, options.output, resume=options.resume, stop_after_steps=options.stop_after_steps)


def recipe_specs(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The arms asked for, with the recipe's first seed."""
    from trainers.recipes import RECIPES

    form = RECIPES.find(options.recipe).form("paper" if options.paper else "quick")
    if options.arm is not None and options.arm not in form.arms:
        raise SpecError("#/arm", f"No arm {options.arm!r}; there are: {', '.join(form.arms)}.", got=options.arm)
    arms = {options.arm: form.arms[options.arm]} if options.arm is not None else form.arms
    specs = {name: spec.model_dump(mode="json", exclude_unset=True) for name, spec in arms.items()}
    for spec in specs.values():
        spec.setdefault("training", {}).setdefault("seed", form.seeds[0])
    return specs


def evaluate_checkpoint(options: argparse.Namespace) -> int:
    from trainers.evaluation import evaluate
    from trainers.training import load_for_prediction

    parts = load_for_prediction(options.checkpoint)
    values = evaluate(parts.algorithm, parts.data, parts.objective, options.split)
    if not values:
        raise CheckpointError("There is nothing to score yet: the algorithm has no read-out at this step.")
    print(json.dumps(values, indent=2))
    return 0


def predict_inputs(options: argparse.Namespace) -> int:
    from trainers.prediction import predict_file

    predict_file(options.checkpoint, options.inputs, options.output)
    return 0


def export_weights(options: argparse.Namespace) -> int:
    from trainers.prediction import export_network

    export_network(options.checkpoint, options.output)
    return 0


def show_interventions(options: argparse.Namespace) -> int:
    from trainers.interventions.console import show

    return show(
        options.algorithm,
        network=None if options.network is None else read_spec(options.network),
        hyperparameters={} if options.hyperparameters is None else read_spec(options.hyperparameters),
        dataset=options.dataset,
        seed=options.seed,
        as_json=options.json,
    )


def show_recipes(options: argparse.Namespace) -> int:
    from trainers.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:40} {recipe.title} [{', '.join(recipe.quick.arms)}; ≈ {recipe.quick.cpu_minutes:g} CPU minutes]")
    return 0


def serve_jobs(options: argparse.Namespace) -> int:
    from trainers.serve import main as serve

    return serve()


def read_spec(source: str) -> dict[str, Any]:
    """The JSON object of a file, of standard input, or of the argument itself. Raises SpecError."""
    if source == "-":
        text = sys.stdin.read()
    elif source.lstrip().startswith("{"):
        text = source
    else:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(
                "#", f"Cannot read the spec {source}: {getattr(error, 'strerror', None) or error}."
            ) from None
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise SpecError("#", f"The spec is not valid JSON: {error}.") from None
    if not isinstance(data, dict):
        raise SpecError("#", "A spec is a JSON object.", got=data)
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} appears twice")
    return found


if __name__ == "__main__":
    sys.exit(main())

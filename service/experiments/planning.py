"""A request as the jobs that it asks for, each spec resolved; or every wrong part of it, together.

Arms differ in nothing but the algorithm and its hyperparameters: of one workload and seed all jobs have the same
network, budget and seed, from which initial weights, split and order of batches follow. (The registry, and with it
torch, is loaded when the first request is resolved, not when this module is imported.)
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.comparison.protocol import REFERENCE
from service.experiments.drafts import Draft, drafts_of, place_in_request
from service.experiments.request import ExperimentRequest
from service.experiments.request_checks import check_whole, too_many
from service.experiments.rules import MOST_JOBS
from service.experiments.trials import Trial, check_trials, trials_of
from service.experiments.workloads import network_labels
from trainers.errors import FieldError, SpecError
from trainers.spec import Training, TrainingSpec, parse_model

TITLES = {"layer_parallel": "layer_after_layer"}
"""The one declared property that is an ability, as the need that it does without."""

SCORED_BY_ACCURACY = ("classification", "sequence_classification")


@dataclass(slots=True)
class Cell:
    """One arm on one workload: the spec that all its jobs share but for the seed (here 0)."""

    arm: str
    workload: int
    spec: TrainingSpec
    seeds: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an experiment trains and what is fixed beforehand. Workloads and cells in the order of the request."""

    request: ExperimentRequest
    cells: tuple[Cell, ...]
    trials: tuple[Trial, ...]
    workloads: tuple[dict[str, Any], ...]
    properties: dict[str, dict[str, dict[str, Any]]]

    @property
    def arms(self) -> dict[str, str]:
        """Name → algorithm, in order."""
        return {cell.arm: cell.spec.algorithm for cell in self.cells}

    def seeds(self) -> list[int]:
        """Of the comparison, in the order in which they are trained."""
        return list(dict.fromkeys(seed for cell in self.cells for seed in cell.seeds))

    def comparison(self) -> Iterator[tuple[Cell, int]]:
        """Every cell with each of its seeds; seed by seed, so that early results already compare."""
        for seed in self.seeds():
            for cell in self.cells:
                if seed in cell.seeds:
                    yield cell, seed

    @property
    def jobs(self) -> int:
        """As far as it is certain: tuning and comparison, without adaptive seeds."""
        return size(self.request, len(self.trials), sum(len(cell.seeds) for cell in self.cells))

    @property
    def most_jobs(self) -> int:
        """With all the seeds that the adaptive rule may add."""
        return self.jobs + added_at_most(self.request, len(self.cells), len(self.seeds()))


def plan(data: Mapping[str, Any]) -> Plan:
    """The plan that a decoded body asks for. Raises SpecError that names every wrong field."""
    request = parse_model(ExperimentRequest, data)
    problems = list(check_whole(request))
    drafts = drafts_of(request)  # None where there would be far too many
    if drafts is None or sum(1 for _ in drafts) > MOST_JOBS:
        raise SpecError.of([*problems, too_many(request)])
    found = _resolve(request, drafts, problems)
    problems += check_trials(request, found.cells)
    problems += _check_size(request, found.cells)
    if problems:
        raise SpecError.of(_distinct(problems))
    planned = Plan(
        request=request,
        cells=tuple(found.cells),
        trials=tuple(trials_of(request, found.cells, problems)),
        workloads=tuple(_workloads(found.workloads)),
        properties=found.properties,
    )
    if problems:
        raise SpecError.of(_distinct(problems))
    return planned


def size(request: ExperimentRequest, trials: int, comparison: int) -> int:
    """Jobs of so many trials and so many of the comparison, which is trained twice where there was a search."""
    if request.tune is None:
        return comparison
    return trials * len(request.tune.seed_list()) + 2 * comparison


def added_at_most(request: ExperimentRequest, cells: int, seeds: int) -> int:
    """Jobs that the adaptive rule may add."""
    rule = request.adaptive_seeds
    return 0 if rule is None else max(0, rule.most - seeds) * cells * (1 if request.tune is None else 2)


def with_seed(spec: TrainingSpec, seed: int, *, interventions: bool = False) -> TrainingSpec:
    """The same but for the seed. With `interventions`, the result carries the tests of the declared properties."""
    changes = {"seed": seed, "interventions": interventions or spec.training.interventions}
    return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})


# Resolving -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    cells: list[Cell] = field(default_factory=list)
    workloads: dict[str, Any] = field(default_factory=dict)  # key → a resolved spec's parts, in order of appearance
    properties: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


def _resolve(request: ExperimentRequest, drafts: Sequence[Draft], problems: list[FieldError]) -> _Found:
    from trainers.resolve import resolve_parts

    found = _Found()
    resolved: dict[str, Any] = {}  # by spec: a list names the same one with many seeds
    cells: dict[tuple[str, str], Cell] = {}
    first: dict[tuple[str, str], Draft] = {}
    for draft in drafts:
        written = draft.spec.model_dump_json()
        try:
            parts = resolved[written] if written in resolved else resolve_parts(draft.spec)
        except SpecError as error:
            problems += [place_in_request(each, draft) for each in error.errors]
            continue
        resolved[written] = parts
        if parts.task.kind not in SCORED_BY_ACCURACY:
            problems.append(_no_classes(draft, parts.task.kind))
        key = workload_key(parts.spec)
        found.workloads.setdefault(key, parts)
        place = (draft.arm, key)
        if place not in cells:
            workload = list(found.workloads).index(key)
            cells[place], first[place] = Cell(draft.arm, workload, parts.spec), draft
        problems += _against_first(draft, first[place], parts.spec, cells[place])
        cells[place].seeds += draft.seeds
        _declare(draft.arm, parts, found.properties)
    found.cells = list(cells.values())
    problems += _same_budget(first, cells)
    if not problems:
        problems += _reference_everywhere(found, first)
    return found


def workload_key(spec: TrainingSpec) -> str:
    """Equal for equal workloads, of resolved specs."""
    return json.dumps([spec.dataset, spec.dataset_options, spec.network], sort_keys=True)


def _against_first(draft: Draft, first: Draft, spec: TrainingSpec, cell: Cell) -> Iterator[FieldError]:
    """What is wrong with a job of an arm and workload that another one has named before."""
    if draft is first:
        return
    if draft.at.get("network") != first.at.get("network") and "" not in draft.at:
        where = first.at["network"]
        yield FieldError(
            draft.at["network"], f"This is the same network as {where}; each must stand there once.", draft.spec.network
        )
        return
    if spec.algorithm != cell.spec.algorithm:
        return  # said already, at its arm
    if spec.hyperparameters != cell.spec.hyperparameters:
        yield FieldError(
            f"{draft.at['']}/hyperparameters",
            f"Arm {draft.arm!r} has other hyperparameters on this data set and network in {first.at['']}. "
            "Name it otherwise.",
            draft.spec.hyperparameters,
        )
    for seed in draft.seeds:
        if seed in cell.seeds:
            yield FieldError(
                f"{draft.at['']}/seed", f"Arm {draft.arm!r} has seed {seed} on this data set and network already.", seed
            )


def _same_budget(first: Mapping[tuple[str, str], Draft], cells: Mapping[tuple[str, str], Cell]) -> Iterator[FieldError]:
    """Runs are paired by seed, so all arms of a workload have the same budget and batches (rule 2)."""
    leading: dict[str, tuple[str, str]] = {}
    for place, cell in cells.items():
        lead = leading.setdefault(place[1], place)
        if _budget(cell.spec) != _budget(cells[lead].spec):
            here, there = first[place].at.get("", "#"), first[lead].at.get("", "#")
            yield FieldError(
                f"{here}/training",
                f"training differs from that of {there} on the same data set and network. Runs are paired by seed: "
                "all of a workload need the same budget, batch size and device.",
                first[place].spec.training.model_dump(exclude_unset=True, exclude={"seed"}),
            )


def _budget(spec: TrainingSpec) -> Training:
    """What a run may train, and on what; tests of its properties come on top."""
    return spec.training.model_copy(update={"interventions": False})


def _reference_everywhere(found: _Found, first: Mapping[tuple[str, str], Draft]) -> Iterator[FieldError]:
    for (_, key), draft in first.items():
        if (REFERENCE, key) not in first:
            yield FieldError(
                draft.at.get("", "#/algorithms"),
                f"No job of arm {REFERENCE} has this data set and network: every comparison is with it.",
                draft.arm,
            )


def _no_classes(draft: Draft, kind: str) -> FieldError:
    dataset = draft.spec.dataset
    return place_in_request(
        FieldError(
            "#/dataset",
            f"{dataset} is a task of {kind}; experiments compare test accuracies, so they take data sets of "
            f"{' and '.join(SCORED_BY_ACCURACY)}.",
            dataset,
        ),
        draft,
    )


def _check_size(request: ExperimentRequest, cells: Sequence[Cell]) -> Iterator[FieldError]:
    """Before the trials are resolved, which may be many."""
    trials = request.tune.trials * len(cells) if request.tune is not None else 0
    seeds = {seed for cell in cells for seed in cell.seeds}
    most = size(request, trials, sum(len(cell.seeds) for cell in cells)) + added_at_most(
        request, len(cells), len(seeds)
    )
    if most > MOST_JOBS:
        yield too_many(request, most)
    elif request.budget is not None and request.budget.jobs is not None and most > request.budget.jobs:
        yield FieldError(
            "#/budget/jobs",
            f"This experiment can make {most} jobs; its budget allows {request.budget.jobs}. Take fewer seeds, trials "
            "or arms, or allow more.",
            request.budget.jobs,
        )


def _distinct(problems: list[FieldError]) -> Iterator[FieldError]:
    """Each once: the same wrong network is found with every algorithm."""
    seen: set[tuple[str, str]] = set()
    for each in problems:
        if (each.pointer, each.detail) not in seen:
            seen.add((each.pointer, each.detail))
            yield each


def _workloads(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    labels: dict[str, str] = {}
    for dataset in dict.fromkeys(parts.spec.dataset for parts in found.values()):
        mine = {key: parts for key, parts in found.items() if parts.spec.dataset == dataset}
        told = [{**parts.spec.network, **parts.spec.dataset_options} for parts in mine.values()]
        labels |= dict(zip(mine, network_labels(told), strict=True))
    for key, parts in found.items():
        yield {
            "dataset": parts.spec.dataset,
            "network": parts.spec.network,
            "label": labels[key],
            "chance": 1 / parts.task.outputs,
        }


def _declare(arm: str, parts: Any, properties: dict[str, dict[str, dict[str, Any]]]) -> None:
    """What an arm says it needs; needed on one of its networks is needed."""
    found = properties.setdefault(arm, {})
    declared = parts.algorithm.properties(parts.hyperparameters, parts.network_options)
    for question, answer in declared.questions().items():
        title = TITLES.get(question, question)
        needed = answer.answer != ("yes" if question in TITLES else "no")
        if title not in found or (needed and not found[title]["needed"]):
            found[title] = {"needed": needed, "reason": answer.reason}

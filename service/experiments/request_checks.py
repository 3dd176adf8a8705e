"""What can be wrong with a request as a whole, before any of its jobs is looked at."""

from collections.abc import Iterator, Mapping

from service.comparison.protocol import REFERENCE
from service.experiments.arms import ALWAYS_THERE, arms_of, listed_arms
from service.experiments.request import MATRIX_KEYS, ExperimentRequest
from service.experiments.rules import MOST_JOBS
from trainers.errors import FieldError
from trainers.spec import did_you_mean


def check_whole(request: ExperimentRequest) -> Iterator[FieldError]:
    """Every wrong part that concerns more than one job."""
    if request.jobs is None:
        yield from _check_matrix(request)
    else:
        yield from _check_list(request)
    yield from _check_rules(request)


def too_many(request: ExperimentRequest, jobs: int | None = None) -> FieldError:
    """At what is easiest to make smaller. `jobs`: where the rules add to the matrix."""
    if jobs is not None:
        pointer = "#/tune/trials" if request.tune is not None else "#/adaptive_seeds/most"
        if request.tune is None and request.adaptive_seeds is None:
            pointer = "#/seeds" if request.jobs is None else "#/jobs"
        return FieldError(
            pointer,
            f"With all that its rules may add, this experiment can make {jobs:,} jobs; it may make {MOST_JOBS:,} at "
            "most. Take fewer trials, seeds or arms, or several experiments.",
            jobs,
        )
    arms = sum(arms_of(request, algorithm) for algorithm in request.algorithms or [])
    shape = (arms, len(request.datasets or []), len(request.network_list()), len(request.seed_list()))
    factors = " x ".join(map(str, shape))
    total = shape[0] * shape[1] * shape[2] * shape[3]
    return FieldError(
        "#/seeds",
        f"{factors} (arms, data sets, networks, seeds) are {total:,} jobs; an experiment has at most "
        f"{MOST_JOBS:,}. Take fewer seeds, or several experiments.",
        request.seeds,
    )


def _check_matrix(request: ExperimentRequest) -> Iterator[FieldError]:
    for key in ("algorithms", "datasets"):
        if getattr(request, key) is None:
            yield FieldError(f"#/{key}", f"{key} is required, unless jobs lists every job.", None)
    if request.network is not None and request.networks is not None:
        yield FieldError("#/networks", "Give network or networks, not both.", request.networks)
    if request.algorithms is not None:
        if REFERENCE not in request.algorithms:
            yield FieldError(
                "#/algorithms",
                f"{REFERENCE} must be among the algorithms: every comparison is with it.",
                request.algorithms,
            )
        for key in ("hyperparameters", "hyperparameter_values"):
            yield from unknown_algorithms(f"#/{key}", getattr(request, key), request.algorithms)
    for dataset, options in request.dataset_options.items():
        if request.datasets is not None and dataset not in request.datasets:
            yield FieldError(
                f"#/dataset_options/{dataset}",
                f"dataset_options.{dataset}: there is no such data set in this experiment."
                f"{did_you_mean(dataset, request.datasets)}",
                options,
                tuple(request.datasets),
            )
    for algorithm, axes in request.hyperparameter_values.items():
        for name in axes:
            if name in request.hyperparameters.get(algorithm, {}):
                yield FieldError(
                    f"#/hyperparameter_values/{algorithm}/{name}",
                    f"{name} has one value in hyperparameters.{algorithm} and several here; leave one of the two out.",
                    axes[name],
                )
    if request.training.seed is not None:
        yield _seed_in_training(
            "#/training/seed", "every arm is trained once with each of seeds", request.training.seed
        )


def _check_list(request: ExperimentRequest) -> Iterator[FieldError]:
    jobs = request.jobs or []
    for key in MATRIX_KEYS:
        if key in request.model_fields_set and getattr(request, key) is not None:
            yield FieldError(f"#/{key}", f"{key} belongs to a matrix; a list of jobs says it for each job.", None)
    arms = listed_arms(jobs)
    algorithms: dict[str, str] = {}
    for place, (job, arm) in enumerate(zip(jobs, arms, strict=True)):
        if job.training.seed is not None:
            yield _seed_in_training(
                f"#/jobs/{place}/training/seed", "a listed job has its seed beside", job.training.seed
            )
        if arm in ALWAYS_THERE and job.algorithm != arm:
            yield FieldError(
                f"#/jobs/{place}/arm",
                f"The arm {arm!r} is the algorithm of that name; call this one, of {job.algorithm}, otherwise.",
                job.arm,
            )
        elif algorithms.setdefault(arm, job.algorithm) != job.algorithm:
            yield FieldError(
                f"#/jobs/{place}/arm", f"The arm {arm!r} is of {algorithms[arm]} in an earlier job.", job.arm
            )
    if REFERENCE not in arms:
        yield FieldError("#/jobs", f"One arm must be {REFERENCE}: every comparison is with it.", sorted(set(arms)))


def _check_rules(request: ExperimentRequest) -> Iterator[FieldError]:
    seeds = request.seed_list()
    adaptive, tune = request.adaptive_seeds, request.tune
    if adaptive is not None:
        if adaptive.most <= len(seeds):
            yield FieldError(
                "#/adaptive_seeds/most",
                f"adaptive_seeds.most must be more than the {len(seeds)} seeds that the experiment begins with.",
                adaptive.most,
            )
        elif adaptive.least > adaptive.most:
            yield FieldError(
                "#/adaptive_seeds/least",
                f"adaptive_seeds.least must not be above adaptive_seeds.most, {adaptive.most}.",
                adaptive.least,
            )
    stop = request.early_stop
    budgets = [request.training] if request.jobs is None else [job.training for job in request.jobs]
    epochs = max(training.epochs for training in budgets)
    if stop is not None and stop.after_epochs >= epochs:
        yield FieldError(
            "#/early_stop/after_epochs",
            f"early_stop.after_epochs must be less than the {epochs} epochs of training: no run could be stopped.",
            stop.after_epochs,
        )
    if tune is None:
        return
    if request.jobs is not None or request.hyperparameter_values:
        other = "jobs" if request.jobs is not None else "hyperparameter_values"
        yield FieldError(
            "#/tune", f"tune chooses hyperparameters, and {other} says which they are; leave one of the two out.", None
        )
    shared = [seed for seed in tune.seed_list() if seed in seeds]
    if shared:
        yield FieldError(
            "#/tune/seeds",
            f"Trials need seeds of their own: {', '.join(map(str, shared[:5]))} "
            f"{'is one' if len(shared) == 1 else 'are some'} of the comparison.",
            tune.seeds,
        )


def unknown_algorithms(pointer: str, named: Mapping[str, object], algorithms: list[str]) -> Iterator[FieldError]:
    """Names of algorithms that are none of this experiment's."""
    for name, value in named.items():
        if name not in algorithms:
            key = pointer.removeprefix("#/").replace("/", ".")
            yield FieldError(
                f"{pointer}/{name}",
                f"{key}.{name}: there is no such algorithm in this experiment.{did_you_mean(name, algorithms)}",
                value,
                tuple(algorithms),
            )


def _seed_in_training(pointer: str, why: str, seed: int) -> FieldError:
    return FieldError(pointer, f"training.seed must be left out: {why}.", seed)

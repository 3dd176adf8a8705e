"""A few steps of an algorithm on a fresh copy of its network, with or without an intervention, and what they changed.

Each trial builds network and algorithm anew from the spec, on the CPU, and feeds random samples of the task's shape:
nothing of a run is touched, and no data are needed. Two trials that differ in nothing end bit-identical, so whatever
differs is due to the intervention.

A trial is two laps: of each kind of pass three steps, in the order of the run, and then the same once more. So what an
algorithm does from its first step on shows in the first, and what it starts to do after three steps in those that come.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainers.algorithms.base import Algorithm, Batch, Moment
from trainers.assembly import objective_for
from trainers.compute_cost.counting import random_batch
from trainers.device import dtype_of
from trainers.interventions.watches import Watch, noise_like
from trainers.interventions.weight_book import Use
from trainers.networks.activations import ACTIVATIONS
from trainers.networks.base import Network
from trainers.resolve import Resolved
from trainers.streams import StreamBook, generator_for

STEPS = 3
"""Of each pass."""
LAPS = 2
OTHER_SIZE = 1.5
"""Of withheld weights' norm: an update that reads a norm alone must not find it unchanged."""
TIME_STEPS = 6
"""Of a sequence, at most."""
FEWEST_SAMPLES = 11
MOST_LAYERS = 6
"""Of a deep network, spread from bottom to top, are tested one by one."""

Values = dict[str, Tensor]
"""Parameter → its values."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Parameters of the network before the first step, and after each."""

    states: tuple[Values, ...]

    @property
    def steps(self) -> int:
        return len(self.states) - 1

    def moved(self, layer: str, step: int) -> bool:
        """Whether this step (from 0) changed the layer."""
        return differs(self.states[step], self.states[step + 1], layer)


def differs(one: Values, other: Values, layer: str) -> bool:
    """To the bit, in any parameter of the layer."""
    return any(not torch.equal(one[name], other[name]) for name in one if name.startswith(f"{layer}."))


class Trials:
    """Of one resolved spec. `baseline` has no intervention, and its watch has logged all uses of weights."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        network, self.algorithm = fresh(resolved)
        self.layers = tuple(layer.name for layer in network.layers)
        self.moments = tuple(_moments(self.algorithm, resolved.spec.training.epochs))
        self.samples = self._samples(network)
        self.batches = tuple(self._batches())
        self.watch = Watch(self.seed)
        self.uses: list[Use] = []
        self.baseline = self.run(self.watch, after=lambda step: self.uses.extend(self.watch.uses))
        self.moving = tuple(
            layer for layer in self.layers if any(self.baseline.moved(layer, step) for step in range(len(self.moments)))
        )
        learns = any(value.requires_grad for layer in network.layers[:-1] for value in layer.parameters())
        self.never_moving = not learns and not self.moving_hidden
        """Hidden layers have no weight that is to learn, and none did."""

    @property
    def seed(self) -> int:
        return self.resolved.spec.training.seed or 0

    @property
    def hidden(self) -> tuple[str, ...]:
        return self.layers[:-1]

    @property
    def moving_hidden(self) -> tuple[str, ...]:
        return tuple(layer for layer in self.hidden if layer in self.moving)

    @property
    def phases(self) -> tuple[str, ...]:
        """Kinds of passes."""
        return tuple(dict.fromkeys(moment.phase for moment in self.moments))

    @property
    def nothing_moved(self) -> str:
        """Why there is nothing to test."""
        return f"No hidden layer moved in {len(self.moments)} steps, so there was no update to look at."

    def above(self, layer: str) -> tuple[str, ...]:
        return self.layers[self.layers.index(layer) + 1 :]

    def chosen(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """All of a few; of many the first, the last, and some between."""
        if len(layers) <= MOST_LAYERS:
            return layers
        return tuple(layers[round(place * (len(layers) - 1) / (MOST_LAYERS - 1))] for place in range(MOST_LAYERS))

    def decisive_steps(self, layers: tuple[str, ...]) -> tuple[int, ...]:
        """The first and the last step in which any of these layers moved; of all, if none of them ever did."""
        moved = [s for s in range(len(self.moments)) if any(self.baseline.moved(layer, s) for layer in layers)]
        if not moved:
            moved = [s for s in range(len(self.moments)) if any(self.baseline.moved(each, s) for each in self.layers)]
        return tuple(dict.fromkeys((moved[0], moved[-1]))) if moved else ()

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        watch: Watch,
        *,
        active: Callable[[int], bool] = lambda step: False,
        until: int | None = None,
        before: Callable[[int, Network], None] | None = None,
        after: Callable[[int], None] | None = None,
    ) -> Trajectory:
        """All steps up to and with `until`, the intervention in those that are `active`. `before` gets the network
        ahead of each step, outside the watch."""
        network, algorithm = fresh(self.resolved, watch)
        states = [_values(network)]
        last = len(self.moments) - 1 if until is None else until
        for step, moment in enumerate(self.moments[: last + 1]):
            if before is not None:
                before(step, network)
            watch.begin_step()
            watch.active = active(step)
            with watch:
                algorithm.step(self._batch(moment), replace(moment))
            watch.active = False
            states.append(_values(network))
            if after is not None:
                after(step)
        return Trajectory(tuple(states))

    def changed_throughout(self, watch: Watch) -> dict[str, int]:
        """Layer → the first step (from 0) whose update was another, with the intervention in all steps."""
        return self._first_changes(self.run(watch, active=lambda step: True))

    def changed_at_once(
        self,
        make: Callable[[], Watch],
        layers: tuple[str, ...],
        *,
        begins: Callable[[int], int] = lambda step: step,
        before: Callable[[int, Network], None] | None = None,
    ) -> set[str]:
        """Layers whose update was another in a step that alone had the intervention: the first, and the last in which
        any of them moves. With `begins`, the intervention begins with an earlier step."""
        found = set()
        for at in self.decisive_steps(layers):
            since = begins(at)

            def prepare(step: int, network: Network, since: int = since) -> None:
                if before is not None and step == since:
                    before(step, network)

            active = range(since, at + 1)
            ended = self.run(make(), active=active.__contains__, until=at, before=prepare)
            found |= {layer for layer in layers if differs(ended.states[-1], self.baseline.states[at + 1], layer)}
        return found

    def changed_without(
        self, layer: str, withheld: tuple[str, ...], make: Callable[[], Watch], begins: Callable[[int], int]
    ) -> bool:
        """Whether the layer's update is another when other layers are withheld: their weights are noise, and all that
        is computed with them, or with older copies of them, is."""

        def swap(step: int, network: Network) -> None:
            generator = generator_for(self.seed, f"interventions/withheld/{layer}/{step}")
            with torch.no_grad():
                for name, value in network.named_parameters():
                    if self.watch.book.layer_of[name] in withheld:
                        value.copy_(OTHER_SIZE * noise_like(value, generator))

        return bool(self.changed_at_once(make, (layer,), begins=begins, before=swap))

    def opening(self, step: int) -> int:
        """The first step of the lap that this one belongs to."""
        lap = len(self.moments) // LAPS
        return step // lap * lap

    def _first_changes(self, ended: Trajectory) -> dict[str, int]:
        found: dict[str, int] = {}
        for step in range(len(self.moments)):
            for layer in self.layers:
                if layer not in found and differs(ended.states[step + 1], self.baseline.states[step + 1], layer):
                    found[layer] = step
        return found

    # -- building -----------------------------------------------------------------------------------------------------

    def _samples(self, network: Network) -> int:
        """A batch size that is no dimension of any weight, so that a sum over samples is known by its length."""
        sizes = {size for value in network.parameters() for size in value.shape}
        sizes |= {size for layer in network.layers for size in (*layer.in_shape, *layer.out_shape)}
        return next(
            size
            for size in range(FEWEST_SAMPLES, FEWEST_SAMPLES + 2 * len(sizes) + 2)
            if size not in sizes and size * self.time_steps not in sizes
        )

    @property
    def sample_sizes(self) -> frozenset[int]:
        """Lengths of sums over samples, in sequences over time steps as well."""
        return frozenset({self.samples, self.samples * self.time_steps})

    @property
    def time_steps(self) -> int:
        task = self.resolved.task
        if task.kind in ("classification", "regression"):
            return 1
        return min(task.time_steps or TIME_STEPS, TIME_STEPS)

    def _batches(self) -> Iterator[Batch]:
        dtype = dtype_of(self.resolved.spec.training.precision)
        whole = random_batch(self.resolved.task, STEPS * self.samples, self.time_steps, dtype)
        for step in range(STEPS):
            rows = slice(step * self.samples, (step + 1) * self.samples)
            yield Batch(
                whole.inputs[rows],
                whole.targets[rows],
                torch.arange(STEPS * self.samples)[rows],
                starts=step == 0,
            )

    def _batch(self, moment: Moment) -> Batch:
        """Copies: an algorithm may keep or alter what it gets."""
        batch = self.batches[moment.step]
        return replace(batch, inputs=batch.inputs.clone(), targets=batch.targets.clone())


def fresh(resolved: Resolved, watch: Watch | None = None) -> tuple[Network, Algorithm]:
    """Network and algorithm as a run begins with them, on the CPU, the watch looking on from before the set-up."""
    streams = StreamBook(resolved.spec.training.seed or 0, "cpu")
    network: Network = resolved.network.build(resolved.network_options, resolved.task, streams)
    network.to(torch.device("cpu"), dtype_of(resolved.spec.training.precision))
    algorithm: Algorithm = resolved.algorithm()
    with nullcontext() if watch is None else watch.attach(network):
        algorithm.setup(network, objective_for(resolved), resolved.hyperparameters, streams)
    return network, algorithm


def _moments(algorithm: Algorithm, epochs: int) -> Iterator[Moment]:
    """Two laps of STEPS steps of each kind of pass, in the first two epochs that have it."""
    homes: dict[str, list[int]] = {}
    for epoch in range(min(epochs, 1000)):
        for phase in dict.fromkeys(algorithm.phases(epoch, epochs)):
            homes.setdefault(phase, []).append(epoch)
    for lap in range(LAPS):
        for phase, found in homes.items():
            epoch = found[min(lap, len(found) - 1)]
            for step in range(STEPS):
                yield Moment(epoch, phase, step, STEPS, progress=epoch / epochs)


def _values(network: Network) -> Values:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


@contextmanager
def zero_derivatives() -> Iterator[None]:
    """Within the block, networks are built with nonlinearities whose written-out derivative is 0."""
    before = dict(ACTIVATIONS)
    try:
        for name, activation in before.items():
            if name != "identity":
                ACTIVATIONS[name] = replace(activation, derivative=lambda a, h: torch.zeros_like(a))
        yield
    finally:
        ACTIVATIONS.update(before)

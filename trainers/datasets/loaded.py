"""What the training loop drives: batches that lie on the device, for training by position and for evaluation whole.

Order, crops and flips are functions of (seed, epoch, step). So two passes of one epoch see the same batches, two
algorithms with one seed see the same data, and a run goes on exactly from any step.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from trainers.algorithms.base import Batch, StepReport
from trainers.datasets.declaration import Split, Task
from trainers.datasets.files import Fingerprint
from trainers.errors import SpecError


class Data(Protocol):
    """The data of one run.

    Batches reuse their buffers: a batch is valid until the next one is drawn from the same kind of iterator (training
    or evaluation; the two never share). Nothing here waits for the device, except where a class says so.
    """

    steps_per_pass: int
    batch_size: int

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The training batches of an epoch, from step `first` on."""
        ...

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        """All samples of a split, each once, in fixed order, never augmented."""
        ...

    def observe(self, report: StepReport) -> None:
        """Look at what the last batch's step reported: a curriculum does, most data do not."""
        ...

    def measurements(self) -> dict[str, float]:
        """How far a curriculum is; mostly nothing."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What is not a function of (seed, epoch, step): a stream's place and curriculum, mostly nothing."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def stream_steps(name: str, steps_per_epoch: int | None) -> int:
    """Batches in a pass over an endless stream. Raises SpecError when nobody has said how many."""
    if steps_per_epoch is None:
        raise SpecError(
            "#/training/steps_per_epoch",
            f"{name} is an endless stream: say how many batches an epoch has in training.steps_per_epoch.",
        )
    return steps_per_epoch


class StatelessData:
    """Base of data whose batches follow from (seed, epoch, step) alone."""

    def observe(self, report: StepReport) -> None:
        pass

    def measurements(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class LoadedDataset(ABC):
    """A data set in memory, on the device, checked."""

    name: str
    task: Task
    fingerprint: Fingerprint
    seed: int

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Samples (characters for text) by split; {} for endless streams."""

    @abstractmethod
    def data(self, *, batch_size: int, steps_per_epoch: int | None = None, evaluation_batch_size: int = 1000) -> Data:
        """The data of one run. steps_per_epoch is for endless streams; the others' epochs have a length of their own.

        Raises SpecError when there are too few data for the batch size.
        """

    @property
    def sha256(self) -> str:
        return self.fingerprint.sha256

    @property
    def official(self) -> bool:
        return self.fingerprint.official

    @property
    def sentence(self) -> str | None:
        """Says so when the bytes are not the official ones."""
        return self.fingerprint.sentence

    def describe(self) -> dict[str, Any]:
        """JSON-ready, for the run's record."""
        return {"name": self.name, **asdict(self.fingerprint), "sizes": dict(self.sizes)}

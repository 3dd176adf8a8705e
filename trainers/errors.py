"""What can go wrong, typed: a code for programs, a sentence for people, and for a bad spec the field itself.

Torch-free: the API, the supervisor and the trainer process share these.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a spec: where (RFC 6901 pointer as a URI fragment), what came, what is allowed."""

    pointer: str
    detail: str
    got: Any = None
    allowed: tuple[Any, ...] | None = None


class TrainerError(Exception):
    """Base of every error that a run or a spec can end with; `code` is stable, the text is for people."""

    code = "trainer_error"

    @property
    def sentence(self) -> str:
        return str(self)


class SpecError(TrainerError):
    """A spec that cannot be trained; `errors` names each field."""

    code = "invalid_spec"

    def __init__(self, pointer: str, detail: str, *, got: Any = None, allowed: Iterable[Any] | None = None) -> None:
        self.errors: tuple[FieldError, ...] = (
            FieldError(pointer, detail, got, tuple(allowed) if allowed is not None else None),
        )
        super().__init__(detail)

    @classmethod
    def of(cls, errors: Iterable[FieldError]) -> Self:
        """One error that carries several fields; its text joins their sentences."""
        fields = tuple(errors)
        error = cls(fields[0].pointer, " ".join(field.detail for field in fields))
        error.errors = fields
        return error


class UnsupportedNetwork(SpecError):
    """The algorithm cannot train this network; the text says what it needs."""

    code = "unsupported_network"


class DatasetUnavailable(TrainerError):
    """The data set's files are missing and could not be fetched, or are not what they should be."""

    code = "dataset_unavailable"


class CheckpointError(TrainerError):
    """A checkpoint that cannot be read, or belongs to another spec."""

    code = "checkpoint_unusable"


class Diverged(TrainerError):
    """A value stopped being finite."""

    code = "diverged"

    def __init__(self, *, step: int, layer: str | None, quantity: str) -> None:
        self.step, self.layer, self.quantity = step, layer, quantity
        where = f"the {quantity} of {layer}" if layer else f"the {quantity}"
        super().__init__(
            f"The run diverged: {where} stopped being finite at step {step}. "
            "A lower learning rate or gradient clipping usually cures it."
        )


class OutOfMemory(TrainerError):
    """The device (or the estimate made beforehand) says that the run does not fit."""

    code = "out_of_memory"

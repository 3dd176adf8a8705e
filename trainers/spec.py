"""`TrainingSpec`: what to train, on what, with what, for how long. The contract between API, worker and trainer.

Torch-free. A spec may leave nearly everything open (`{"algorithm": "backprop", "dataset": "mnist"}` is whole);
`trainers.resolve` fills every default in and checks the parts against each other.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trainers.errors import FieldError, SpecError

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.\-]+$")]
Metric = Literal["validation_accuracy", "validation_loss", "train_accuracy", "train_loss"]


class StrictModel(BaseModel):
    """No unknown keys, no `true` for 1, no "5" for 5, no NaN or Infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Training(StrictModel):
    """Budget, seed and machine of a run."""

    epochs: int = Field(default=10, ge=1, le=100_000, description="epochs to train; each may take several passes")
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    seed: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="drawn and recorded when left out; fixes weights, order, noise"
    )
    target_metric: Metric = "validation_accuracy"
    target_value: float | None = Field(default=None, description="stop early once target_metric reaches it")
    patience: int | None = Field(
        default=None, ge=1, description="stop early after this many epochs without a better target_metric"
    )
    checkpoint_every_epochs: int = Field(default=1, ge=1)
    evaluate_every_steps: int | None = Field(
        default=None, ge=1, description="evaluate on the validation split also within an epoch"
    )
    evaluate_first_steps: int | None = Field(
        default=None, ge=1, description="evaluate_every_steps holds only up to this step; None: for the whole run"
    )
    diagnose_every_steps: int | None = Field(default=100, ge=1, description="health of signals; null turns it off")
    steps_per_epoch: int | None = Field(default=None, ge=1, description="length of an epoch of an endless stream")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, le=1024, description="CPU threads; resolved at the first claim")
    processes: int = Field(
        default=1, ge=1, le=64, description="that the layers are shared out to, each with its share of the threads"
    )
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = "float32"
    deterministic: bool = True
    interventions: bool = Field(
        default=False, description="the result carries tests of what the algorithm declares to need; changes no weight"
    )


class TrainingSpec(StrictModel):
    """One training run, as posted, as stored, as returned."""

    algorithm: Name
    dataset: Name
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    dataset_options: dict[str, JsonValue] = Field(default_factory=dict)
    network: dict[str, JsonValue] = Field(
        default_factory=dict, description='{"kind": "mlp", …}; left out: the data set\'s usual network'
    )
    training: Training = Field(default_factory=Training)


def parse_spec(data: Any) -> TrainingSpec:
    """The spec in a decoded JSON object. Raises SpecError that names every wrong field."""
    return parse_model(TrainingSpec, data)


M = TypeVar("M", bound=BaseModel)


def parse_model(model: type[M], data: Any, *, at: str = "#") -> M:
    """Decoded JSON `data` as a `model`, every wrong field named by its pointer below `at`. Raises SpecError."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError.of(field_errors(model, error, at=at)) from None


def field_errors(model: type[BaseModel], error: ValidationError, *, at: str = "#") -> list[FieldError]:
    """Pydantic's findings as FieldErrors: pointer, what came, what is allowed, and a guess at what was meant."""
    found = [{**each, "loc": _without_tags(model, each["loc"])} for each in error.errors(include_url=False)]
    return [_field_error(model, each, at) for each in _closest(found)]


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """A closing sentence such as ` Did you mean 'mnist'?`, or nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def pointer_to(location: Sequence[str | int], *, at: str = "#") -> str:
    """RFC 6901 pointer, in URI fragment form."""
    return at + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _without_tags(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str | int, ...]:
    """The location without the names that pydantic puts in for the member of a union that it tried."""
    kept: list[str | int] = []
    for part in location:
        field = _model_at(model, kept[:-1]).model_fields.get(str(kept[-1])) if kept else None
        members = [each for each in get_args(field.annotation) if each is not type(None)] if field else []
        is_tag = isinstance(part, str) and len(members) > 1 and get_origin(field and field.annotation) is not Literal
        if not is_tag:
            kept.append(part)
    return tuple(kept)


def _closest(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One finding a place; where a union's members disagree, those that came furthest into what was posted."""
    locations = [each["loc"] for each in found]
    deepest = [
        each
        for each in found
        if not any(len(l) > len(each["loc"]) and l[: len(each["loc"])] == each["loc"] for l in locations)
    ]
    # Of two at one place the one with a list of values says more.
    deepest.sort(key=lambda each: each["type"] != "literal_error")
    first: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for each in deepest:
        first.setdefault(each["loc"], each)
    return sorted(first.values(), key=lambda each: locations.index(each["loc"]))


def _field_error(model: type[BaseModel], found: Any, at: str) -> FieldError:
    location, got = found["loc"], found["input"]
    pointer = pointer_to(location, at=at)
    name = ".".join(str(part) for part in location) or "the body"
    if found["type"] == "extra_forbidden":
        known = sorted(_model_at(model, location[:-1]).model_fields)
        hint = did_you_mean(location[-1], known)
        if len(location) == 1 and str(location[0]) in Training.model_fields:
            hint = f' It belongs in training: {{"training": {{"{location[0]}": …}}}}.'
        return FieldError(
            pointer, f"{name} is not a known key.{hint} Known here: {', '.join(known)}.", got, tuple(known)
        )
    if found["type"] == "missing":
        return FieldError(pointer, f"{name} is required.", None)
    if found["type"] == "literal_error":
        allowed = _literals(model, location)
        hint = did_you_mean(got, [str(value) for value in allowed])
        wanted = ", ".join(map(str, allowed)) or found["ctx"]["expected"]
        return FieldError(pointer, f"{name} must be one of: {wanted}; got {shown(got)}.{hint}", got, tuple(allowed))
    message = found["msg"].removeprefix("Value error, ")
    return FieldError(pointer, f"{name}: {message[:1].lower()}{message[1:]}; got {shown(got)}.", got)


def shown(value: Any) -> str:
    """A value as people see it in a sentence, cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _model_at(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return model


def _literals(model: type[BaseModel], location: Sequence[str | int]) -> list[Any]:
    named = [part for part in location if isinstance(part, str)]
    field = _model_at(model, named[:-1]).model_fields.get(named[-1]) if named else None
    return _values_of(field.annotation) if field is not None else []


def _values_of(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for argument in get_args(annotation) for value in _values_of(argument)]

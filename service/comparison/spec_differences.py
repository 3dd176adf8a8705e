"""What differs between specs, by JSON pointer (RFC 6901): the part of a comparison that explains the rest."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One place at which not all specs are the same. `values` by the spec's name; one without such a place is left
    out.
    """

    pointer: str
    values: dict[str, Any] = field(default_factory=dict)


def spec_differences(specs: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Only what differs, in the order in which the specs have it. Lists are compared whole: a network's widths are one
    thing. Types count: 1, 1.0 and true are three values.
    """
    places: dict[str, Difference] = {}
    for name, spec in specs.items():
        for pointer, value in leaves(spec):
            places.setdefault(pointer, Difference(pointer)).values[name] = value
    return [place for place in places.values() if len(place.values) < len(specs) or _differ(place.values)]


def leaves(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no object, by its pointer."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    else:
        yield pointer, value


def _differ(values: Mapping[str, Any]) -> bool:
    return len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1

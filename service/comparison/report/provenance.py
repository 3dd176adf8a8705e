"""Where an experiment comes from, as tables: whatever keys its provenance has, by the shape of their values."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.comparison.experiment_json import plain
from service.comparison.report.tables import Table
from service.comparison.runs import Experiment
from service.comparison.spec_differences import leaves, spec_differences


def provenance_tables(experiment: Experiment) -> list[Table]:
    """Single values first, all in one table; then one table a key."""
    items: dict[str, Any] = plain(experiment.provenance)
    single = {key: value for key, value in items.items() if not isinstance(value, (dict, list))}
    tables = [_pairs("provenance", single)]
    for key, value in items.items():
        match value:
            case dict():
                tables.append(_pairs(key, value))
            case list() if all(isinstance(each, dict) for each in value):
                tables += _objects(key, value)
            case list():
                tables.append(_pairs(key, {str(place): each for place, each in enumerate(value, 1)}))
    return [table for table in tables if table.rows]


def _pairs(key: str, values: Mapping[str, Any]) -> Table:
    is_nested = any(isinstance(value, dict) for value in values.values())
    rows = _places(values) if is_nested else values.items()
    return _table(key, ("what", "value"), [(name, _text(value)) for name, value in rows])


def _objects(key: str, objects: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A column an object, since they have many keys and are few. Where these hold more objects, as specs do: what they
    have in common once, and of each only what differs.
    """
    named = {str(place): each for place, each in enumerate(objects, 1)}
    names = list(dict.fromkeys(name for each in objects for name in each))
    if not any(isinstance(value, dict) for each in objects for value in each.values()):
        rows = [(name, *(_text(each.get(name)) for each in objects)) for name in names]
        return [_table(key, ("what", *named), rows)]
    differing = spec_differences(named)
    apart = {difference.pointer for difference in differing}
    common = [(name, _text(value)) for name, value in _places(objects[0]) if f"/{name}" not in apart]
    rows = [
        (
            place,
            "; ".join(f"{each.pointer[1:]} {_text(each.values[place])}" for each in differing if place in each.values),
        )
        for place in named
    ]
    return [_table(f"{key}_alike", ("in all of them", "value"), common), _table(key, ("", "what differs"), rows)]


def _places(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """training/epochs and so on; without the pointer's first slash, by which it would look like an address."""
    return ((pointer[1:], value) for pointer, value in leaves(values))


def _table(key: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    title = key.replace("_", " ")
    return Table(f"provenance-{key.replace('_', '-')}", f"{title[:1].upper()}{title[1:]}", header, tuple(rows))


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case list() if len(value) > 3 and _follow_each_other(value):
            return f"{value[0]} to {value[-1]}"
        case list():
            return ", ".join(_text(each) for each in value) if value else "none"
    return str(value)


def _follow_each_other(values: Sequence[Any]) -> bool:
    return all(type(value) is int and value == values[0] + place for place, value in enumerate(values))

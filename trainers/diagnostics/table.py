"""The rows of a diagnosed step as a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

COLUMNS = (
    ("signal", "signal_norm", "{:.2e}"),
    ("update/weight", "update_ratio", "{:.1e}"),
    ("dead", "dead_share", "{:.0%}"),
    ("saturated", "saturated_share", "{:.0%}"),
    ("mean", "activation_mean", "{:+.2f}"),
    ("std", "activation_std", "{:.2f}"),
)
BLANK = "–"


def format_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """For a rich console, top layer first as the signal travels; cosines to backprop only where they were measured."""
    angles = any(row.get("angle_cosine") is not None for row in rows)
    table = Table("layer", box=None, pad_edge=False, header_style="bold")
    for title, _, _ in COLUMNS:
        table.add_column(title, justify="right")
    if angles:
        table.add_column("cosine", justify="right")
        table.add_column("random", justify="right")
        table.caption = "cosine: of the layer's direction to backprop's; random: what a random signal scores"
        table.caption_justify = "left"
    for row in reversed(rows):
        cells = [_shown(row.get(name), form) for _, name, form in COLUMNS]
        if angles:
            cells += [_shown(row.get("angle_cosine"), "{:+.3f}"), _shown(row.get("angle_null"), "{:.3f}")]
        table.add_row(str(row["layer"]), *cells)
    return table


def _shown(value: float | None, form: str) -> str:
    return BLANK if value is None else form.format(value)

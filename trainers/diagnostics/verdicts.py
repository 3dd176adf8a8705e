"""What the rows of a diagnosed step say, in words."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Code = Literal["vanishing", "exploding", "dead", "saturated", "healthy"]
Rows = Sequence[Mapping[str, Any]]

ORDERS = 3.0
"""Powers of ten between two layers' signals beyond which one of them hardly trains."""
SHARE = 0.5
"""Of a layer's units, dead or saturated, from which on the layer is said to be so."""
LARGEST_UPDATE = 1.0
"""A step that changes weights by more than their own norm has left them behind."""

CURES = {
    "vanishing": "ReLU with Kaiming initialization, batch norm, or a residual network usually cures it.",
    "exploding": "Gradient clipping, a lower learning rate, or smaller initial weights usually cure it.",
    "dead": "A lower learning rate, leaky_relu, or batch norm usually cures it.",
    "saturated": "Smaller initial weights, a lower learning rate, or batch norm usually cure it.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that the rows say."""

    code: Code
    sentence: str


def verdicts(rows: Rows, *, dead: Mapping[str, float] | None = None) -> list[Verdict]:
    """What is wrong, worst first; one "healthy" if nothing is; none where a step had no signals to judge.

    dead: layer → share of dead units on the whole evaluation set, where that was looked at.
    """
    found = [*_exploding(rows), *_vanishing(rows), *_dead(rows, dead), *_saturated(rows)]
    if found:
        return found
    signals = [row["signal_norm"] for row in rows if row.get("signal_norm") is not None]
    if not signals:
        return []
    if len(signals) < 3:
        return [Verdict("healthy", "healthy: no layer is dead or saturated")]
    return [Verdict("healthy", f"healthy: the signal stays within {_spread(rows)} across the hidden layers")]


def suspected_dead(rows: Rows) -> list[str]:
    """Layers of which so many units output 0 on the batch that the whole evaluation set is worth a look."""
    return [row["layer"] for row in rows if (row.get("dead_share") or 0) >= SHARE]


def spoken(layer: str) -> str:
    """layer20 → layer 20; other names as they are."""
    return re.sub(r"^layer(\d+)$", r"layer \1", layer)


def _hidden_signals(rows: Rows) -> list[tuple[str, float]]:
    """(layer, norm), bottom to top. The read-out's signal is the loss's own, so it is left aside."""
    return [(row["layer"], row["signal_norm"]) for row in rows[:-1] if row.get("signal_norm") is not None]


def _spread(rows: Rows) -> str:
    norms = [norm for _, norm in _hidden_signals(rows) if norm > 0]
    factor = max(norms, default=1.0) / min(norms, default=1.0)
    return f"a factor of {factor:.1f}" if factor < 100 else f"{math.log10(factor):.1f} orders of magnitude"


def _vanishing(rows: Rows) -> list[Verdict]:
    signals = _hidden_signals(rows)
    found = []
    if len(signals) > 1:
        top, size = signals[-1]
        weakest, least = min(signals[:-1], key=lambda signal: signal[1])
        if size > 0 and least == 0:
            silent = [spoken(layer) for layer, norm in signals if norm == 0]
            found.append(f"vanishing: no signal at all reaches {_listed(silent)}")
        elif size > 0 and math.log10(size / least) >= ORDERS:
            orders = round(math.log10(size / least))
            found.append(
                f"vanishing: the signal falls {orders} orders of magnitude from {spoken(top)} to {spoken(weakest)}"
            )
    for row in rows:
        ratio = row.get("signal_through_time")
        if ratio == 0:
            found.append(f"vanishing: no signal at all reaches the first time step of {spoken(row['layer'])}")
        elif ratio is not None and -math.log10(ratio) >= ORDERS:
            found.append(
                f"vanishing: the signal of {spoken(row['layer'])} falls {round(-math.log10(ratio))} orders of "
                "magnitude from the last time step to the first"
            )
    return [Verdict("vanishing", sentence) for sentence in found[:1]]


def _exploding(rows: Rows) -> list[Verdict]:
    signals = _hidden_signals(rows)
    found = []
    if len(signals) > 1:
        top, size = signals[-1]
        strongest, most = max(signals[:-1], key=lambda signal: signal[1])
        if size > 0 and most > 0 and math.log10(most / size) >= ORDERS:
            orders = round(math.log10(most / size))
            found.append(
                f"exploding: the signal grows {orders} orders of magnitude from {spoken(top)} to {spoken(strongest)}"
            )
    for row in rows:
        ratio = row.get("signal_through_time")
        if ratio is not None and ratio > 0 and math.log10(ratio) >= ORDERS:
            found.append(
                f"exploding: the signal of {spoken(row['layer'])} grows {round(math.log10(ratio))} orders of magnitude "
                "from the last time step to the first"
            )
    moved = [row for row in rows if (row.get("update_ratio") or 0) >= LARGEST_UPDATE]
    if moved:
        worst = max(moved, key=lambda row: row["update_ratio"])
        found.append(
            f"exploding: one step changed the weights of {spoken(worst['layer'])} by {worst['update_ratio']:.2g} times "
            "their norm"
        )
    return [Verdict("exploding", sentence) for sentence in found[:1]]


def _dead(rows: Rows, confirmed: Mapping[str, float] | None) -> list[Verdict]:
    shares = confirmed if confirmed is not None else {row["layer"]: row.get("dead_share") for row in rows}
    layer, share = _largest(shares)
    if share < SHARE:
        return []
    where = "batch" if confirmed is None else "evaluation set"
    return [Verdict("dead", f"dead: {_percent(share)} of units of {spoken(layer)} output 0 on the whole {where}")]


def _saturated(rows: Rows) -> list[Verdict]:
    # The output layer is left out: an auto-encoder's sigmoid outputs are right to be near 0 and 1.
    layer, share = _largest({row["layer"]: row.get("saturated_share") for row in rows[:-1]})
    if share < SHARE:
        return []
    return [Verdict("saturated", f"saturated: {_percent(share)} of units of {spoken(layer)} are saturated")]


def _largest(shares: Mapping[str, float | None]) -> tuple[str, float]:
    return max(((layer, share or 0.0) for layer, share in shares.items()), key=lambda each: each[1], default=("", 0.0))


def _percent(share: float) -> str:
    """Whole percent; never rounded up to all of them."""
    return f"{min(round(100 * share), 99) if share < 1 else 100} %"


def _listed(names: list[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{names[0]} to {names[-1]} ({len(names)} layers)"

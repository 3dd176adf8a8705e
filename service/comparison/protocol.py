"""The numbers of the protocol, each with its rule in docs/explanation/protocol.md.

Fixed before the data. A test reads the rules' text and compares it with these.
"""

import math
from typing import Final

CONFIDENCE: Final = 0.95
"""Of every interval (rule 3)."""
LEVEL: Final = 0.05
"""Family-wise, after Holm (rule 4)."""

SEEDS_FOR_VERDICT: Final = 10
SEEDS_FOR_SUGGESTION: Final = 6
"""Pairs, not runs (rule 2)."""

LARGEST_ENUMERATION: Final = 2**16
MONTE_CARLO_DRAWS: Final = 65536
MONTE_CARLO_SEED: Final = 0
"""Of the sign-flip test (rule 3)."""

ACCURACY_MARGIN: Final = 0.002
"""0.2 points, as a fraction (rule 5)."""
COST_MARGIN: Final = math.log(1.05)
"""5 % of a cost, on the natural-log scale of ratios (rule 5)."""
SIGNAL_MARGIN: Final = math.log10(2)
"""A factor of 2 in the teaching signal's fall, in powers of ten (rule 5)."""

TARGET_FRACTION: Final = 0.95
"""Of the way from chance to backprop's median validation accuracy (rule 9)."""

TRIM: Final = 0.25
BOOTSTRAP_DRAWS: Final = 2000
BOOTSTRAP_SEED: Final = 0
"""Of the interquartile mean (rule 10)."""

TRAINS_FRACTION: Final = 0.5
"""Of the way from chance to backprop at the shallowest depth (rule 11)."""

REFERENCE: Final = "backprop"
CONTROLS: Final[dict[str, str]] = {
    "frozen": "hidden layers never trained, only the read-out",
    "backprop_checkpointed": "backprop with activation checkpointing: equal memory",
    "backprop_extra_heads": "backprop with the same extra heads: equal parameters",
}
"""Arms whose answer is known beforehand (rule 1)."""

"""What an intervention test says, as plain data: one verdict for each declared property, and what was counted beside.

Torch-free, so that whoever reads a result needs no more than this.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["confirmed", "refuted", "untested"]


@dataclass(frozen=True, slots=True)
class Result:
    """One declared property, and what became of it."""

    property: str
    """Its name in `Properties`, e.g. "weight_transport"."""
    declared: str
    """yes, no or partly."""
    verdict: Verdict
    evidence: str
    """One sentence: what was done, and what followed. Of an untested one: why there was no test."""
    layers: tuple[str, ...] = ()
    """Those in which the need was found."""


@dataclass(frozen=True, slots=True)
class Locality:
    """What was counted, not declared: what an update reads, and in how many passes."""

    reads: dict[str, tuple[str, ...]]
    """Layer that moves → other layers whose weights one step's update was computed from, network order."""
    phases: tuple[str, ...]
    """Kinds of passes over the data, in order of their first appearance."""
    passes_per_epoch: float
    """Mean over the run."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of one algorithm on one network."""

    algorithm: str
    network: str
    results: tuple[Result, ...]
    locality: Locality

    def of(self, name: str) -> Result:
        """The result of one property. Raises KeyError for a name that no property has."""
        for result in self.results:
            if result.property == name:
                return result
        raise KeyError(f"no property {name!r}; there are: {', '.join(each.property for each in self.results)}")

    def results_json(self) -> list[dict[str, Any]]:
        """As a run's result carries them."""
        return [{**asdict(result), "layers": list(result.layers)} for result in self.results]

    def to_json(self) -> dict[str, Any]:
        """The whole report, JSON-ready."""
        locality = {
            "reads": {layer: list(read) for layer, read in self.locality.reads.items()},
            "phases": list(self.locality.phases),
            "passes_per_epoch": self.locality.passes_per_epoch,
            "sentence": self.locality.sentence,
        }
        return {
            "algorithm": self.algorithm,
            "network": self.network,
            "interventions": self.results_json(),
            "locality": locality,
        }


def judged(name: str, declared: str, *, found: bool, evidence: str, layers: tuple[str, ...] = ()) -> Result:
    """The verdict on a need: declared "no" must not be found; "yes" and "partly" must be."""
    verdict: Verdict = "confirmed" if (declared != "no") == found else "refuted"
    return Result(name, declared, verdict, evidence, layers)


def untested(name: str, declared: str, reason: str) -> Result:
    """No test, and why."""
    return Result(name, declared, "untested", reason)

"""What an algorithm needs that a brain is thought not to have: declared, and proven where a test exists (rule 13)."""

from dataclasses import dataclass

from service.comparison.errors import ComparisonError
from service.comparison.runs import Experiment, Proof, Property
from service.comparison.verdicts import Verdict


@dataclass(frozen=True)
class Plausibility:
    """One arm's properties. `needs` are names that count as needed; `refuted` those declared absent and found
    present.
    """

    arm: str
    properties: tuple[Property, ...]

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(p.name for p in self.properties if p.counts_as_needed)

    @property
    def confirmed_absent(self) -> frozenset[str]:
        return frozenset(p.name for p in self.properties if not p.needed and p.proof is Proof.CONFIRMED)

    @property
    def refuted(self) -> frozenset[str]:
        return frozenset(p.name for p in self.properties if not p.needed and p.proof is Proof.REFUTED)

    @property
    def counts(self) -> dict[Proof, int]:
        """How many properties a test confirmed, how many it refuted, and how many none could say anything of."""
        return {proof: sum(p.proof is proof for p in self.properties) for proof in Proof}

    @property
    def tests_sentence(self) -> str:
        """ "7 confirmed, 0 refuted, 1 untested", or that no test ran."""
        counts = self.counts
        if counts[Proof.UNTESTED] == len(self.properties):
            return "none tested"
        return ", ".join(f"{number} {proof.value}" for proof, number in counts.items())

    def findings(self, against: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """What tests found where it matters: every refuted property, and those of `against` that are confirmed absent,
        each with its evidence."""
        told = [p for p in self.properties if p.proof is Proof.REFUTED or p.name in against & self.confirmed_absent]
        return tuple(f"{p.name} {p.proof.value}: {_clause(p.evidence)}" for p in told if p.evidence)


def _clause(sentence: str) -> str:
    """Without its full stop: notes get one of their own."""
    return sentence.rstrip(".")


def plausibility_of(experiment: Experiment, arm: str) -> Plausibility | None:
    """From the arm's runs, which must agree; a test's word beats no test. None where nothing is declared."""
    merged: dict[str, Property] = {}
    for run in experiment.runs_of(arm):
        for item in run.properties:
            known = merged.setdefault(item.name, item)
            if known.needed != item.needed:
                raise ComparisonError(
                    f"properties.{item.name}", f"{arm}: both needed and not", "one declaration per arm"
                )
            # Refuted once is refuted: a leak on one network is a leak.
            if known.proof is Proof.UNTESTED or item.proof is Proof.REFUTED:
                merged[item.name] = item
    return Plausibility(arm, tuple(merged.values())) if merged else None


def plausibility_verdict(ours: Plausibility, backprop: Plausibility) -> Verdict:
    """By inclusion of needs; unequal lists of properties are compared only where both declare."""
    shared = {p.name for p in ours.properties} & {p.name for p in backprop.properties}
    if not shared:
        return Verdict.NOT_MEASURED
    mine, theirs = ours.needs & shared, backprop.needs & shared
    if mine == theirs:
        return Verdict.EQUIVALENT
    if mine < theirs:
        return Verdict.BETTER if ours.confirmed_absent & (theirs - mine) else Verdict.SUGGESTIVE_BETTER
    return Verdict.WORSE if mine > theirs else Verdict.UNDECIDED

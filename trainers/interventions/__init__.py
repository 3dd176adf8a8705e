"""Intervention tests: what an algorithm declares of itself, proven or refuted by taking things away from it.

    intervene(spec) → Report     one verdict (confirmed, refuted, untested) for each declared property

    operations    torch's operations as an intervention sees them
    weight_book   which tensors hold forward weights, and which way round they are used
    watches       dispatch modes that alter a step; reads: what an update was computed from
    trials        a few steps on a fresh copy, with and without
    feedback, error_signal, locking, derivative, locality   the tests

docs/explanation/interventions.md has each test's definition and limits.
"""

from trainers.interventions.intervene import intervene, intervene_on
from trainers.interventions.results import Locality, Report, Result

__all__ = ["Locality", "Report", "Result", "intervene", "intervene_on"]

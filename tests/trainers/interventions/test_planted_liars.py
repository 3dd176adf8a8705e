"""Declarations are put to the test: liars are caught, whatever way they take; honest ones are confirmed."""

import pytest

from tests.trainers.interventions import planted as p
from trainers.interventions import Report, intervene_on

ALL = {"weight_transport", "global_error_signal", "forward_locking", "backward_locking", "update_locking",
       "needs_derivative", "symmetric_feedback", "layer_parallel"}  # fmt: skip


def refuted(report: Report) -> set[str]:
    return {result.property for result in report.results if result.verdict == "refuted"}


@pytest.mark.parametrize("honest", [p.FeedbackAlignment, p.DirectFeedbackAlignment, p.LabelTargets, p.UnlockedForwards])
def test_an_honest_algorithm_has_every_property_confirmed(honest: type[p.Planted]) -> None:
    report = intervene_on(p.planted(honest))
    assert {result.property: result.verdict for result in report.results} == dict.fromkeys(ALL, "confirmed")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_honest_algorithm_is_confirmed_with_any_seed(seed: int) -> None:
    assert refuted(intervene_on(p.planted(p.FeedbackAlignment, seed=seed))) == set()


@pytest.mark.parametrize(
    "liar",
    [
        p.CopiesAtStart,
        p.CopiesAtStartThenLearns,
        p.CopiesEachStep,
        p.CopiesThroughNumpy,
        p.UsesInverses,
        p.SumsByHand,
        p.TransportsAfterThreeSteps,
    ],
)
def test_feedback_made_of_forward_weights_is_weight_transport(liar: type[p.Planted]) -> None:
    found = intervene_on(p.planted(liar)).of("weight_transport")
    assert (found.declared, found.verdict) == ("no", "refuted")
    assert set(found.layers) >= {"layer1", "layer2", "layer3"}


@pytest.mark.parametrize("liar", [p.CopiesAtStart, p.CopiesEachStep, p.UsesInverses, p.TransportsAfterThreeSteps])
def test_copies_are_followed_between_layers_of_equal_width(liar: type[p.Planted]) -> None:
    square = {"kind": "mlp", "hidden": [20, 20, 20], "activation": "tanh"}
    found = intervene_on(p.planted(liar, network=square)).of("weight_transport")
    # An inverse of a square matrix could be either way round; what is between unequal layers is found all the same.
    assert found.verdict == "refuted"


def test_feedback_alignment_is_confirmed_between_layers_of_equal_width() -> None:
    square = {"kind": "mlp", "hidden": [20, 20, 20], "activation": "tanh"}
    assert refuted(intervene_on(p.planted(p.FeedbackAlignment, network=square))) == set()


@pytest.mark.parametrize("liar", [p.CopiesEachStep, p.SumsByHand, p.TransportsAfterThreeSteps])
def test_present_weights_as_feedback_are_symmetric(liar: type[p.Planted]) -> None:
    assert intervene_on(p.planted(liar)).of("symmetric_feedback").verdict == "refuted"


def test_inverses_are_transport_but_not_symmetric() -> None:
    report = intervene_on(p.planted(p.UsesInverses))
    assert report.of("symmetric_feedback").verdict == "confirmed"


@pytest.mark.parametrize("liar", [p.ReadsLayerAbove, p.ReadsSizeOfLayerAbove, p.ReadsAboveAfterThreeSteps])
def test_an_update_that_reads_the_layer_above_is_locked(liar: type[p.Planted]) -> None:
    report = intervene_on(p.planted(liar))
    assert report.of("update_locking").verdict == "refuted"
    assert report.of("update_locking").layers == ("layer1", "layer2", "layer3")
    assert report.of("layer_parallel").verdict == "refuted"


def test_a_leak_that_shows_after_three_steps_is_not_in_the_first() -> None:
    evidence = intervene_on(p.planted(p.PeeksAtLossAfterThreeSteps)).of("global_error_signal")
    assert evidence.verdict == "refuted"
    late = intervene_on(p.planted(p.TransportsAfterThreeSteps)).of("weight_transport")
    assert late.verdict == "refuted"


def test_error_that_comes_layer_by_layer_is_backward_locking_and_straight_from_the_output_is_not() -> None:
    assert intervene_on(p.planted(p.ClaimsNoBackwardLocking)).of("backward_locking").verdict == "refuted"
    assert intervene_on(p.planted(p.DirectFeedbackAlignment)).of("backward_locking").verdict == "confirmed"


def test_an_update_through_derivatives_is_found() -> None:
    assert intervene_on(p.planted(p.UsesDerivatives)).of("needs_derivative").verdict == "refuted"


def test_a_layer_that_runs_on_those_below_is_forward_locked() -> None:
    found = intervene_on(p.planted(p.ClaimsNoForwardLocking)).of("forward_locking")
    assert (found.verdict, found.layers) == ("refuted", ("layer2", "layer3", "layer4"))


def test_needs_that_are_declared_and_not_there_are_refuted_too() -> None:
    assert refuted(intervene_on(p.planted(p.ClaimsToNeed))) == ALL - {"forward_locking"}


def test_the_log_of_reads_tells_local_updates_from_others() -> None:
    local = intervene_on(p.planted(p.LabelTargets)).locality
    assert local.reads["layer1"] == ()
    assert local.reads["layer3"] == ("layer1", "layer2")
    spying = intervene_on(p.planted(p.ReadsLayerAbove)).locality
    assert spying.reads["layer1"] == ("layer2",)
    assert spying.sentence.startswith(
        "Within a step, the update of layer1 to layer3 is computed from weights of layers"
    )

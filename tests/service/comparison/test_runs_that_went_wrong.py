"""Failed, diverged and lost runs, missing pairs, one seed, ties: each behaves as rule 8 says, and says so."""

import pytest

from service.comparison.comparisons import compare
from service.comparison.errors import ComparisonError
from service.comparison.measures import ACCURACY, AREA, COSTS
from service.comparison.runs import Experiment, RunState, run_state
from service.comparison.scorecard import Criterion, score
from service.comparison.verdicts import Verdict

SECONDS = COSTS["training_seconds"]


def experiment(run_of, ours, theirs=None) -> Experiment:
    """`ours` and `theirs`: keyword arguments for each seed's run."""
    theirs = [{} for _ in ours] if theirs is None else theirs
    runs = [run_of("other", seed, **more) for seed, more in enumerate(ours)]
    runs += [run_of("backprop", seed, **more) for seed, more in enumerate(theirs)]
    return Experiment("x", runs)


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_one_bad_run_scores_chance_and_stays(run_of, state):
    (found,) = compare(experiment(run_of, [{"state": state, "reason": "diverged"}, *[{}] * 9]), ACCURACY)
    assert found.judgement.pairs == 10
    assert found.pairs.candidate[0] == 0.1
    assert "1 of its 10 runs failed or diverged, counted at chance level or never" in found.notes


def test_an_arm_that_always_diverges_is_worse(run_of):
    (found,) = compare(experiment(run_of, [{"state": "diverged"}] * 10), ACCURACY)
    assert found.verdict is Verdict.WORSE
    assert found.shown.value == pytest.approx(-87, abs=0.5)


def test_where_both_arms_always_fail_nothing_is_decided(run_of):
    failed = [{"state": "failed", "reason": "out_of_memory"}] * 10
    (found,) = compare(experiment(run_of, failed, failed), ACCURACY)
    assert found.verdict is Verdict.UNDECIDED
    assert any("nothing is decided" in note for note in found.notes)


def test_a_lost_run_is_a_missing_pair_not_a_bad_score(run_of):
    (found,) = compare(experiment(run_of, [{"state": "lost", "reason": "worker_lost"}, *[{}] * 10]), ACCURACY)
    assert found.judgement.pairs == 10
    assert found.pairs.missing == (0,)
    assert "1 seeds have no pair" in found.notes


def test_a_lost_run_of_backprop_does_not_help_the_candidate(run_of):
    (found,) = compare(experiment(run_of, [{}] * 10, [{"state": "lost"}, *[{}] * 9]), ACCURACY)
    assert found.judgement.pairs == 9
    assert not found.verdict.is_firm


def test_seeds_of_one_side_alone_are_missing_pairs(run_of):
    runs = [run_of("other", s) for s in range(14)] + [run_of("backprop", s) for s in range(4, 20)]
    (found,) = compare(Experiment("x", runs), ACCURACY)
    assert found.pairs.seeds == tuple(range(4, 14))
    assert len(found.pairs.missing) == 10


def test_an_arm_without_any_shared_seed_is_not_measured(run_of):
    runs = [run_of("other", s) for s in range(10)] + [run_of("backprop", s) for s in range(10, 20)]
    (found,) = compare(Experiment("x", runs), ACCURACY)
    assert found.verdict is Verdict.NOT_MEASURED
    assert found.shown is None


@pytest.mark.parametrize(("seeds", "firm"), [(1, False), (5, False), (6, False), (9, False), (10, True)])
def test_the_number_of_pairs_decides_how_much_is_said(run_of, seeds, firm):
    (found,) = compare(experiment(run_of, [{"accuracy": 0.90 + 1e-4 * s} for s in range(seeds)]), ACCURACY)
    assert found.verdict.is_firm is firm
    if seeds < 6:
        assert found.verdict is Verdict.NOT_ENOUGH_SEEDS
    elif seeds < 10:
        assert found.verdict is Verdict.SUGGESTIVE_WORSE
        assert "p not corrected for the family" in found.notes


def test_ties_on_every_seed_are_equivalent(run_of):
    same = [{"accuracy": 0.9 + 0.001 * s} for s in range(10)]
    (found,) = compare(experiment(run_of, same, same), ACCURACY)
    assert found.verdict is Verdict.EQUIVALENT
    assert found.judgement.p == 1.0
    assert found.judgement.effect is None


def test_a_run_that_failed_early_does_not_look_cheap(run_of):
    ours = [{"seconds": 5.0 + 0.01 * s} for s in range(12)]
    ours[0] = {"state": "failed", "reason": "out_of_memory"}
    (found,) = compare(experiment(run_of, ours), SECONDS)
    assert found.judgement.pairs == 11
    assert found.verdict is Verdict.UNDECIDED, "5 s against 8 s would be better, had no run failed"
    assert any("no favourable verdict" in note for note in found.notes)


def test_the_same_cost_without_a_failure_is_better(run_of):
    (found,) = compare(experiment(run_of, [{"seconds": 5.0 + 0.01 * s} for s in range(12)]), SECONDS)
    assert found.verdict is Verdict.BETTER
    assert found.shown.value == pytest.approx(5.05 / 8, rel=0.02)


def test_a_diverged_run_is_at_chance_for_the_rest_of_its_curve(run_of):
    (found,) = compare(experiment(run_of, [{"state": "diverged"}] * 10), AREA)
    assert found.verdict is Verdict.WORSE
    # Two of eight epochs were run: less than a third of the area can be above chance.
    assert found.candidate_mean < 0.1 + 0.9 * 2 / 8


def test_every_run_that_went_wrong_is_published(run_of):
    card = score(experiment(run_of, [{"state": "diverged", "reason": "non-finite loss"}, *[{}] * 9]))
    assert "1 runs that failed or diverged (all counted)" in card.answer


def test_an_experiment_without_backprop_says_so(run_of):
    card = score(Experiment("x", [run_of("other", s) for s in range(10)]))
    assert "needs backprop" in card.answer
    assert card.cells["other"][Criterion.ACCURACY].verdict is Verdict.NOT_MEASURED


def test_an_empty_experiment_is_scored_as_nothing():
    card = score(Experiment("nothing", ()))
    assert card.arms == ()
    assert card.answer.startswith("There is nothing to answer")


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("succeeded", None, RunState.SUCCEEDED),
        ("failed", "diverged", RunState.DIVERGED),
        ("failed", "out_of_memory", RunState.FAILED),
        ("failed", "trainer_killed", RunState.FAILED),
        ("failed", "worker_lost", RunState.LOST),
        ("failed", "dataset_unavailable", RunState.LOST),
        ("cancelled", "requested", RunState.LOST),
    ],
)
def test_a_jobs_end_in_the_protocols_words(state, reason, expected):
    assert run_state(state, reason) is expected


def test_a_job_that_has_not_ended_is_refused():
    with pytest.raises(ComparisonError, match="state: got 'running'; allowed: succeeded, failed or cancelled"):
        run_state("running", None)


def test_two_runs_of_one_seed_are_refused(run_of):
    with pytest.raises(ComparisonError, match="one run per arm, workload and seed"):
        Experiment("x", [run_of("backprop", 1), run_of("backprop", 1)])


def test_a_success_without_its_score_is_refused(run_of, digits):
    with pytest.raises(ComparisonError, match=r"metrics\.test_accuracy: got nan"):
        run_of("backprop", 0, accuracy=float("nan"))

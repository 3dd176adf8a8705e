"""The scorecard on an experiment whose answers were planted."""

import dataclasses

import pytest

from service.comparison.runs import Experiment, Workload
from service.comparison.scorecard import FIVE, Criterion, dethrones, score
from service.comparison.verdicts import Verdict

C, V = Criterion, Verdict


@pytest.fixture(scope="module")
def card(five_algorithms):
    return score(five_algorithms)


def test_every_arm_and_control_has_every_criterion(card, five_algorithms):
    assert set(card.cells) == set(five_algorithms.arms) - {"backprop"}
    assert all(set(row) == set(Criterion) for row in card.cells.values())
    assert len(FIVE) == 5


@pytest.mark.parametrize(
    ("arm", "criterion", "verdict"),
    [
        ("difference_target_propagation", C.ACCURACY, V.WORSE),
        ("difference_target_propagation", C.GRADIENT_HEALTH, V.BETTER),
        ("difference_target_propagation", C.COMPUTE_COST, V.WORSE),
        ("difference_target_propagation", C.HYPERPARAMETERS, V.WORSE),
        ("difference_target_propagation", C.PLAUSIBILITY, V.BETTER),
        ("synthetic_gradients", C.ACCURACY, V.EQUIVALENT),
        ("synthetic_gradients", C.CONVERGENCE, V.BETTER),
        ("frozen", C.ACCURACY, V.WORSE),
        ("backprop_checkpointed", C.ACCURACY, V.EQUIVALENT),
        ("backprop_checkpointed", C.COMPUTE_COST, V.WORSE),
    ],
)
def test_planted_answers_are_found(card, arm, criterion, verdict):
    assert card.cells[arm][criterion].verdict is verdict


def test_a_cell_links_to_the_raw_jobs_of_both_sides(card):
    links = card.cells["hsic_bottleneck"][C.ACCURACY].links
    assert len(links) == 40
    assert {"/api/v1/jobs/hsic_bottleneck-digits-3", "/api/v1/jobs/backprop-mnist-9"} <= set(links)


def test_a_cell_states_its_number_with_an_interval(card):
    assert "digits / mlp 64-64: −1.49 points (−1.5" in card.cells["difference_target_propagation"][C.ACCURACY].number


def test_the_answer_says_on_what_it_rests(card):
    assert card.answer.startswith("Nothing here dethrones backprop. This rests on 160 runs of 8 arms")
    assert "with default hyperparameters on 2 workloads" in card.answer
    assert "10 pairs a comparison of accuracy" in card.answer
    assert "the controls frozen, backprop_checkpointed, backprop_extra_heads" in card.answer
    assert len(card.why) == 4


def test_controls_do_not_burden_the_candidates_family(card):
    families = {c.role.value: c.judgement.family for c in card.comparisons["accuracy"]}
    assert families == {"candidate": 8, "control": 6}


def test_a_control_that_was_not_run_is_named(experiment_of):
    card = score(experiment_of(arms=("backprop", "synthetic_gradients", "frozen")))
    assert card.missing_controls == ("backprop_checkpointed", "backprop_extra_heads")
    assert any("backprop_checkpointed" in warning and "was not run" in warning for warning in card.warnings)


def winner(run_of, frozen=0.7) -> Experiment:
    """An arm as good as backprop, faster, in need of less, with no hyperparameter more."""
    runs = []
    for seed in range(10):
        runs.append(run_of("backprop", seed, accuracy=0.95 + 0.001 * seed))
        fast = run_of("hsic_bottleneck", seed, accuracy=0.951 + 0.001 * seed + 1e-5 * seed, seconds=4.0 + 0.01 * seed)
        same_curve = dataclasses.replace(runs[0].curve, seconds=runs[0].curve.seconds / 2)
        runs.append(dataclasses.replace(fast, hyperparameters={"learning_rate": 0.1}, curve=same_curve))
        runs.append(run_of("frozen", seed, accuracy=frozen + 0.001 * seed))
    return Experiment("win", runs)


def test_a_planted_winner_dethrones_backprop(run_of):
    card = score(winner(run_of))
    assert card.dethroned_by == ("hsic_bottleneck",)
    assert "hsic_bottleneck (better in" in card.answer


def test_a_workload_that_cannot_tell_learning_from_luck_gives_no_win(run_of):
    card = score(winner(run_of, frozen=0.95))
    assert card.dethroned_by == ()
    assert "cannot tell learning from luck" in card.warnings[0]
    assert "does not tell learning from luck" in card.answer


@pytest.mark.parametrize(
    ("changed", "verdict", "wins"),
    [
        (None, None, True),
        (C.ACCURACY, V.SUGGESTIVE_BETTER, False),
        (C.ACCURACY, V.UNDECIDED, False),
        (C.COMPUTE_COST, V.WORSE, False),
        (C.COMPUTE_COST, V.SUGGESTIVE_WORSE, False),
        (C.COMPUTE_COST, V.UNDECIDED, True),
    ],
)
def test_rule_14(run_of, changed, verdict, wins):
    cells = dict(score(winner(run_of)).cells["hsic_bottleneck"])
    if changed is not None:
        cell = cells[changed]
        compared = tuple(dataclasses.replace(c, verdict=verdict) for c in cell.comparisons)
        cells[changed] = dataclasses.replace(cell, verdict=verdict, comparisons=compared)
    assert dethrones(cells) is wins


def test_too_few_seeds_are_an_answer_too(experiment_of):
    card = score(experiment_of(seeds=1))
    assert card.answer.startswith("There are not enough seeds to say")
    assert card.cells["frozen"][C.ACCURACY].verdict is V.NOT_ENOUGH_SEEDS


def test_a_workload_with_few_seeds_is_named_and_left_out_of_the_cell(experiment_of, run_of):
    cifar = Workload("cifar10", "mlp", 0.1)
    base = experiment_of()
    one_seed = tuple(run_of(arm, 0, cifar) for arm in ("backprop", "hsic_bottleneck", "frozen"))
    cell = score(dataclasses.replace(base, runs=base.runs + one_seed)).cells["hsic_bottleneck"][C.ACCURACY]
    assert cell.verdict is V.WORSE
    assert "Left out for too few seeds: cifar10 / mlp." in cell.sentence


def test_a_sweep_alone_does_not_ask_who_dethrones(sweep):
    card = score(sweep)
    assert "is not asked" in card.answer
    assert card.cells["difference_target_propagation"][C.GRADIENT_HEALTH].verdict is V.BETTER


def test_unequal_tuning_is_reported(five_algorithms):
    tuning = (dataclasses.replace(five_algorithms.tuning[0], scores=(0.9,)), *five_algorithms.tuning[1:])
    card = score(dataclasses.replace(five_algorithms, tuning=tuning))
    assert any("which the protocol forbids" in warning for warning in card.warnings)

"""The scorer keeps to the numbered text of docs/explanation/protocol.md: change one and this fails."""

import math
import re
from pathlib import Path

import pytest

from service.comparison import protocol
from service.comparison.scorecard import MEASURES, PRIMARY
from service.comparison.verdicts import Verdict

TEXT = (Path(__file__).parents[3] / "docs/explanation/protocol.md").read_text(encoding="utf-8")


def rule(number: int) -> str:
    """The text of one numbered rule, on one line."""
    body = TEXT.split("## Rules", 1)[1].split("\n## ", 1)[0]
    found = re.search(rf"^{number}\. (.*?)(?=^\d+\. |\Z)", body, flags=re.M | re.S)
    assert found, f"rule {number} is missing"
    return " ".join(found.group(1).split())


def number(of_rule: int, pattern: str) -> float:
    found = re.search(pattern, rule(of_rule))
    assert found, f"rule {of_rule} does not say {pattern!r}: {rule(of_rule)}"
    return float(found.group(1).replace(",", ""))


def test_the_rules_are_numbered_without_a_gap():
    body = TEXT.split("## Rules", 1)[1].split("\n## ", 1)[0]
    numbers = [int(n) for n in re.findall(r"^(\d+)\. \*\*", body, flags=re.M)]
    assert numbers == list(range(1, 16))


@pytest.mark.parametrize(
    ("of_rule", "pattern", "value"),
    [
        (2, r"(\d+) seeds and more give a verdict", protocol.SEEDS_FOR_VERDICT),
        (2, r"(\d+) to 9 give a \"suggestive\" one", protocol.SEEDS_FOR_SUGGESTION),
        (2, r"6 to (\d+) give a \"suggestive\" one", protocol.SEEDS_FOR_VERDICT - 1),
        (2, r"fewer than (\d+) give \"not enough seeds\"", protocol.SEEDS_FOR_SUGGESTION),
        (2, r"smallest two-sided exact p is ([\d.]+\d)", 2 / 2**5),
        (2, r"enough for (\d+) comparisons", math.floor(protocol.LEVEL / (2 / 2**10) / 5) * 5 - 5),
        (3, r"at (\d+) % confidence", 100 * protocol.CONFIDENCE),
        (3, r"up to 2\^(\d+) of them", math.log2(protocol.LARGEST_ENUMERATION)),
        (3, r"(\d+) patterns are drawn", protocol.MONTE_CARLO_DRAWS),
        (3, r"with seed (\d+)", protocol.MONTE_CARLO_SEED),
        (4, r"family-wise level is (\d+) %", 100 * protocol.LEVEL),
        (5, r"([\d.]+) points of accuracy", 100 * protocol.ACCURACY_MARGIN),
        (5, r"(\d+) % of a cost", 100 * math.expm1(protocol.COST_MARGIN)),
        (5, r"a factor of (\d+) of the signal", 10**protocol.SIGNAL_MARGIN),
        (9, r"(\d+) % of the way from chance level", 100 * protocol.TARGET_FRACTION),
        (10, r"\((\d+) % cut from each end\)", 100 * protocol.TRIM),
        (10, r"(\d+) bootstrap draws", protocol.BOOTSTRAP_DRAWS),
        (11, r"at least (\d+) % of the way", 100 * protocol.TRAINS_FRACTION),
        (12, r"within ([\d.]+) points of the best", 100 * protocol.ACCURACY_MARGIN),
    ],
)
def test_a_number_in_the_text_is_the_number_in_the_code(of_rule, pattern, value):
    assert number(of_rule, pattern) == pytest.approx(value)


def test_rule_1_names_exactly_the_controls_of_the_code():
    named = set(re.findall(r"`(\w+)` \(", rule(1)))
    assert named == set(protocol.CONTROLS)


def test_rule_6_names_the_verdicts_of_the_code():
    text = f"{rule(2)} {rule(6)}".lower()
    for verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.EQUIVALENT, Verdict.UNDECIDED, Verdict.NOT_ENOUGH_SEEDS):
        assert verdict.value in text
    assert "suggestive" in text


def test_rule_15_names_the_deciding_measures_in_the_codes_order():
    text = rule(15)
    for criterion, measures in PRIMARY.items():
        body = text.lower().split(f"{criterion.value}:", 1)[1].split(". ", 1)[0]
        assert [part.strip() for part in body.split(", else ")] == [m.title.lower() for m in measures]


def test_rule_15_names_every_other_measure():
    text = rule(15).lower()
    for measure in MEASURES:
        if not measure.name.startswith("time_to_target"):
            assert measure.title.lower().split(" (")[0] in text

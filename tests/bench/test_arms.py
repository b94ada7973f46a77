"""An arm is a line of text; what it leaves out is the server's to fill."""

from __future__ import annotations

import pytest

from bench.arms import ROOM, Arm, Match, parsed
from service.errors import StartupError


def test_a_bare_strategy_is_an_arm_of_its_name() -> None:
    arm = Arm.parse("stepco")

    assert Arm("stepco", {"name": "stepco"}) == arm
    assert {"strategy": {"name": "stepco"}, "sampling": {"seed": 3}, "budget": ROOM} == arm.asked(3)


def test_knobs_budget_and_sampling_stand_in_one_line() -> None:
    arm = Arm.parse("best_of_n:n=5,select=weighted_vote,budget.max_tokens=900,sampling.top_p=1.0")

    assert {"name": "best_of_n", "n": 5, "select": "weighted_vote"} == arm.strategy
    assert {"top_p": 1.0} == arm.sampling
    assert ROOM | {"max_tokens": 900} == arm.budget
    assert "best_of_n:n=5,select=weighted_vote,budget.max_tokens=900,sampling.top_p=1.0" == arm.name


@pytest.mark.parametrize(("asked", "seconds"), [("", 600), (":budget.deadline_ms=3000", 3)])
def test_a_solve_is_waited_for_as_long_as_its_deadline_is(asked: str, seconds: float) -> None:
    assert seconds == Arm.parse(f"single{asked}").seconds


@pytest.mark.parametrize("asked", ["null", "soon"])
def test_a_deadline_that_is_no_number_is_the_servers_to_judge(asked: str) -> None:
    assert 600 == Arm.parse(f"single:budget.deadline_ms={asked}").seconds


def test_an_arm_may_have_a_name() -> None:
    arm = Arm.parse("paper=stepco:revise=rewrite,threshold=null")

    assert "paper" == arm.name
    assert {"name": "stepco", "revise": "rewrite", "threshold": None} == arm.strategy


def test_an_arm_matched_to_another_gets_what_that_one_spent_as_its_budget() -> None:
    _, generated = parsed(["stepco", "sc=self_consistency:n=64,match.generated=stepco"], {})
    _, computed = parsed(["stepco", "sc=self_consistency:match.computed=stepco"], {})

    assert Match("stepco", "generated") == generated.match
    assert ROOM | {"max_tokens": 77} == generated.bounded(77).budget
    assert ROOM | {"max_compute_tokens": 77} == computed.bounded(77).budget


def test_sampling_is_shared_unless_an_arm_has_its_own() -> None:
    one, other = parsed(["stepco", "single:sampling.temperature=0"], {"temperature": 0.8})

    assert (0.8, 0) == (one.sampling["temperature"], other.sampling["temperature"])


@pytest.mark.parametrize(
    "texts",
    [
        ["stepco:max_rounds"],
        ["stepco:bugdet.max_tokens=3"],
        ["stepco:match.spent=single"],
        ["stepco", "stepco"],
        ["sc=self_consistency:match.generated=stepco", "stepco"],
        ["stepco", "sc=single:match.generated=stepco,match.computed=stepco"],
    ],
    ids=str,
)
def test_what_cannot_be_read_is_said_in_a_sentence(texts: list[str]) -> None:
    with pytest.raises(StartupError, match=r"\.$"):
        parsed(texts, {})

"""Which step of a path is written anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staging import StatedVerifier

from service.engines.base import Message, Sampling, Usage
from service.engines.scripted import ScriptedEngine
from service.events import unheard
from service.solution import Path, Step
from service.strategies.attempt import Attempt, Question
from service.strategies.locating import Locate, located
from verifier.answers import Grader
from verifier.scoring import EVEN, Score

ATTEMPT = Attempt(
    question=Question((Message("user", "How many?"),), Sampling()),
    engine=ScriptedEngine(),
    verifier=StatedVerifier(),
    grader=Grader(),
    tell=unheard,
    begins_turns=True,
    threshold=EVEN,
    aggregate="last",
    heeds=False,
)


def path(*scores: tuple[float, float], tokens: int = 0) -> Path:
    steps = tuple(Step(f"s{k}", 0, Score(*pair)) for k, pair in enumerate(scores))
    return Path(steps=steps, usage=Usage(completion=tokens))


TURNING = path((0.9, 0.6), (0.45, 0.6), (0.9, 0.2), (0.3, 0.19))


@pytest.mark.parametrize(
    ("by", "step"), [("correct", 1), ("value", 2), ("both", 3)], ids=["correct", "value", "both"]
)
def test_each_readout_has_its_own_suspect(by: Locate, step: int) -> None:
    assert step == located(TURNING, by, 0.5, ATTEMPT)


def test_both_readouts_together_find_what_neither_is_sure_of() -> None:
    doubted = path((0.9, 0.8), (0.6, 0.7), (0.6, 0.4), (0.2, 0.39))

    assert (3, 2, 1) == tuple(
        located(doubted, by, 0.5, ATTEMPT) for by in ("correct", "value", "both")
    )


def test_a_path_with_no_doubtful_step_has_one_where_it_falls_most() -> None:
    assert 1 == located(path((0.95, 0.5), (0.7, 0.5), (0.69, 0.5)), "correct", 0.5, ATTEMPT)


@pytest.mark.parametrize("by", ["correct", "value", "both"])
def test_of_a_path_that_could_not_be_read_to_its_end_it_is_the_first_in_doubt(by: Locate) -> None:
    sound = replace(path((0.9, 0.9)), steps=(*path((0.9, 0.9)).steps, Step("?", 1), Step("?", 1)))
    doubted = replace(sound, steps=(*path((0.4, 0.9)).steps, *sound.steps[1:]))

    assert (1, 0) == (located(sound, by, 0.5, ATTEMPT), located(doubted, by, 0.5, ATTEMPT))


def test_a_random_step_is_any_and_the_same_when_asked_again() -> None:
    found = [
        located(path(*[(0.5, 0.5)] * 4, tokens=tokens), "random", 0.5, ATTEMPT, since=1)
        for tokens in range(200)
    ]

    assert {1, 2, 3} == set(found)
    assert found[7] == located(path(*[(0.5, 0.5)] * 4, tokens=7), "random", 0.5, ATTEMPT, since=1)
    assert all(40 < found.count(step) < 95 for step in (1, 2, 3))


PROBABILITIES = st.floats(0, 1, allow_nan=False)


@settings(deadline=None)
@given(
    st.lists(st.tuples(PROBABILITIES, PROBABILITIES), max_size=6),
    st.sampled_from(["correct", "value", "both", "random"]),
    st.integers(0, 7),
)
def test_the_step_is_one_of_the_path_and_not_before_the_one_named(
    scores: list[tuple[float, float]], by: Locate, since: int
) -> None:
    step = located(path(*scores), by, 0.5, ATTEMPT, since)

    assert since <= step < max(len(scores), since + 1)

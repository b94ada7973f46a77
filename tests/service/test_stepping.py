"""Searches over steps: what survives a step, what it costs, who votes at the end."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staging import Playback, StatedVerifier

from service.engines.base import Message, Prompt, Sampling
from service.engines.scripted import TOKEN, ArithmeticVerifier, ScriptedEngine
from service.events import Event, Revised, Verified, unheard
from service.ledger import Budget
from service.solver import Report, Solver, Task
from service.strategies import DVTS, BeamSearch, ParticleFilter
from service.strategies.attempt import Question
from service.strategies.base import Strategy
from verifier.answers import Grader

SEARCHES: list[Strategy] = [BeamSearch(n=6, width=2), DVTS(n=6, width=2), ParticleFilter(n=6)]
ROOMY = Budget(10_000, None, 60_000)


def solve(
    strategy: Strategy, *texts: str, begins_turns: bool = True
) -> tuple[Report, list[Event], list[Prompt]]:
    """The report of a solve in which the policy writes these texts, and what was told and asked."""
    script, heard = Playback(*texts), list[Event]()
    engine = ScriptedEngine(script, begins_turns=begins_turns)
    task = Task(Question((Message("user", "Q?"),), Sampling()), strategy, ROOMY, "none")
    report = asyncio.run(Solver(engine, StatedVerifier(), Grader()).solve(task, heard.append))
    assert engine.spent == report.ledger.policy
    return report, heard, script.prompts


def count(*texts: str) -> int:
    """Tokens up to where the next step would begin."""
    return sum(len(TOKEN.findall(text.partition("\nStep ")[0])) for text in texts)


def rounds(prompts: list[Prompt]) -> list[Counter[str]]:
    """The prefixes that were written on from, by the steps they have."""
    by_steps: dict[int, Counter[str]] = {}
    for prompt in prompts:
        by_steps.setdefault(prompt.prefix.count("Step"), Counter())[prompt.prefix] += 1
    return list(by_steps.values())


FIRST = (
    " a (0.9)\nStep 2: and more",
    " b (0.1)\nStep 2: and more",
    " c (0.8)\nStep 2: and more",
    " d (0.2)\nStep 2: and more",
)
SECOND = (
    " e (0.9)\nAnswer: 1",
    " f (0.5)\nAnswer: 2",
    " g (0.3)\nStep 3: and more",
    " h (0.7)\nAnswer: 1",
)
THIRD = " i\nAnswer: 2"


def test_of_a_beam_the_best_are_written_on_and_what_is_whole_leaves_its_place_free() -> None:
    report, _, prompts = solve(BeamSearch(n=4, width=2), *FIRST, *SECOND, THIRD)

    a, c = "Step 1: a (0.9)\nStep 2:", "Step 1: c (0.8)\nStep 2:"
    assert rounds(prompts) == [
        Counter({"Step 1:": 4}),
        Counter({a: 2, c: 2}),
        Counter({"Step 1: c (0.8)\nStep 2: g (0.3)\nStep 3:": 1}),
    ]
    assert count(*FIRST, *SECOND, THIRD) == report.ledger.policy.completion
    assert "1" == report.solution.path.answer


def test_trees_do_not_compete_and_have_one_vote_each() -> None:
    """`b` is the better of the first tree, though both of the second are better than it."""
    first = (" a (0.1)", " b (0.2)", " c (0.9)", " d (0.8)")
    second = (" e (0.3)\nAnswer: 1", " f (0.6)\nAnswer: 2", " g (0.9)\nAnswer: 3", " h (0.5)")

    report, _, prompts = solve(DVTS(n=4, width=2), *first, *second)

    b, c = "Step 1: b (0.2)\nStep 2:", "Step 1: c (0.9)\nStep 2:"
    assert rounds(prompts) == [Counter({"Step 1:": 4}), Counter({b: 2, c: 2})]
    assert ["2", "3"] == sorted(found.answer or "" for found in report.record.candidates)
    assert "3" == report.solution.path.answer


def test_a_width_that_does_not_divide_n_draws_no_more_than_n() -> None:
    _, _, prompts = solve(DVTS(n=8, width=3), *[" a\nAnswer: 1"] * 6)

    assert 6 == len(prompts)


def test_particles_are_resampled_by_the_odds_of_their_value() -> None:
    first = tuple(f" s{k} ({'0.99' if k < 2 else '0.01'})" for k in range(32))

    _, _, prompts = solve(ParticleFilter(n=32), *first, *[" t\nAnswer: 1"] * 32)

    (_, drawn) = rounds(prompts)
    good = sum(times for prefix, times in drawn.items() if "(0.99)" in prefix)
    assert 32 == drawn.total()
    assert good > 25  # of 32, each with probability 2 * 99 / (2 * 99 + 30 / 99) = 0.998
    assert min(drawn.values()) < 32


def test_a_whole_particle_has_as_many_votes_as_it_is_drawn() -> None:
    first = (" a (0.99)\nAnswer: 1", " b (0.01)\nAnswer: 2", " c (0.01)\nAnswer: 2", " d (0.2)")

    report, _, _ = solve(ParticleFilter(n=4), *first, *[" e (0.01)\nAnswer: 2"] * 9)

    assert "1" == report.solution.path.answer


@pytest.mark.parametrize("strategy", SEARCHES, ids=lambda each: each.name)
def test_an_engine_that_takes_whole_chats_samples_whole_paths_and_says_so(
    strategy: Strategy,
) -> None:
    whole = "Step 1: a\nStep 2: b\nAnswer: 3"

    report, _, prompts = solve(strategy, *[whole] * 6, begins_turns=False)

    assert (6, "3") == (len(prompts), report.solution.path.answer)
    assert ["Whole paths were sampled: they cannot be written by the step."] == (
        report.record.warnings
    )


@pytest.mark.parametrize("strategy", SEARCHES, ids=lambda each: each.name)
def test_each_step_is_told_and_scored_once(strategy: Strategy) -> None:
    engine, heard = ScriptedEngine(), list[Event]()
    task = Task(
        Question((Message("user", "Sum 3, 4 and 5."),), Sampling(seed=3)), strategy, ROOMY, "none"
    )

    asyncio.run(Solver(engine, ArithmeticVerifier(), Grader()).solve(task, heard.append))

    for event in heard:
        if isinstance(event, Revised):
            assert event.kept == sum(step.round < event.path.round for step in event.path.steps)
            assert event.score is None
        if isinstance(event, Verified):
            assert all(step.score for step in event.path.steps)
            assert len(event.path.steps) == event.path.round + 1


@settings(deadline=None)
@given(
    strategy=st.sampled_from(SEARCHES),
    seed=st.integers(0, 10_000),
    budget=st.integers(1, 400),
    compute=st.none() | st.integers(100, 4000),
)
def test_never_more_than_the_budget_and_never_a_path_that_was_not_seen(
    strategy: Strategy, seed: int, budget: int, compute: int | None
) -> None:
    engine = ScriptedEngine()
    question = Question((Message("user", "Sum 3, 4, 5 and 6."),), Sampling(seed=seed))
    task = Task(question, strategy, Budget(budget, compute, 60_000), "none")

    solver = Solver(engine, ArithmeticVerifier(), Grader())
    report = asyncio.run(solver.solve(task, unheard))

    ledger = report.ledger
    assert engine.spent == ledger.policy
    assert engine.spent.completion <= budget
    assert compute is None or ledger.computed <= compute
    assert report.solution.path in [find.path for find in report.record.finds]
    assert max(call.paths for call in ledger.calls) <= 6

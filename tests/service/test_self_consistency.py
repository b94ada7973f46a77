"""Adaptive-Consistency: when sampling stops, and that it never samples in vain."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staging import Playback, StatedVerifier

from service.engines.base import Message, Sampling
from service.engines.scripted import TOKEN, ScriptedEngine
from service.events import unheard
from service.ledger import Budget
from service.solver import Report, Solver, Task
from service.strategies import SelfConsistency
from service.strategies.attempt import Question
from service.strategies.self_consistency import staying_ahead
from verifier.answers import Grader


def solve(strategy: SelfConsistency, answers: str) -> tuple[Report, int]:
    """The report, and how many were drawn, of a policy that gives these answers, a digit each."""
    script = Playback(*(f" a\nAnswer: {answer}" for answer in answers))
    task = Task(
        Question((Message("user", "Q?"),), Sampling()), strategy, Budget(10_000, None, 9999), "none"
    )
    solver = Solver(ScriptedEngine(script), StatedVerifier(), Grader())
    report = asyncio.run(solver.solve(task, unheard))
    assert report.ledger.policy.completion == len(TOKEN.findall(" a\nAnswer: 1")) * len(
        script.prompts
    )
    return report, len(script.prompts)


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [(0, 0, 0.5), (1, 0, 0.75), (3, 0, 0.9375), (4, 0, 0.96875), (2, 2, 0.5), (5, 1, 0.9375)],
)
def test_the_lead_stays_with_the_mass_of_a_beta_distribution(
    first: int, second: int, probability: float
) -> None:
    assert probability == staying_ahead(first, second)


@settings(deadline=None)
@given(st.integers(0, 64), st.integers(0, 64))
def test_one_of_two_answers_is_likelier(first: int, second: int) -> None:
    assert staying_ahead(first, second) + staying_ahead(second, first) == pytest.approx(1)


@pytest.mark.parametrize(
    ("answers", "drawn", "answer", "reason"),
    [
        ("7777", 4, "7", "agreed"),
        ("7577777", 7, "7", "agreed"),
        ("1234123412", 10, "1", "sampled"),
        ("5757577777", 10, "7", "sampled"),
    ],
)
def test_sampling_stops_when_the_lead_is_sure_enough(
    answers: str, drawn: int, answer: str, reason: str
) -> None:
    report, sampled = solve(SelfConsistency(confidence=0.95), answers)

    assert (drawn, answer) == (sampled, report.solution.path.answer)
    assert reason == report.solution.stop_reason
    assert list(range(drawn)) == [found.sample for found in report.record.candidates]


def test_without_a_confidence_all_are_drawn_in_one_call() -> None:
    report, sampled = solve(SelfConsistency(n=6), "777777")

    assert (6, "sampled") == (sampled, report.solution.stop_reason)
    assert 1 == len(report.ledger.calls)


@settings(deadline=None)
@given(st.text("123", min_size=12, max_size=12), st.sampled_from([0.75, 0.9, 0.95]))
def test_as_many_are_drawn_as_if_they_were_drawn_one_by_one(answers: str, sure: float) -> None:
    def settled(drawn: int) -> bool:
        votes = sorted(map(answers[:drawn].count, "123"), reverse=True)
        return drawn == len(answers) or staying_ahead(votes[0], votes[1]) >= sure

    _, sampled = solve(SelfConsistency(n=12, confidence=sure), answers)

    assert next(filter(settled, range(1, 13))) == sampled

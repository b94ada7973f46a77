"""Rollouts: all that is wanted, once, graded, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from verifier.training.data import Question, Rollout, read
from verifier.training.rollouts import Sample, roll, wanted

QUESTIONS = [
    Question(id="two", question="1 + 1?", answer="2"),
    Question(id="half", question="1 / 2?", answer="\\frac{1}{2}"),
]


class Speaker:
    """A policy that always says the same; it fails at the call of this number, or loses it."""

    name = "speaker"

    def __init__(self, says: str, fails_at: int = -1, loses: int = -1) -> None:
        self.says = says
        self.fails_at = fails_at
        self.loses = loses
        self.asked: list[tuple[str, str, float]] = []

    async def sample(self, question: str, begun: str, temperature: float) -> Sample | None:
        call = len(self.asked)
        self.asked.append((question, begun, temperature))
        await asyncio.sleep(0)
        if call == self.fails_at:
            raise ConnectionError("gone")
        return None if call == self.loses else Sample(self.says, 7, "stop")


def run(policy: Speaker, out: Path, questions: list[Question] = QUESTIONS) -> list[Rollout]:
    draws = wanted(questions, 2, [0.5, 1.0], policy.name, out)
    asyncio.run(roll(draws, policy, out, at_once=3, progress=lambda _: None))
    return list(read(out, Rollout))


def test_every_question_gets_its_samples_at_every_temperature(tmp_path: Path) -> None:
    rows = run(Speaker(" so\nAnswer: \\boxed{0.5}"), tmp_path / "out.jsonl")

    assert Counter({(q, t): 2 for q in ("two", "half") for t in (0.5, 1.0)}) == Counter(
        (row.question_id, row.temperature) for row in rows
    )
    assert {("half", True), ("two", False)} == {(row.question_id, row.correct) for row in rows}
    assert {"Step 1: so\nAnswer: \\boxed{0.5}"} == {row.text for row in rows}


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    first = run(Speaker(" \\boxed{2}"), tmp_path / "out.jsonl")
    idle = Speaker(" \\boxed{2}")

    assert first == run(idle, tmp_path / "out.jsonl")
    assert [] == idle.asked


def test_a_run_that_was_killed_goes_on_where_it_ended(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(ConnectionError):
        run(Speaker(" \\boxed{2}", fails_at=5), out)
    before = out.read_text().count("\n")
    out.write_text(out.read_text() + '{"question_id": "two", "te')
    second = Speaker(" \\boxed{2}")

    rows = run(second, out)

    assert 0 < before < 8
    assert 8 - before == len(second.asked)
    assert 8 == len(rows)


def test_a_lost_sample_is_left_for_the_next_run(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    assert 7 == len(run(Speaker(" \\boxed{2}", loses=2), out))
    assert 8 == len(run(Speaker(" \\boxed{2}"), out))


def test_another_policys_rollouts_do_not_count(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(Speaker(" \\boxed{2}"), out)
    other = Speaker(" \\boxed{2}")
    other.name = "other"

    assert 16 == len(run(other, out))


def test_a_question_with_steps_is_continued_behind_them(tmp_path: Path) -> None:
    policy = Speaker(" it is 2.\nAnswer: \\boxed{2}")
    begun = Question(id="two", question="1 + 1?", answer="2", steps=("One is given.", "Add one."))

    rows = run(policy, tmp_path / "out.jsonl", [begun, QUESTIONS[0]])

    given = "Step 1: One is given.\nStep 2: Add one.\nStep 3:"
    assert {given, "Step 1:"} == {row.begun for row in rows}
    assert {given, "Step 1:"} == {asked[1] for asked in policy.asked}
    assert 4 == sum(row.text.startswith(given) for row in rows)

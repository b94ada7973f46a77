"""Samples solutions to questions, grades them, and appends each to a file as it comes.

The file is the job's only state: what is in it is not drawn again, so a killed run goes on where
it ended. A line that was cut off in mid-write is dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from verifier import steps
from verifier.answers import Grader, extract
from verifier.training.data import Question, Rollout, held


@dataclass(frozen=True, slots=True)
class Sample:
    """What a policy wrote behind what it was given, and how certain it was of each step."""

    text: str
    tokens: int
    finish: str
    certainties: tuple[float | None, ...] = ()


class Policy(Protocol):
    @property
    def name(self) -> str: ...

    async def sample(self, question: str, begun: str, temperature: float) -> Sample | None:
        """Go on behind `begun`; None if this sample was lost."""
        ...


@dataclass(frozen=True, slots=True)
class Draw:
    """One solution that is wanted."""

    question: Question
    temperature: float

    @property
    def begun(self) -> str:
        """What the policy is given of it."""
        given = self.question.steps
        if not given:
            return steps.OPENING
        return f"{steps.join(given)}\n{steps.label(len(given) + 1)}"


Progress = Callable[[Rollout], None]


def wanted(
    questions: Iterable[Question],
    samples: int,
    temperatures: Sequence[float],
    policy: str,
    out: Path,
) -> list[Draw]:
    """What `out` lacks of `samples` solutions a question and temperature. Raises `DataError`."""
    drawn = Counter(
        (row.question_id, row.temperature, row.begun)
        for row in held(out, Rollout)
        if row.policy == policy
    )
    draws = [Draw(question, heat) for question in questions for heat in temperatures]
    return [
        draw
        for draw in draws
        for _ in range(samples - drawn[draw.question.id, draw.temperature, draw.begun])
    ]


async def roll(
    draws: Sequence[Draw], policy: Policy, out: Path, at_once: int, progress: Progress
) -> None:
    """Draw them, at most `at_once` at a time, in order. Raises what the policy raises."""
    grader, queue = Grader(workers=1), iter(draws)
    with out.open("a", encoding="utf-8") as file:

        async def work() -> None:
            for draw in queue:
                if row := await _rollout(draw, policy, grader):
                    file.write(f"{row.model_dump_json()}\n")
                    file.flush()
                    progress(row)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(at_once, len(draws))):
                    group.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            grader.close()


async def _rollout(draw: Draw, policy: Policy, grader: Grader) -> Rollout | None:
    question, begun = draw.question, draw.begun
    sample = await policy.sample(question.question, begun, draw.temperature)
    if sample is None:
        return None
    text = begun + sample.text
    answer = extract(text)
    return Rollout(
        question_id=question.id,
        question=question.question,
        policy=policy.name,
        temperature=draw.temperature,
        text=text,
        begun=begun,
        answer=answer,
        gold=question.answer,
        correct=answer is not None and await grader.same(question.answer, answer),
        completion_tokens=sample.tokens,
        finish_reason=sample.finish,
        certainties=sample.certainties,
    )

"""How much of a revision's prompt llama.cpp finds in its cache: the kept prefix costs nothing.

StepCo on GSM8K questions with the 0.5B as policy and verifier, and a threshold so high that paths
are revised; cached / prompt tokens over the calls that continue a prefix.
Run: python -m bench.prefix
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from service.assembly import load
from service.engines.base import (
    Backend,
    Completion,
    Message,
    Prompt,
    Sampling,
    Usage,
    Watch,
    unwatched,
)
from service.ledger import Budget
from service.settings import Settings
from service.solver import Solver, Task
from service.strategies import StepCo
from service.strategies.attempt import Question
from verifier.answers import Grader
from verifier.batching import Batching
from verifier.steps import OPENING

QUESTIONS = Path(__file__).with_name("data") / "gsm8k-20.jsonl"
SMALL = "qwen2.5-coder-0.5b"


class Noting:
    """An engine that notes what continued calls cost."""

    def __init__(self, backend: Backend) -> None:
        self.revisions = Usage()
        self._backend = backend
        self.name, self.begins_turns = backend.name, backend.begins_turns
        self.measure, self.check, self.close = backend.measure, backend.check, backend.close

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        done = await self._backend.complete(prompts, sampling, watch)
        for prompt, completion in zip(prompts, done, strict=True):
            if prompt.prefix != OPENING:
                self.revisions += completion.usage
        return done


async def measure(questions: int = 3) -> dict[str, float]:
    backend, verifier = await load(Settings(model=SMALL, verifier_model=SMALL))
    engine, grader = Noting(backend), Grader()
    solver = Solver(engine, Batching(verifier), grader)
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines()[:questions]:
        turns = (Message("user", json.loads(line)["question"]),)
        strategy = StepCo(threshold=0.75, max_rounds=3)
        task = Task(
            Question(turns, Sampling(seed=0)), strategy, Budget(4096, None, 600_000), "none"
        )
        await solver.solve(task, lambda event: None)
    grader.close()
    await engine.close()
    spent = engine.revisions
    return {
        "revisions": spent.calls,
        "prompt_tokens": spent.prompt,
        "cached_tokens": spent.cached,
        "cached_share": round(spent.cached / max(spent.prompt, 1), 4),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))

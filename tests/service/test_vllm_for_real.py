"""StepCo on vLLM for real: the 0.5B as policy, the shipped verifier on the same weights.

`make vllm` runs it; the model is dequantised the first time.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from service.assembly import load
from service.engines.base import Message, Sampling
from service.events import Event
from service.ledger import Budget
from service.settings import Settings
from service.solver import Report, Solver, Task
from service.strategies import StepCo
from service.strategies.attempt import Question
from verifier.answers import Grader
from verifier.batching import Batching

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
SMALL = "qwen2.5-coder-0.5b"
CAUTIOUS = StepCo(threshold=0.9, max_rounds=2)


async def solved(question: str) -> tuple[Report, list[Event]]:
    settings = Settings(engine="vllm", model=SMALL, vllm_context=2048, vllm_cache=0.5)
    engine, verifier = await load(settings)
    solver, told = Solver(engine, Batching(verifier), Grader()), list[Event]()
    try:
        asked = Question((Message("user", question),), Sampling(0.7, 1.0, 256, seed=1))
        task = Task(asked, CAUTIOUS, Budget(4096, None, 600_000), "none")
        return await solver.solve(task, told.append), told
    finally:
        solver.grader.close()
        await solver.verifier.close()
        await engine.close()


def test_stepco_drafts_verifies_and_revises_from_the_kept_prefix() -> None:
    from prometheus_client import REGISTRY

    lines = (ROOT / "bench/data/gsm8k-20.jsonl").read_text(encoding="utf-8").splitlines()
    report, _ = asyncio.run(solved(json.loads(lines[0])["question"]))

    def counted(name: str) -> int:
        return int(REGISTRY.get_sample_value(name, labels()) or 0)

    def labels() -> dict[str, str]:
        (metric,) = (m for m in REGISTRY.collect() if m.name == "vllm:generation_tokens")
        return metric.samples[0].labels

    path = report.solution.path
    assert path.answer is not None
    assert path.steps
    assert all(step.score is not None for step in path.steps)
    drafts, *revisions = [call for call in report.calls if call.kind == "policy"]
    assert revisions, "nothing was in doubt, and nothing revised"
    for call in revisions:
        assert call.policy.cached > 0
    ledger, written = report.ledger, counted("vllm:generation_tokens_total")
    read, known = counted("vllm:prompt_tokens_total"), counted("vllm:prompt_tokens_cached_total")
    assert ledger.policy.completion + ledger.verifier.calls == written  # a reading writes a token
    assert ledger.computed == read - known + written
    assert drafts.policy.cached == 0

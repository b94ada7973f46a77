"""How much of a revision's prompt a replica of vLLM still has in its cache, and what a router costs.

The whole service's StepCo on GSM8K questions, policy and verifier on the same vLLM servers: one
alone; two behind vllm-router, which pins each solve to one; two behind it with turns taken. The
first and the last are what two replicas can at best and at worst come to.
Run: python -m bench.affinity, with `vllm` and `vllm-router` installed or on the PATH.
`--model FOLDER` takes a real model instead of a tiny one with random weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import httpx2

from bench._cluster import Server, cluster, routed
from bench.prefix import QUESTIONS, Noting
from service.engines.base import Message, Sampling
from service.engines.remote import RemoteEngine
from service.events import unheard
from service.ledger import Budget
from service.solver import Solver, Task
from service.strategies import StepCo
from service.strategies.attempt import Question
from verifier.answers import Grader
from verifier.batching import Batching
from verifier.judge import judge

SOLVES = 6
AT_ONCE = 4


async def shares(url: str, replicas: Sequence[Server]) -> dict[str, float]:
    """Solves through the server at `url`; cached / prompt tokens, and the work of each replica."""
    for replica in replicas:
        httpx2.post(f"{replica.url}/reset_prefix_cache", timeout=30).raise_for_status()
    before = [replica.counters() for replica in replicas]
    policy, grader = Noting(await RemoteEngine.connect(url)), Grader()
    checker = Batching(judge(await RemoteEngine.connect(url)))
    solver, slots = Solver(policy, checker, grader), asyncio.Semaphore(AT_ONCE)

    async def solve(seed: int, problem: str) -> None:
        question = Question((Message("user", problem),), Sampling(seed=seed, max_tokens=192))
        task = Task(question, StepCo(max_rounds=3), Budget(4096, None, 600_000), "none")
        async with slots:
            await solver.solve(task, unheard)

    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()[:SOLVES]
    await asyncio.gather(*(solve(*pair) for pair in enumerate(map(_problem, lines))))
    grader.close()
    await checker.close()
    await policy.close()
    spent = policy.revisions
    generated = [
        replica.counters()["vllm:generation_tokens_total"] - was["vllm:generation_tokens_total"]
        for replica, was in zip(replicas, before, strict=True)
    ]
    return {
        "revisions": spent.calls,
        "prompt_tokens": spent.prompt,
        "cached_tokens": spent.cached,
        "cached_share": round(spent.cached / max(spent.prompt, 1), 4),
        "busiest_replica": round(max(generated) / sum(generated), 3),
    }


def _problem(line: str) -> str:
    return str(json.loads(line)["question"])


def measure(model: Path | None = None) -> dict[str, dict[str, float]]:
    with cluster(2, model) as replicas:
        found = {"one": asyncio.run(shares(replicas[0].url, replicas[:1]))}
        for name, policy in (("two_pinned", "consistent_hash"), ("two_in_turns", "round_robin")):
            with routed(replicas, "--policy", policy) as router:
                found[name] = asyncio.run(shares(router.url, replicas))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="Folder of a model; default: a tiny random one.")
    print(json.dumps(measure(parser.parse_args().model)))

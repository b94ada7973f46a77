"""How much of a revision's prompt is cached in vLLM: one replica, two pinned, two in turns.

StepCo on GSM8K questions through the remote engine, on vLLM servers: one alone; two behind
vllm-router, which keeps each solve on one of them; two behind it that take turns. A step is found
weak by its text alone, one in four: what is measured is the policy's cache, not a verifier.
Run: python -m bench.affinity, with `vllm` and `vllm-router` beside this Python or on the PATH.
`--model FOLDER` takes a real model instead of a tiny one with random weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import httpx2

from bench._cluster import Server, cluster, routed
from bench.prefix import QUESTIONS, Noting
from service.engines.base import Message, Sampling
from service.engines.remote.engine import RemoteEngine
from service.events import unheard
from service.ledger import Budget
from service.solver import Solver, Task
from service.strategies import StepCo
from service.strategies.attempt import Question
from verifier.answers import Grader
from verifier.scoring import EVEN, Aggregate, Chain, Meter, Score, Verdict, unmetered

SOLVES = 8
AT_ONCE = 4


class Doubtful:
    """A verifier at no cost that finds one step in four weak, always the same ones."""

    name = "doubtful"
    threshold, heeds = EVEN, False
    aggregate: Aggregate = "last"

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        return [Verdict(tuple(_score(step) for step in chain.steps)) for chain in chains]

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return [0] * len(chains)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def _score(step: str) -> Score:
    odds = 0.2 if zlib.crc32(step.encode()) % 4 == 0 else 0.8
    return Score(odds, odds)


def measure(model: Path | None = None) -> dict[str, dict[str, float]]:
    with cluster(2, model) as replicas:
        found = {"one": asyncio.run(shares(replicas[0].url, replicas[:1]))}
        for name, policy in (("two_pinned", "consistent_hash"), ("two_in_turns", "round_robin")):
            with routed(replicas, "--policy", policy) as router:
                found[name] = asyncio.run(shares(router.url, replicas))
    return found


async def shares(url: str, replicas: Sequence[Server]) -> dict[str, float]:
    """Solves through the server at `url`: tokens of the revisions, and the busiest replica's share.

    The latter is of all calls; the replicas begin with nothing in their caches.
    """
    for replica in replicas:
        httpx2.post(f"{replica.url}/reset_prefix_cache", timeout=30).raise_for_status()
    before = [_calls(replica) for replica in replicas]
    spent = await _solve(url)
    calls = [_calls(each) - was for each, was in zip(replicas, before, strict=True)]
    return {
        "revisions": spent.revisions.calls,
        "prompt_tokens": spent.revisions.prompt,
        "cached_tokens": spent.revisions.cached,
        "cached_share": round(spent.revisions.cached / max(spent.revisions.prompt, 1), 4),
        "busiest_replica": round(max(calls) / sum(calls), 3),
    }


async def _solve(url: str) -> Noting:
    engine, grader = Noting(await RemoteEngine.connect(url)), Grader()
    solver, slots = Solver(engine, Doubtful(), grader), asyncio.Semaphore(AT_ONCE)

    async def solve(seed: int, line: str) -> None:
        turns = (Message("user", json.loads(line)["question"]),)
        question = Question(turns, Sampling(seed=seed, max_tokens=256))
        task = Task(question, StepCo(max_rounds=4), Budget(4096, None, 600_000), "none")
        async with slots:
            await solver.solve(task, unheard)

    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()[:SOLVES]
    await asyncio.gather(*(solve(*numbered) for numbered in enumerate(lines)))
    grader.close()
    await engine.close()
    return engine


def _calls(replica: Server) -> int:
    return replica.counters()["vllm:request_success_total"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="Folder of a model; default: a tiny random one.")
    print(json.dumps(measure(parser.parse_args().model)))

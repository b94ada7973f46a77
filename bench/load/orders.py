"""What one request of a mix is: drawn from the seed, the stage and its number, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.load.mix import Budget, Plan, Tenant, Work

T = TypeVar("T", Work, Budget)
SOLVE, CHAT = "/solve", "/v1/chat/completions"
STREAMS: dict[str, dict[str, Any]] = {
    SOLVE: {"stream": True},
    CHAT: {"stream": True, "stream_options": {"include_usage": True}},
}
INVALID = (
    b"{",
    b'{"problem": ""}',
    b'{"problem": "2 and 2?", "strategy": "guess"}',
    b'{"problem": "2 and 2?", "strategy": {"name": "best_of_n", "n": 1000000000}}',
    b'{"problem": "2 and 2?", "budget": {"max_tokens": 0}}',
    b'{"problem": "2 and 2?", "sampling": {"temperature": 1e999}}',
)


@dataclass(frozen=True, slots=True)
class Order:
    """`leaves` seconds after it was sent its caller leaves; one that `honours` asks once more."""

    number: int
    stage: int
    tenant: str
    strategy: str
    budget: int
    path: str
    streamed: bool
    valid: bool
    leaves: float | None
    honours: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class Orders:
    """Those of one stage."""

    plan: Plan
    questions: Sequence[str]
    stage: int

    def draw(self, number: int, tenant: str | None = None) -> Order:
        """Order of that number; of a tenant that is given, or of any by their shares."""
        plan, rng = self.plan, random.Random(f"{self.plan.seed}/{self.stage}/{number}")
        names = list(plan.tenants)
        name = tenant or rng.choices(names, [plan.tenants[each].share for each in names])[0]
        strategy = _one(plan.work, rng).strategy
        budget = self._budget(plan.tenants[name], rng)
        question, seed = rng.choice(self.questions), rng.randrange(2**31)
        path = CHAT if rng.random() < plan.openai else SOLVE
        streamed = rng.random() < plan.streamed
        valid = rng.random() >= plan.invalid
        leaves = rng.uniform(*plan.patience) if rng.random() < plan.cancelled else None
        honours = rng.random() < plan.honouring
        if valid:
            asking = _chat if path == CHAT else _solve
            asked = asking(strategy, question, budget, seed, int(1000 * plan.deadline))
            body = json.dumps(asked | (STREAMS[path] if streamed else {})).encode()
        else:
            path, streamed, body = SOLVE, False, rng.choice(INVALID)
        return Order(
            number, self.stage, name, strategy["name"], budget, path, streamed, valid, leaves,
            honours, body,
        )  # fmt: skip

    def _budget(self, tenant: Tenant, rng: random.Random) -> int:
        drawn = _one(self.plan.budgets, rng).max_tokens
        return tenant.max_tokens or drawn


def _one(parts: Sequence[T], rng: random.Random) -> T:
    return rng.choices(parts, [part.share for part in parts])[0]


def _solve(
    strategy: dict[str, Any], question: str, budget: int, seed: int, deadline: int
) -> dict[str, Any]:
    return {
        "problem": question,
        "strategy": strategy,
        "sampling": {"seed": seed},
        "budget": {"max_tokens": budget, "deadline_ms": deadline},
        "baseline": "none",
    }


def _chat(
    strategy: dict[str, Any], question: str, budget: int, seed: int, deadline: int
) -> dict[str, Any]:
    knobs = {name: value for name, value in strategy.items() if name != "name"}
    return {
        "model": f"surefoot-{strategy['name'].replace('_', '-')}",
        "messages": [{"role": "user", "content": question}],
        "max_completion_tokens": budget,
        "seed": seed,
        "surefoot": {
            "strategy": knobs,
            "budget": {"deadline_ms": deadline},
            "baseline": "none",
        },
    }

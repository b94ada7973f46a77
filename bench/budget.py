"""Two thousand random requests under random budgets: does any overrun, is any token lost?

All strategies with random knobs, budgets of 1 to 4096 tokens, a scripted engine whose paths have
random lengths, through POST /solve of a running server. Run: python -m bench.budget
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any

import httpx2
import uvicorn

from service.app import create_app
from service.engines.base import Prompt, Usage
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine

REQUESTS = 2000
AT_ONCE = 32


def ramble(prompt: Prompt, rng: random.Random) -> str:
    """Sums, half of them wrong, of any length; some paths end without an answer."""
    steps = [f"{a} + {b} = {a + b + rng.randrange(2)}." for a, b in _pairs(rng)]
    text = "\n".join(f"Step {k}: {step}" for k, step in enumerate(steps, 1))
    return text + (f"\nAnswer: \\boxed{{{rng.randrange(5)}}}" if rng.random() < 0.8 else "")


def _pairs(rng: random.Random) -> list[tuple[int, int]]:
    return [(rng.randrange(99), rng.randrange(99)) for _ in range(rng.randrange(1, 60))]


def request(rng: random.Random) -> dict[str, Any]:
    n = rng.choice((1, 2, 5, 16, 64))
    strategy = rng.choice(
        (
            {"name": "single"},
            {"name": "self_consistency", "n": n},
            {"name": "self_consistency", "n": n, "confidence": rng.choice((0.8, 0.95))},
            {"name": "best_of_n", "n": n, "select": rng.choice(("argmax", "weighted_vote"))},
            {"name": "stepco", "revise": rng.choice(("continue", "rewrite"))},
            {"name": "stepco", "max_rounds": 20, "stop": rng.choice(("accepted", "repeated"))},
            {"name": "stepco", "stream": True, "locate": rng.choice(("value", "both", "random"))},
            {"name": "adaptive", "max_paths": max(2, n), "candidates": rng.randint(1, 4)},
            {"name": "beam_search", "n": min(n, 16), "width": rng.choice((1, 2, 4))},
            {"name": "dvts", "n": min(n, 16), "width": rng.choice((1, 2, 4))},
            {"name": "particle_filter", "n": min(n, 16)},
        )
    )
    budget: dict[str, int] = {"max_tokens": rng.randint(1, 4096)}
    if rng.random() < 0.3:
        budget["max_compute_tokens"] = rng.randint(200, 8192)
    sampling = {"seed": rng.randrange(10**6), "max_tokens": rng.choice((16, 128, 512))}
    return {"problem": "Go on.", "strategy": strategy, "budget": budget, "sampling": sampling}


async def measure() -> dict[str, Any]:
    engine, rng = ScriptedEngine(ramble), random.Random(0)
    app = create_app(engine, ArithmeticVerifier())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    told, overruns, statuses, stops = Usage(), 0, Counter[int](), Counter[str]()
    waiting = iter([request(rng) for _ in range(REQUESTS)])

    async def one_client(client: httpx2.AsyncClient) -> None:
        nonlocal told, overruns
        for body in waiting:
            response = await client.post("/solve", json=body)
            statuses[response.status_code] += 1
            if response.status_code != httpx2.codes.OK:
                continue
            solved = response.json()
            usage = solved["usage"]
            told += Usage(**usage["policy"])
            stops[solved["stop_reason"]] += 1
            budget = body["budget"]
            overruns += usage["policy"]["completion"] > budget["max_tokens"]
            overruns += usage["total"] > budget.get("max_compute_tokens", float("inf"))

    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
        await asyncio.gather(*(one_client(client) for _ in range(AT_ONCE)))
    server.should_exit = True
    await serving
    return {
        "requests": REQUESTS,
        "statuses": {str(status): n for status, n in statuses.items()},
        "stop_reasons": dict(stops),
        "overruns": overruns,
        "ledger_tokens": told.completion,
        "engine_tokens": engine.spent.completion,
        "ledger_equals_engine": told == engine.spent,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))

"""SIGKILL of the engine, then of the verifier, in the middle of solves: does one hang, or lie?

The service as it is started, `remote`, in front of two processes that speak as vLLM does
(`bench._understudy`); half of the time it is set to `fail` without a verifier, else to `degrade`.
Clients ask for sums by all kinds of strategies, streamed and whole; in their midst one part is
killed, and after a while begun again on its port. A solve hangs that is not over a while after its
deadline. An answer is silently wrong that is `verified` and not the sum, or that is neither an
error nor flagged. The service has recovered when it is ready and a solve ends as if nothing were.
Run: python -m bench.deaths
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2

from bench._process import free_port, program

Part = Literal["engine", "verifier"]
Down = Literal["fail", "degrade"]

CLIENTS = 8
DELAY = 0.01  # seconds a token
DEADLINE, LATE = 10.0, 5.0  # seconds: that a solve has, and behind which it hangs
RECOVERS_WITHIN = 60.0
STRATEGIES: tuple[dict[str, Any], ...] = (
    {"name": "stepco"},
    {"name": "best_of_n", "n": 4},
    {"name": "self_consistency", "n": 4},
    {"name": "adaptive"},
    {"name": "single"},
)
LOST = ("engine_lost", "verifier_lost")
ERRORS = {"engine_error", "engine_unavailable", "verifier_unavailable", "deadline_exceeded"}


@dataclass(slots=True)
class Seen:
    """What became of the solves of one part's deaths."""

    outcomes: Counter[str] = field(default_factory=Counter)
    hung: int = 0
    wrong: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds that a solve took in which the part died."""
    recovered: list[float] = field(default_factory=list)
    """Seconds from the part's new beginning."""

    @property
    def told(self) -> dict[str, Any]:
        return {
            "deaths": len(self.recovered),
            "outcomes": dict(self.outcomes),
            "hung": self.hung,
            "silently_wrong": len(self.wrong),
            "slowest_solve_s": round(self.slowest, 2),
            "recovered_after_s_max": round(max(self.recovered), 2),
        }


@dataclass(slots=True)
class Stage:
    """The service and its two parts, each a process on a port of its own."""

    url: str
    ports: dict[Part, int]
    parts: dict[Part, ExitStack]

    def begin(self, part: Part) -> None:
        self.parts[part] = ExitStack()
        self.parts[part].enter_context(
            program("bench._understudy", str(self.ports[part]), str(DELAY))
        )

    def end(self, part: Part) -> None:
        """Kill it: it has no other end."""
        self.parts[part].close()


def staged(stack: ExitStack, down: Down) -> Stage:
    stage = Stage("", {"engine": free_port(), "verifier": free_port()}, {})
    for part in stage.ports:
        stage.begin(part)
        stack.callback(stage.end, part)
    for part in stage.ports:
        await_part(stage.ports[part])
    variables = (
        "SUREFOOT_TRACES=off",
        "SUREFOOT_VERIFIER=judge",
        f"SUREFOOT_VERIFIER_URL=http://127.0.0.1:{stage.ports['verifier']}",
        f"SUREFOOT_ENGINE_URL=http://127.0.0.1:{stage.ports['engine']}",
        f"SUREFOOT_VERIFIER_DOWN={down}",
    )
    served = program("service", "--engine", "remote", "--port", "0", variables=variables)
    stage.url = stack.enter_context(served)[1]
    return stage


def await_part(port: int) -> None:
    until = time.monotonic() + RECOVERS_WITHIN
    while time.monotonic() < until:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/v1/models")
            return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the understudy did not start")


async def ask(client: httpx2.AsyncClient, rng: random.Random, seen: Seen) -> bool:
    """One solve, taken down; whether it ended as if no part had died."""
    numbers = [rng.randrange(100) for _ in range(rng.randrange(3, 12))]
    body = {
        "problem": f"What is {' and '.join(map(str, numbers))}?",
        "strategy": rng.choice(STRATEGIES),
        "budget": {"deadline_ms": int(1000 * DEADLINE)},
        "stream": rng.random() < 0.5,
    }
    began = time.monotonic()
    try:
        async with asyncio.timeout(DEADLINE + LATE):
            solved = await answer(client, body)
    except TimeoutError:
        seen.hung += 1
        return False
    seen.slowest = max(seen.slowest, time.monotonic() - began)
    return judge(solved, str(sum(numbers)), seen)


async def answer(client: httpx2.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """The last that is said, whole or streamed."""
    async with client.stream("POST", "/solve", json=body) as response:
        if not (response.is_success and body["stream"]):
            return dict(json.loads(await response.aread()))
        said = [event.data async for event in httpx2.EventSource(response) if event.data]
    return dict(json.loads(said[-1]))


def judge(solved: dict[str, Any], right: str, seen: Seen) -> bool:
    error = solved.get("error")
    if error:
        seen.outcomes[error["code"]] += 1
        if error["code"] not in ERRORS:
            seen.wrong.append(solved)
        return False
    if "stop_reason" not in solved:  # a stream that has no last event
        seen.outcomes["cut off"] += 1
        seen.wrong.append(solved)
        return False
    verified: bool = solved["verified"]
    seen.outcomes[f"{'verified' if verified else 'unverified'}: {solved['stop_reason']}"] += 1
    if verified and solved["answer"] != right:
        seen.wrong.append(solved)
    if solved["stop_reason"] in LOST and not solved["warnings"]:
        seen.wrong.append(solved)
    return solved["stop_reason"] not in LOST


async def die(stage: Stage, part: Part, rng: random.Random, seen: Seen) -> None:
    """Kill the part while clients ask, begin it again, and wait until all is as it was."""
    async with httpx2.AsyncClient(base_url=stage.url, timeout=None) as client:
        alive = asyncio.Event()

        async def asking(number: int) -> None:
            own = random.Random(number)
            while not alive.is_set():
                await ask(client, own, seen)
                await asyncio.sleep(0.1)

        clients = [asyncio.ensure_future(asking(rng.randrange(10**6))) for _ in range(CLIENTS)]
        await asyncio.sleep(rng.uniform(0.3, 2.0))
        await asyncio.to_thread(stage.end, part)
        await asyncio.sleep(rng.uniform(0.2, 1.5))
        await asyncio.to_thread(stage.begin, part)
        await asyncio.to_thread(await_part, stage.ports[part])
        began = time.monotonic()
        while not (await ready(client) and await ask(client, rng, seen)):
            if time.monotonic() - began > RECOVERS_WITHIN:
                raise RuntimeError(f"the service did not recover from the death of its {part}")
        seen.recovered.append(time.monotonic() - began)
        alive.set()
        await asyncio.gather(*clients)


async def ready(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/ready")).is_success


def measure(times: int) -> dict[str, Any]:
    rng = random.Random(5)
    seen: dict[Part, Seen] = {"engine": Seen(), "verifier": Seen()}
    downs: tuple[Down, ...] = ("fail", "degrade")
    for number, down in enumerate(downs):
        with ExitStack() as stack:
            stage = staged(stack, down)
            for part in stage.ports:
                for _ in range(times // 2 + number * (times % 2)):
                    asyncio.run(die(stage, part, rng, seen[part]))
    return {part: each.told for part, each in seen.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="Of each part.")
    print(json.dumps(measure(parser.parse_args().times)))

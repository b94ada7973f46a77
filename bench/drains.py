"""SIGTERM in the middle of everything, again and again: is a stream cut off, is the end in time?

A real `surefoot serve` with the scripted engine, and clients that ask without a pause, streamed and
whole, by every route, solves of which some are longer than the grace. At a random moment it is told
to end. A stream is truncated that began and has no proper last event; an answer is lost of which
less came than was announced. Who is refused in the envelope, or finds the port closed, has lost
nothing. Run: python -m bench.drains
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from bench._process import Started, program

GRACE = 3.0  # seconds
CLIENTS = 24
VARIABLES = (
    "SUREFOOT_TRACES=off",
    "SUREFOOT_SCRIPTED_DELAY=0.01",
    f"SUREFOOT_GRACE={GRACE}",
    "SUREFOOT_CONCURRENCY=16",
)
LAST = {
    "/solve": ("done", "error"),
    "/v1/responses": ("response.completed", "response.incomplete", "response.failed", "error"),
}
STRATEGIES = ("stepco", "best_of_n", "single", "adaptive")


@dataclass(slots=True)
class Seen:
    """What became of the requests of one run, and how it ended."""

    outcomes: Counter[str] = field(default_factory=Counter)
    code: int | None = None
    seconds: float = 0.0


def request(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A sum of any length: from a tenth of a second to ten of them."""
    numbers = " and ".join(str(rng.randrange(100)) for _ in range(rng.randrange(2, 120)))
    problem, strategy = f"What is {numbers}?", rng.choice(STRATEGIES)
    model = f"surefoot-{strategy.replace('_', '-')}"
    body: dict[str, Any]
    match rng.choice(("/solve", "/v1/chat/completions", "/v1/responses")):
        case "/solve" as path:
            body = {"problem": problem, "strategy": strategy}
        case "/v1/responses" as path:
            body = {"model": model, "input": problem}
        case path:
            body = {"model": model, "messages": [{"role": "user", "content": problem}]}
    return path, body | {"stream": rng.random() < 0.5}


async def ask(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> str:
    """What became of one request, in a word."""
    began = False
    try:
        async with client.stream("POST", path, json=body) as response:
            if not response.is_success:
                return str(json.loads(await response.aread())["error"]["code"])
            began = True
            if not body["stream"]:
                json.loads(await response.aread())
                return "whole"
            return "ended" if await ends(response, path) else "truncated"
    except httpx2.ConnectError:
        return "closed"
    except (httpx2.TransportError, json.JSONDecodeError):
        return ("truncated" if body["stream"] else "lost") if began else "unanswered"


async def ends(response: httpx2.Response, path: str) -> bool:
    last = ""
    async for event in httpx2.EventSource(response):
        last = event.event if path in LAST else event.data or last
    if path in LAST:
        return last in LAST[path]
    return last == "[DONE]" or last.startswith('{"error":')


async def client(url: str, rng: random.Random, outcomes: Counter[str]) -> None:
    """Asks until nobody is there any more."""
    async with httpx2.AsyncClient(base_url=url, timeout=60) as connection:
        became = ""
        while became != "closed":
            became = await ask(connection, *request(rng))
            outcomes[became] += 1
            if became == "shutting_down":
                await asyncio.sleep(0.2)


async def drain(started: Started, rng: random.Random) -> Seen:
    """One service, told to end while it is busy."""
    process, url = started
    seen = Seen()
    asking = [
        asyncio.ensure_future(client(url, random.Random(rng.random()), seen.outcomes))
        for _ in range(CLIENTS)
    ]
    await asyncio.sleep(rng.uniform(0.5, 4.0))
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 10 * GRACE:
        await asyncio.sleep(0.01)
    seen.seconds, seen.code = time.monotonic() - began, process.poll()
    await asyncio.gather(*asking)
    return seen


def measure(times: int) -> dict[str, Any]:
    rng, runs = random.Random(3), list[Seen]()
    for _ in range(times):
        with program("service", "--engine", "scripted", "--port", "0", variables=VARIABLES) as it:
            runs.append(asyncio.run(drain(it, rng)))
    outcomes = sum((run.outcomes for run in runs), Counter[str]())
    return {
        "terminated": times,
        "outcomes": dict(outcomes),
        "truncated": outcomes["truncated"] + outcomes["lost"],
        "exit_codes": dict(Counter(run.code for run in runs)),
        "grace_s": GRACE,
        "exit_after_s_max": round(max(run.seconds for run in runs), 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    print(json.dumps(measure(parser.parse_args().times)))

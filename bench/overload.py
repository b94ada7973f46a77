"""More asked than can be done, three times over; and a tenant that asks ten times as often.

The scripted engine at 40 ms a token, 16 solves at once, requests in Poisson arrivals that do not
wait for answers. Told are how long refusals take, how long answers take beside those of an idle
service, and who got how much. Times are ratios of one run as far as they can be.
Run: python -m bench.overload
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import uvicorn

from service.app import create_app
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.keyring import create
from service.settings import Settings

AT_ONCE, TOKENS, DELAY = 16, 30, 0.04  # a solve takes 1.2 seconds: thirteen a second can be done
CAPACITY = AT_ONCE / (TOKENS * DELAY)
WEIGHTS = {"one": 1.0, "other": 1.0, "double": 2.0, "polite": 1.0, "greedy": 1.0}
BODY = {"problem": "Go on.", "strategy": "single", "baseline": "none"}


@dataclass(frozen=True, slots=True)
class Outcome:
    tenant: str
    status: int
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Callers:
    """All tenants, each with its key."""

    client: httpx2.AsyncClient
    keys: Mapping[str, str]


@contextmanager
def serving(queue_tokens: int) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The service in a thread of its own; yields its URL and its tenants' keys."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        keys = {name: create(file, name, {"weight": weight}) for name, weight in WEIGHTS.items()}
        settings = Settings(concurrency=AT_ONCE, queue_tokens=queue_tokens, keys=str(file))
        with started(settings) as url:
            yield url, keys


@contextmanager
def started(settings: Settings) -> Iterator[str]:
    engine = ScriptedEngine(lambda *_: " w" * (TOKENS - 4) + "\nAnswer: 1", delay=DELAY)
    app = create_app(engine, ArithmeticVerifier(), settings=settings)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@asynccontextmanager
async def asking(served: tuple[str, Mapping[str, str]]) -> AsyncIterator[Callers]:
    url, keys = served
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        yield Callers(client, keys)


async def ask(callers: Callers, tenant: str) -> Outcome:
    began, headers = time.perf_counter(), {"Authorization": f"Bearer {callers.keys[tenant]}"}
    response = await callers.client.post("/solve", json=BODY, headers=headers)
    seconds = time.perf_counter() - began
    solved = response.status_code == 200
    tokens = response.json()["usage"]["total"] if solved else 0
    return Outcome(tenant, response.status_code, seconds, tokens)


async def arrivals(callers: Callers, tenant: str, rate: float, seconds: float) -> list[Outcome]:
    """Requests that come whatever became of those before, so many a second."""
    rng, end, asked = random.Random(tenant), time.monotonic() + seconds, list[Any]()
    while time.monotonic() < end:
        asked.append(asyncio.ensure_future(ask(callers, tenant)))
        await asyncio.sleep(rng.expovariate(rate))
    return list(await asyncio.gather(*asked))


async def backlogged(callers: Callers, tenant: str, end: float) -> int:
    """Tokens served to a tenant of which twenty requests always wait or run."""
    served = 0

    async def again() -> None:
        nonlocal served
        while time.monotonic() < end:
            outcome = await ask(callers, tenant)
            served += outcome.tokens if time.monotonic() < end else 0

    await asyncio.gather(*(again() for _ in range(20)))
    return served


def p99(outcomes: Sequence[Outcome]) -> float:
    ordered = sorted(each.seconds for each in outcomes)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def answered(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.status == 200]


async def flooded(seconds: float) -> dict[str, Any]:
    """Three times what can be done, and a queue for four."""
    with serving(queue_tokens=4 * (TOKENS + 45)) as served:
        async with asking(served) as callers:
            alone = [await ask(callers, "one") for _ in range(10)]
            outcomes = await arrivals(callers, "one", 3 * CAPACITY, seconds)
    refused = [each for each in outcomes if each.status == 429]
    return {
        "asked": len(outcomes),
        "outcomes": dict(Counter(each.status for each in outcomes)),
        "refused_p99_ms": round(1000 * p99(refused), 1),
        "answered_p99_ratio": round(p99(answered(outcomes)) / p99(alone), 2),
    }


async def outnumbered(seconds: float) -> dict[str, Any]:
    """A polite tenant alone, and then beside one that asks ten times as often."""
    rate = 0.25 * CAPACITY
    with serving(queue_tokens=80 * TOKENS) as served:
        async with asking(served) as callers:
            alone = await arrivals(callers, "polite", rate, seconds)
            polite, greedy = await asyncio.gather(
                arrivals(callers, "polite", rate, seconds),
                arrivals(callers, "greedy", 10 * rate, seconds),
            )
    return {
        "polite": dict(Counter(each.status for each in polite)),
        "greedy": dict(Counter(each.status for each in greedy)),
        "polite_p99_ratio": round(p99(answered(polite)) / p99(answered(alone)), 2),
    }


async def shared(seconds: float) -> dict[str, Any]:
    """Three tenants that always have more to ask."""
    names = ("one", "other", "double")
    with serving(queue_tokens=10**6) as place:
        async with asking(place) as callers:
            end = time.monotonic() + seconds
            served = await asyncio.gather(*(backlogged(callers, name, end) for name in names))
    shares = [tokens / WEIGHTS[name] for name, tokens in zip(names, served, strict=True)]
    jain = sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))
    return {
        "served": dict(zip(names, served, strict=True)),
        "least_to_most": round(min(shares) / max(shares), 3),
        "jain": round(jain, 4),
    }


async def measure(seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "flooded": await flooded(seconds),
        "outnumbered": await outnumbered(seconds),
        "shared": await shared(seconds),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="Of each of the three.")
    print(json.dumps(asyncio.run(measure(parser.parse_args().seconds))))

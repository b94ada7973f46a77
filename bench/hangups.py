"""Clients that are killed at random moments of a solve, with llama.cpp and the 0.5B as the engine.

Each asks a GSM8K question, by a random route, strategy and way of answering, and its connection
ends as the kernel ends that of a killed process: closed or reset. Told is how long the engine
computes on, by the clock and, for a machine that has more to do, in processor time over threads. It
is idle when llama.cpp itself says that it processes and defers nothing (`requests_processing`,
`requests_deferred`), and nobody is in the service any more. At the end the tokens that llama.cpp
counts are held against those of the kept solves, and the tenant's quota against what was generated:
a reservation that was not given back would show in it.
Run: python -m bench.hangups
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import uvicorn
from pydantic import SecretStr

from service.app import create_app
from service.assembly import load, load_keeper
from service.engines.llamacpp.engine import LlamaCppEngine
from service.reception import reception
from service.settings import Settings

QUESTIONS = Path(__file__).with_name("data") / "gsm8k-20.jsonl"
SMALL = "qwen2.5-coder-0.5b"
QUOTA, BUDGET = 10**9, 1024  # tokens
LATEST = 6.0  # seconds after which a client is killed at the latest
IDLE_WITHIN = 30.0  # seconds after which it is called hung
STRATEGIES: tuple[dict[str, Any], ...] = (
    {"name": "single"},
    {"name": "stepco", "threshold": 0.75},
    {"name": "best_of_n", "n": 4},
    {"name": "adaptive"},
)


@dataclass(slots=True)
class Served:
    """The service, and llama.cpp behind it."""

    client: httpx2.AsyncClient
    port: int
    engine: LlamaCppEngine

    async def engine_says(self) -> dict[str, int]:
        text = (await self.engine.server.http.get("/metrics")).text
        found = re.findall(r"^llamacpp:(\w+) (\d+)", text, re.MULTILINE)
        return {name: int(value) for name, value in found}

    async def left(self) -> bool:
        """Whether nobody is in the service."""
        text = (await self.client.get("/metrics")).text
        return re.search(r"^surefoot_inflight 0", text, re.MULTILINE) is not None

    async def idle(self) -> bool:
        if not await self.left():
            return False
        says = await self.engine_says()
        return says["requests_processing"] == says["requests_deferred"] == 0


@dataclass(slots=True)
class Killed:
    """What was seen of the kills."""

    seconds: list[float] = field(default_factory=list)
    """From the kill until the engine was idle."""
    computed: list[float] = field(default_factory=list)
    """Of these, what a thread computed."""
    hung: int = 0
    too_late: int = 0
    """Solves that had ended before their client was killed."""


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    settings = Settings(
        model=SMALL,
        verifier_model=SMALL,
        tokens_per_day=QUOTA,
        traces=SecretStr("sqlite://"),
    )
    engine, verifier = await load(settings)
    assert isinstance(engine, LlamaCppEngine)
    app = create_app(engine, verifier, load_keeper(settings), settings)
    server = uvicorn.Server(reception(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        going = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        # a connection that is kept may be closed just as it is used again
        fresh = httpx2.Limits(max_keepalive_connections=0)
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=120, limits=fresh) as client:
            yield Served(client, port, engine)
        server.should_exit = True
        await going


def request(rng: random.Random, question: str) -> bytes:
    strategy = rng.choice(STRATEGIES)
    sampling = {"max_tokens": 256, "seed": rng.randrange(10**6)}
    own: dict[str, Any] = {"budget": {"max_tokens": BUDGET}, "baseline": "none"}
    path, body = "/solve", own | {"problem": question, "strategy": strategy, "sampling": sampling}
    if rng.random() < 0.5:
        knobs = {name: value for name, value in strategy.items() if name != "name"}
        path = "/v1/chat/completions"
        body = {
            "model": f"surefoot-{strategy['name'].replace('_', '-')}",
            "messages": [{"role": "user", "content": question}],
            "max_completion_tokens": BUDGET,
            "surefoot": {"strategy": knobs},
        }
    content = json.dumps(body | {"stream": rng.random() < 0.5}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def hang_up(served: Served, rng: random.Random, content: bytes) -> bool:
    """Ask, and be killed at some moment; whether the answer was still under way."""
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    line: socket.socket = writer.get_extra_info("socket")
    if rng.random() < 0.5:  # what is closed so is reset
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.write(content)
    await asyncio.sleep(rng.uniform(0.02, LATEST))
    running = not await served.left()
    writer.transport.abort()
    return running


async def kill(served: Served, rng: random.Random, question: str, killed: Killed) -> None:
    killed.too_late += not await hang_up(served, rng, request(rng, question))
    began, computed = time.perf_counter(), time.process_time()
    while not await served.idle():
        if time.perf_counter() - began > IDLE_WITHIN:
            killed.hung += 1
            break
        await asyncio.sleep(0.02)
    killed.seconds.append(time.perf_counter() - began)
    killed.computed.append((time.process_time() - computed) / Settings().threads)


async def ledgers(served: Served) -> list[dict[str, Any]]:
    """What the kept solves say they spent."""
    exported = await served.client.get("/v1/traces/export")
    return [json.loads(line) for line in exported.text.splitlines()]


async def unreturned(served: Served, generated: int) -> int:
    """Tokens of the quota that are neither generated nor free."""
    body = {"problem": "1 + 1?", "strategy": "single", "budget": {"max_tokens": BUDGET}}
    response = await served.client.post("/solve", json=body)
    return QUOTA - int(response.headers["x-ratelimit-remaining-tokens"]) - BUDGET - generated


def spread(seconds: list[float]) -> dict[str, float]:
    return {"p50": round(median(seconds), 3), "max": round(max(seconds), 3)}


async def measure(kills: int) -> dict[str, Any]:
    rng, killed = random.Random(7), Killed()
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines]
    async with serving() as served:
        before = await served.engine_says()
        for _ in range(kills):
            await kill(served, rng, rng.choice(questions), killed)
        after = await served.engine_says()
        kept = await ledgers(served)
        written = sum(each["usage"]["policy"]["completion"] for each in kept)
        read = sum(each["usage"]["verifier"]["calls"] for each in kept)
        left = await unreturned(served, written)
    counted = after["tokens_predicted_total"] - before["tokens_predicted_total"]
    return {
        "kills": kills,
        "solves": dict(Counter(each["outcome"] for each in kept)),
        "phases_without_a_call": sum(not each["calls"] for each in kept),
        "had_ended": killed.too_late,
        "idle_after_s": spread(killed.seconds),
        "computed_on_s": spread(killed.computed),
        "over_a_second": sum(seconds > 1 for seconds in killed.seconds),
        "hung": killed.hung,
        "tokens_reserved_yet": left,
        "tokens_in_ledgers": written + read,
        "tokens_of_the_engine": counted,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    print(json.dumps(asyncio.run(measure(parser.parse_args().kills))))

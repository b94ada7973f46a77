"""How soon a streamed chat completion begins, and whether its tokens come as they are generated.

Scripted engine, server and client in a process each. First the time to the first streamed byte
with an engine at zero latency; then an engine that writes a token each 20 ms, and the delays
between the chunks as they arrive: buffered tokens would arrive at once. Run:
python -m bench.first_byte
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import statistics
import time
from itertools import pairwise
from multiprocessing.connection import Connection

import httpx2
import uvicorn

from service.app import create_app
from service.engines.base import Prompt
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine

DELAY = 0.02  # seconds a token
TOKENS = 60
BODY = {
    "model": "surefoot-single",
    "messages": [{"role": "user", "content": "What is 3 and 4 and 5 and 6?"}],
    "stream": True,
}


def words(_: Prompt, __: random.Random) -> str:
    return " word" * TOKENS


def serve(started: Connection, delay: float) -> None:
    engine = ScriptedEngine(words if delay else None, delay)
    server = uvicorn.Server(
        uvicorn.Config(create_app(engine, ArithmeticVerifier()), port=0, log_level="error")
    )

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        started.send(server.servers[0].sockets[0].getsockname()[1])
        await serving

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main())


def first_byte(client: httpx2.Client) -> float:
    """Seconds from the request to the first byte of its first chunk."""
    began = time.perf_counter()
    with client.stream("POST", "/v1/chat/completions", json=BODY) as response:
        chunks = response.iter_raw()
        next(chunks)
        took = time.perf_counter() - began
        for _ in chunks:  # to the end, so that the connection is used again
            pass
    return took


def arrivals(client: httpx2.Client) -> list[float]:
    """When each chunk that holds a token came."""
    with client.stream("POST", "/v1/chat/completions", json=BODY) as response:
        return [
            time.perf_counter()
            for event in httpx2.EventSource(response)
            if '"reasoning":' in event.data and "word" in event.data
        ]


def measured(delay: float) -> dict[str, float]:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, delay))
    server.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}"
        with httpx2.Client(base_url=url, timeout=60) as client:
            return between_tokens(client) if delay else to_first_byte(client)
    finally:
        server.terminate()
        server.join()


def to_first_byte(client: httpx2.Client, times: int = 200) -> dict[str, float]:
    for _ in range(20):
        first_byte(client)
    took = [1000 * first_byte(client) for _ in range(times)]
    return {
        "first_byte_p50_ms": round(statistics.median(took), 2),
        "first_byte_p99_ms": round(statistics.quantiles(took, n=100)[98], 2),
    }


def between_tokens(client: httpx2.Client) -> dict[str, float]:
    times = arrivals(client)
    gaps = [1000 * (after - before) for before, after in pairwise(times)]
    return {
        "engine_ms_a_token": 1000 * DELAY,
        "between_tokens_p50_ms": round(statistics.median(gaps), 2),
        "between_tokens_max_ms": round(max(gaps), 2),
        "tokens": len(times),
        "chunks_that_came_together": sum(gap < 1 for gap in gaps),
    }


def main() -> None:
    print(json.dumps(measured(0) | measured(DELAY)))


if __name__ == "__main__":
    main()

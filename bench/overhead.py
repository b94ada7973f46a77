"""What the service itself costs: scripted engine and verifier that take no time.

One StepCo solve of two rounds, over HTTP on loopback, server and client in a process each:
latency one at a time, and solves a second at 64 clients; with every solve kept in SQLite, and with
none kept. All is counted, and of every request a line is logged, to nowhere.
Run: python -m bench.overhead
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import uvicorn
from pydantic import SecretStr

from service import logs
from service.app import create_app
from service.assembly import load_keeper
from service.engines.base import Prompt
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.settings import Settings

BODY = {"problem": "What is 3 and 4 and 5 and 6?", "strategy": "stepco"}
CLIENTS = 64
NOWHERE = Path(os.devnull)


def slip_once(prompt: Prompt, _: random.Random) -> str:
    """A draft with a slip at its third step, and a revision without."""
    if prompt.prefix.endswith("Step 3:"):
        return " 7 + 5 = 12.\nStep 4: 12 + 6 = 18.\nAnswer: \\boxed{18}"
    return (
        " 0 + 3 = 3.\nStep 2: 3 + 4 = 7.\nStep 3: 7 + 5 = 13.\n"
        "Step 4: 13 + 6 = 19.\nAnswer: \\boxed{19}"
    )


def serve(started: Connection, traces: str) -> None:
    keeper = load_keeper(Settings(traces=SecretStr(traces)))
    app = create_app(ScriptedEngine(slip_once), ArithmeticVerifier(), keeper)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        started.send(server.servers[0].sockets[0].getsockname()[1])
        await serving

    factory = server.config.get_loop_factory()
    with NOWHERE.open("w") as nowhere, asyncio.Runner(loop_factory=factory) as runner:
        logs.configure("info", content=False, stream=nowhere)
        runner.run(main())


async def solve(client: httpx2.AsyncClient) -> float:
    began = time.perf_counter()
    response = await client.post("/solve", json=BODY)
    took = time.perf_counter() - began
    solved = response.raise_for_status().json()
    assert (solved["answer"], len(solved["rounds"])) == ("18", 2), solved
    return took


async def measure(url: str, alone: int = 300, together: int = 3000) -> dict[str, float]:
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        for _ in range(30):
            await solve(client)
        latencies = [await solve(client) for _ in range(alone)]
        left = iter(range(together))

        async def one_client() -> None:
            for _ in left:
                await solve(client)

        began = time.perf_counter()
        await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
        seconds = time.perf_counter() - began
    return {
        "p50_ms": round(1000 * statistics.median(latencies), 2),
        "p99_ms": round(1000 * statistics.quantiles(latencies, n=100)[98], 2),
        "solves_per_second": round(together / seconds, 1),
        "clients": CLIENTS,
    }


def served(traces: str) -> dict[str, float]:
    """What is measured of a service that keeps its traces there."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, traces))
    server.start()
    try:
        return asyncio.run(measure(f"http://127.0.0.1:{ours.recv()}"))
    finally:
        server.terminate()
        server.join()


def main() -> None:
    with TemporaryDirectory() as folder:
        kept = served(f"sqlite:///{folder}/traces.db")
    print(json.dumps({"traces_off": served("off"), "traces_in_sqlite": kept}))


if __name__ == "__main__":
    main()

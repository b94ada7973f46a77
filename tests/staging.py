"""What tests share: a real server in a thread, a script of fixed texts, stated scores."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx2
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.engines.base import Backend, Prompt
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from verifier.scoring import Chain, Cost, Score, Verdict, VerifierBackend


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The app on a real server in a thread; yields its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def service(
    engine: Backend | None = None, verifier: VerifierBackend | None = None
) -> Iterator[httpx2.Client]:
    """A client of the whole service around an engine and a verifier."""
    app = create_app(engine or ScriptedEngine(), verifier or ArithmeticVerifier())
    with running(app) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


class Playback:
    """A script that plays its texts in order, whatever the prompt; it keeps the prompts."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.prompts: list[Prompt] = []

    def __call__(self, prompt: Prompt, _: random.Random) -> str:
        self.prompts.append(prompt)
        return self.texts[len(self.prompts) - 1]


class StatedVerifier:
    """Gives a step the score that its text states in brackets, "(0.2)"; 0.9 where there is none."""

    name = "stated"

    async def score(self, chains: Sequence[Chain]) -> list[Verdict]:
        return [
            Verdict(tuple(_stated(step) for step in chain.steps), Cost(10 * len(chain.steps), 1))
            for chain in chains
        ]

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return [10 * len(chain.steps) for chain in chains]

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def _stated(step: str) -> Score:
    found = re.search(r"\((\d\.\d+)\)", step)
    probability = float(found[1]) if found else 0.9
    return Score(probability, probability)

"""The engine is another process, and dies: killed, stopped, cut off, and back on its port."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from staging import KEEPS_NONE, service, serving

from service.engines.remote.engine import RemoteEngine
from service.engines.remote.server import Server
from service.engines.scripted import ArithmeticVerifier

SUM = "What is 3 and 4 and 5 and 6?"
SLOW = (KEEPS_NONE, "SUREFOOT_SCRIPTED_DELAY=0.2")
FAST = (KEEPS_NONE,)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@contextmanager
def engine_at(port: str, variables: tuple[str, ...]) -> Iterator[Any]:
    """A service of ours stands for an engine: it speaks OpenAI's API, and is a process."""
    with serving("--engine", "scripted", "--port", port, variables=variables) as (process, url):
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            try:
                httpx2.get(f"{url}/ready")
                break
            except httpx2.ConnectError:
                time.sleep(0.05)
        yield process


def ask(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/solve", json={"problem": SUM, "strategy": "single"} | body)


def connected(port: str) -> RemoteEngine:
    server = Server(f"http://127.0.0.1:{port}", "surefoot-single", None, 60)
    return RemoteEngine(server, 8, together=16)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_dies_is_an_error_or_a_flagged_answer_and_back_again_it_is_used(
    sent: signal.Signals,
) -> None:
    port = free_port()
    with (
        engine_at(port, SLOW) as process,
        ThreadPoolExecutor(1) as pool,
        service(connected(port), ArithmeticVerifier()) as client,
    ):
        asked = pool.submit(ask, client, budget={"deadline_ms": 4000})
        time.sleep(1)
        process.send_signal(sent)
        began = time.monotonic()
        lost = asked.result()
        took = time.monotonic() - began
        ready = client.get("/ready")
        process.kill()
        process.wait()
        with engine_at(port, FAST):
            again = ask(client)

    assert took < 5
    if lost.status_code == 200:
        assert (lost.json()["verified"], lost.json()["stop_reason"]) == (False, "deadline")
    else:
        assert lost.status_code in (502, 503, 504)
        assert lost.json()["error"]["code"] in (
            "engine_error",
            "engine_unavailable",
            "deadline_exceeded",
        )
    assert ready.status_code == 503
    assert (again.status_code, again.json()["verified"]) == (200, again.json()["answer"] == "18")

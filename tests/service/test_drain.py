"""The service's end: nobody is let in, what runs may finish, nothing is cut off."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from staging import KEEPS_NONE, SUREFOOT, serving

SUM = "What is 3 and 4 and 5 and 6?"
LONG = " and ".join(map(str, range(1, 40)))


def stream(url: str, path: str = "/solve", **body: Any) -> list[tuple[str, str]]:
    """The events of a stream, whatever came; one that breaks off raises."""
    with (
        httpx2.Client(timeout=30) as client,
        client.stream("POST", url + path, json=body | {"stream": True}) as response,
    ):
        return [(e.event, e.data) for e in httpx2.EventSource(response) if e.data]


def begun(url: str, pool: ThreadPoolExecutor, count: int, **body: Any) -> list[Future[Any]]:
    going = [pool.submit(stream, url, **body) for _ in range(count)]
    time.sleep(0.7)
    return going


def terminate(process: Any, url: str) -> httpx2.Response:
    """The signal, and what `/ready` says behind it."""
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    return httpx2.get(f"{url}/ready")


def test_what_runs_is_finished_and_nobody_else_is_let_in() -> None:
    slow = (KEEPS_NONE, "SUREFOOT_SCRIPTED_DELAY=0.015")
    with (
        serving("--engine", "scripted", variables=slow) as (process, url),
        ThreadPoolExecutor() as pool,
    ):
        going = begun(url, pool, 4, problem=LONG, strategy="single")
        ready = terminate(process, url)
        late = httpx2.post(f"{url}/solve", json={"problem": SUM})
        alive = httpx2.get(f"{url}/health")
        ends = [events.result()[-1] for events in going]
        code = process.wait(timeout=10)

    for refused in (ready, late):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert "retry-after" in refused.headers
    assert alive.status_code == 200
    assert {"done"} == {name for name, _ in ends}
    assert {"sampled"} == {json.loads(data)["stop_reason"] for _, data in ends}
    assert code == 0


def test_when_the_grace_is_over_what_runs_ends_with_its_best_path_and_a_proper_last_event() -> None:
    slow = (KEEPS_NONE, "SUREFOOT_SCRIPTED_DELAY=0.05", "SUREFOOT_GRACE=2")
    with (
        serving("--engine", "scripted", variables=slow) as (process, url),
        ThreadPoolExecutor() as pool,
    ):
        solves = begun(url, pool, 3, problem=LONG)
        turns = [{"role": "user", "content": LONG}]
        chat = begun(
            url, pool, 1, path="/v1/chat/completions", model="surefoot-stepco", messages=turns
        )
        began = time.monotonic()
        assert terminate(process, url).status_code == 503
        ends = [json.loads(events.result()[-1][1]) for events in solves]
        *_, said, done = [data for _, data in chat[0].result()]
        code = process.wait(timeout=10)
        took = time.monotonic() - began

    for end in ends:
        assert (end["stop_reason"], end["verified"]) == ("shutdown", False)
        assert end["steps"]
    assert done == "[DONE]"
    assert json.loads(said)["choices"][0]["finish_reason"] == "length"
    assert code == 0
    assert took < 2 + 6  # the answers are sent within the grace; the rest is a busy machine


def test_who_waits_in_the_queue_is_told_to_ask_elsewhere() -> None:
    slow = (KEEPS_NONE, "SUREFOOT_SCRIPTED_DELAY=0.02", "SUREFOOT_CONCURRENCY=1")
    with (
        serving("--engine", "scripted", variables=slow) as (process, url),
        ThreadPoolExecutor() as pool,
    ):
        going = begun(url, pool, 1, problem=LONG, strategy="single")
        queued = begun(url, pool, 1, problem=SUM)
        process.send_signal(signal.SIGTERM)
        name, data = queued[0].result()[-1]
        assert going[0].result()[-1][0] == "done"
        assert process.wait(timeout=10) == 0

    assert (name, json.loads(data)["error"]["code"]) == ("error", "shutting_down")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_service_ends_at_once_with_0(sent: signal.Signals) -> None:
    with serving("--engine", "scripted") as (process, url):
        assert httpx2.get(f"{url}/ready").status_code == 200
        began = time.monotonic()
        process.send_signal(sent)
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_has_not_loaded_its_models_ends_at_once_with_0(sent: signal.Signals) -> None:
    """It died of the signal, and what loads in a process of its own was left behind."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        engine = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = ["serve", "--engine", "remote", "--engine-url", engine, "--port", "0"]
        with subprocess.Popen([SUREFOOT, *command], stderr=subprocess.PIPE) as process:
            with silent.accept()[0]:
                process.send_signal(sent)
                assert process.wait(timeout=10) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""


def test_a_second_signal_does_not_wait() -> None:
    slow = (KEEPS_NONE, "SUREFOOT_SCRIPTED_DELAY=0.1")
    with (
        serving("--engine", "scripted", variables=slow) as (process, url),
        ThreadPoolExecutor() as pool,
    ):
        going = begun(url, pool, 1, problem=LONG)
        terminate(process, url)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=5)
        assert going[0].exception() or going[0].result()

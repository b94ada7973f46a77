"""The log: a line of JSON each, with its request's id, and nothing that a caller wrote."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from staging import service

from service import logs
from service.engines.base import Prompt
from service.engines.scripted import ScriptedEngine
from service.errors import EngineError

CANARY = "canary-5b1f"
log = logging.getLogger("service.test")


@contextmanager
def logged(level: str = "debug", *, content: bool = False) -> Iterator[io.StringIO]:
    """What this process logs meanwhile, as `surefoot serve` would write it."""
    root, levels = logging.getLogger(), {}
    kept, at = root.handlers[:], root.level
    for name in logs.OURS:
        levels[name] = logging.getLogger(name).level
    stream = io.StringIO()
    try:
        logs.configure(level, content=content, stream=stream)
        yield stream
    finally:
        root.handlers[:] = kept
        root.setLevel(at)
        for name, was in levels.items():
            logging.getLogger(name).setLevel(was)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line_with_its_id_and_what_it_cost() -> None:
    with logged("info") as stream, service() as client:
        body = {"problem": "What is 3 and 4?", "strategy": "single", "baseline": "none"}
        solved = client.post("/solve", json=body, headers={"x-request-id": "mine"}).json()
        client.get("/health")

    (line,) = lines(stream)
    assert (line["event"], line["level"], line["request_id"]) == ("request", "info", "mine")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/solve", 200)
    assert (line["outcome"], line["algorithm"]) == ("answered", "single")
    assert (line["solves"], line["tokens"]) == ([solved["id"]], solved["usage"]["total"])
    assert 0 < line["seconds"] < 60


def test_probes_are_lines_at_debug_alone() -> None:
    with logged("debug") as stream, service() as client:
        client.get("/health")

    assert [line["route"] for line in lines(stream)] == ["/health"]


def test_nothing_that_a_caller_sent_or_got_is_in_the_log_at_debug() -> None:
    def echo(prompt: Prompt, _: random.Random) -> str:
        if "defect" in prompt.messages[-1].content:
            raise RuntimeError(prompt.messages[-1].content)
        return f"Step 1: {prompt.messages[-1].content}.\nAnswer: \\boxed{{{CANARY}}}"

    headers = {"Authorization": f"Bearer {CANARY}", "user-agent": CANARY}
    with logged("debug") as stream, service(ScriptedEngine(echo)) as client:
        for problem in (CANARY, f"defect {CANARY}"):
            for streamed in (False, True):
                body = {"problem": problem, "stream": streamed}
                client.post("/solve", json=body, headers=headers)
        client.post(f"/{CANARY}?{CANARY}", content=CANARY, headers=headers)
        client.post("/solve", json={"problem": CANARY, CANARY: CANARY}, headers=headers)

    assert any(line.get("errors") for line in lines(stream))
    assert CANARY not in stream.getvalue()


def test_of_a_defect_the_kind_and_the_places_are_told() -> None:
    with logged() as stream:
        try:
            try:
                int(CANARY)
            except ValueError as error:
                raise EngineError("The engine is gone; start it again.") from error
        except EngineError:
            log.exception("request failed")

    (line,) = lines(stream)
    ours, cause = line["errors"]
    assert (ours["kind"], cause["kind"]) == ("EngineError", "ValueError")
    assert ours["words"] == "The engine is gone; start it again."
    assert "words" not in cause
    assert cause["at"][-1].startswith("test_logs.py:")


def test_an_errors_words_are_told_where_content_is_switched_on() -> None:
    with logged(content=True) as stream:
        try:
            int(CANARY)
        except ValueError:
            log.exception("request failed")

    assert CANARY in lines(stream)[0]["errors"][0]["words"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("authorization", "Basic x"), ("api_key", "x"), ("engine_key", "x"), ("prompts", ["x"])],
)
def test_what_is_named_like_a_secret_or_a_text_is_left_out(name: str, value: object) -> None:
    with logged() as stream:
        log.info("seen", extra={name: value, "tokens": 7})

    (line,) = lines(stream)
    assert (line[name], line["tokens"]) == (logs.LEFT_OUT, 7)


@pytest.mark.parametrize(
    "told",
    [
        "postgresql://surefoot:hunter2@db/traces",
        "Authorization: Bearer hunter2",
        "key sk-hunter2 was refused",
        "key sf-hunter2 was refused",
    ],
)
def test_what_looks_like_a_secret_is_left_out(told: str) -> None:
    with logged() as stream:
        log.warning("%s", told)

    (line,) = lines(stream)
    assert "hunter2" not in line["event"]
    assert logs.LEFT_OUT in line["event"]


def test_a_task_whose_error_nobody_fetched_keeps_its_words_to_itself() -> None:
    """asyncio prints the task with its error's text behind the first line."""

    async def fail() -> None:
        raise ValueError(CANARY)

    async def main() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])
        loop = asyncio.get_running_loop()
        context = {"message": "never retrieved", "exception": task.exception(), "future": task}
        loop.call_exception_handler(context)

    with logged() as stream:
        asyncio.run(main())

    (line,) = lines(stream)
    assert line["event"] == "never retrieved"
    assert CANARY not in stream.getvalue()


def test_other_libraries_are_heard_from_warnings_on() -> None:
    with logged("debug") as stream:
        logging.getLogger("httpx2").info("POST https://…")
        logging.getLogger("httpx2").warning("slow")

    assert [line["event"] for line in lines(stream)] == ["slow"]


def test_on_a_terminal_it_is_for_a_person() -> None:
    record = logging.LogRecord("service.x", logging.INFO, __file__, 1, "ready", (), None)

    shown = logs.formatter(content=False, plain=True).format(record)

    assert "ready" in shown
    with pytest.raises(json.JSONDecodeError):
        json.loads(shown)

"""Words of callers and models, and keys, are found nowhere but in the answers they belong to.

The service as it is started, at the level of logs that tells most, in front of an engine that fails
in every way it can: what it writes, and what it answers to others, is searched for the canaries.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from staging import running
from starlette.responses import JSONResponse, Response, StreamingResponse

from service.keyring import create

ASKED, WRITTEN, WRONG = "canaryprompt", "canaryanswer", "sf-canarykey"
PROBLEM = f"What is 3 and 4, {ASKED}?"
STEPS = f" 3 + 4 = 7 {WRITTEN}\nAnswer: \\boxed{{7 {WRITTEN}}}"
TURNS = [{"role": "user", "content": PROBLEM}]
CALLS: dict[str, dict[str, Any]] = {
    "/solve": {"problem": PROBLEM},
    "/v1/chat/completions": {"model": "surefoot-stepco", "messages": TURNS},
    "/v1/responses": {"model": "surefoot-best-of-n", "input": PROBLEM},
}


def engine(failing: dict[str, str]) -> FastAPI:
    """An OpenAI-compatible server that fails as it is told to, and repeats what it was asked."""
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"data": [{"id": "m", "owned_by": "sglang"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = await request.json()
        echo = json.dumps(asked)
        match failing["how"]:
            case "refuses":
                return JSONResponse({"error": {"message": echo}}, 400)
            case "is busy":
                return JSONResponse({"error": {"message": echo}}, 503, {"Retry-After": "0"})
            case "fails":
                return Response(echo, 500)
            case "writes nonsense":
                return Response(f"data: {echo}\n\n", media_type="text/event-stream")
        if "logprobs" in asked:
            tops = [{"token": word, "logprob": -1.0} for word in ("Yes", "No")]
            return JSONResponse({"choices": [{"logprobs": {"content": [{"top_logprobs": tops}]}}]})
        ending = None if failing["how"] == "breaks off" else "stop"
        chunk = {"choices": [{"delta": {"content": STEPS}, "finish_reason": ending}]}
        usage = {"prompt_tokens": 9, "completion_tokens": 9}
        said = [json.dumps(chunk), json.dumps({"choices": [], "usage": usage}), "[DONE]"]
        lines = (f"data: {each}\n\n" for each in said)
        return StreamingResponse(lines, media_type="text/event-stream")

    return app


@dataclass
class Seen:
    """What the service let out beside answers to the one who asked."""

    answers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    log: str = ""

    def note(self, response: httpx2.Response) -> None:
        failed = re.findall(r'\{"error": ?\{.*', response.text)  # also behind part of an answer
        if response.is_success and not failed:
            self.answers.append(response.text)
        self.failures += [f"{response.headers} {each}".lower() for each in failed]


@contextmanager
def started(log: Path, *options: str, **variables: str) -> Iterator[str]:
    """The service as a person starts it, heard as far as it tells anything; yields its URL."""
    heard = {"SUREFOOT_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1"} | variables
    command = ["env", *(f"{k}={v}" for k, v in heard.items()), sys.executable, "-m", "service"]
    with (
        log.open("w") as file,
        subprocess.Popen(
            [*command, "--port", "0", *options], stdout=subprocess.PIPE, stderr=file
        ) as process,
    ):
        try:
            assert process.stdout is not None
            said = (re.search(rb"ready on (http://[\d.:]+)", line) for line in process.stdout)
            ready = next((found for found in said if found), None)
            assert ready is not None, log.read_text()
            yield ready[1].decode()
        finally:
            process.terminate()
            file.write(process.communicate(timeout=20)[0].decode())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder, failing, seen = tmp_path_factory.mktemp("canary"), {"how": ""}, Seen()
    key = create(folder / "keys.json", "alice", {})
    with running(engine(failing)) as url:
        variables = {
            "SUREFOOT_ENGINE": "remote",
            "SUREFOOT_ENGINE_URL": url,
            "SUREFOOT_ENGINE_KEY": WRONG,
            "SUREFOOT_VERIFIER": "judge",
            "SUREFOOT_VERIFIER_URL": url,
            "SUREFOOT_KEYS": str(folder / "keys.json"),
            "SUREFOOT_TRACES": f"sqlite:///{folder}",  # a folder cannot be written as a database
        }
        with started(folder / "log", **variables) as served:
            _ask_everything(served, key, failing, seen)
    seen.log = (folder / "log").read_text().replace(key, WRONG)  # one canary for both keys
    return seen


def _ask_everything(url: str, key: str, failing: dict[str, str], seen: Seen) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
        for how in ("", "refuses", "is busy", "fails", "writes nonsense", "breaks off"):
            failing["how"] = how
            for path, body in CALLS.items():
                for stream in (False, True):
                    seen.note(client.post(path, json=body | {"stream": stream}))
        for path, body in CALLS.items():
            seen.note(client.post(path, content=f'{{"problem": "{ASKED}'))
            for wrong in ({"temperature": ASKED}, {"strategy": ASKED}, {"messages": [ASKED]}):
                seen.note(client.post(path, json=body | wrong))
            seen.note(client.post(path, json=body, headers={"Authorization": f"Bearer {WRONG}"}))
            seen.note(client.post(path, json=body, headers={"Content-Encoding": ASKED}))
        for path in ("/v1/models", "/v1/traces", "/v1/traces/export", f"/v1/traces/{ASKED}"):
            seen.note(client.get(path, params={"strategy": ASKED}))
        for path in (f"/{ASKED}", f"/v1/models/{ASKED}"):
            seen.note(client.get(path))
        seen.others += [client.get(path).text for path in ("/ready", "/health", "/metrics")]


def test_the_answers_hold_what_is_searched_for(seen: Seen) -> None:
    """Else nothing that follows would show anything."""
    assert len(seen.answers) >= 6
    assert all(WRITTEN in answer for answer in seen.answers[:6])


def test_failures_repeat_nothing(seen: Seen) -> None:
    codes = {found for each in seen.failures for found in re.findall(r'"code": ?"(\w+)', each)}
    expected = {"engine_error", "engine_unavailable", "invalid_value", "invalid_api_key"}
    assert expected | {"unsupported_encoding", "traces_unavailable", "not_found"} <= codes
    for said in seen.failures:
        assert not any(each in said for each in (ASKED, WRITTEN, WRONG)), said


def test_the_log_and_what_is_measured_repeat_nothing(seen: Seen) -> None:
    assert "traces are not being kept" in seen.log, "this log is the service's"
    for said in (seen.log, *seen.others):
        assert not any(each in said for each in (ASKED, WRITTEN, WRONG)), said


def test_the_scripted_engine_says_nothing_of_what_it_reads_and_writes(tmp_path: Path) -> None:
    key = create(tmp_path / "keys.json", "alice", {})
    kept = {"SUREFOOT_TRACES": "sqlite://", "SUREFOOT_KEYS": str(tmp_path / "keys.json")}
    with (
        started(tmp_path / "log", "--engine", "scripted", **kept) as url,
        httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client,
    ):
        solved = client.post("/solve", json={"problem": PROBLEM}).json()
        metrics = client.get("/metrics").text
    log = (tmp_path / "log").read_text()

    assert "service.telemetry.requests" in log, "this log is the service's"
    for said in (log, metrics):
        assert not any(each in said for each in (ASKED, key, solved["steps"][0]["text"]))


def test_llama_cpp_in_the_process_says_nothing_of_what_it_reads_and_writes(tmp_path: Path) -> None:
    """Its log is written from C++, where no formatter of ours is asked."""
    traces = f"sqlite:///{tmp_path / 'traces.db'}"
    with started(tmp_path / "log", "--small", SUREFOOT_TRACES=traces) as url:
        asked = {"problem": PROBLEM, "strategy": "single", "sampling": {"max_tokens": 8}}
        solved = httpx2.post(f"{url}/solve", json=asked, timeout=120).json()
    log = (tmp_path / "log").read_text()

    assert solved["steps"]
    assert ASKED not in log
    assert solved["steps"][0]["text"] not in log


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # vLLM's own are many
def test_vllm_in_the_process_says_nothing_of_what_it_reads_and_writes(tmp_path: Path) -> None:
    """It logs requests at the level of all that is told, if it is let."""
    from checkpoints import tiny_chat

    model = str(tiny_chat(tmp_path / "model"))
    kept = {
        "SUREFOOT_TRACES": "sqlite://",
        "SUREFOOT_VERIFIER": "judge",
        "SUREFOOT_VLLM_CACHE": "0.25",
    }
    options = ("--engine", "vllm", "--model", model, "--verifier-model", model)
    with started(tmp_path / "log", *options, **kept) as url:
        asked = {"problem": PROBLEM, "strategy": "self_consistency", "sampling": {"max_tokens": 8}}
        solved = httpx2.post(f"{url}/solve", json=asked, timeout=120).json()
    log = (tmp_path / "log").read_text()

    assert solved["steps"]
    assert "vllm" in log
    assert ASKED not in log
    assert solved["steps"][0]["text"] not in log

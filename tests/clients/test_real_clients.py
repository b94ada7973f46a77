"""Clients as they are published, each in its own environment, against a running server.

A folder of `real/` holds a client's pins and a script that prints, as JSON, what the client saw.
What they see is asserted here. `make clients` runs them; docs/clients.md shows how each is set up.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
import pytest
from fastapi import Request, Response
from staging import running
from starlette.middleware.base import RequestResponseEndpoint

from service.app import create_app
from service.engines.base import Completion, Delta, Prompt, Sampling, Watch, unwatched
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine, rehearse
from service.errors import EngineError, EngineUnavailable

ROOT = Path(__file__).parents[2]
REAL = ROOT / "tests/clients/real"
QUESTIONS = {
    "sum": "What is 3 and 4 and 5 and 6?",
    "cut": "What is 1 and 2 and 3 and 4, in few words?",
    "away": "What is 1 and 2 while the engine is away?",
    "breaks": "What is 1 and 2 if the engine breaks?",
    "fact": "Extract the city and the country: Ghent lies in Belgium.",
}
FACT = {"city": "Ghent", "country": "Belgium"}
ANSWER = "Step 4: 12 + 6 = 18.\nAnswer: \\boxed{18}"
ROWS = [
    json.loads(line)
    for line in (ROOT / "bench/data/gsm8k-20.jsonl").read_text(encoding="utf-8").splitlines()[:5]
]
WRONG = ROWS[4]["question"]  # which the engine gets wrong
LIMIT = 30  # what may be generated for the question that is cut

pytestmark = pytest.mark.real


class Moody(ScriptedEngine):
    """Answers sums, the fact, and GSM8K's rows but the last.

    It is away, or breaks when it has begun, where the question says so.
    """

    def __init__(self) -> None:
        super().__init__(_written)

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        question = prompts[0].messages[-1].content
        if QUESTIONS["away"] in question:
            raise EngineUnavailable("The engine does not answer; try again.")
        broken = QUESTIONS["breaks"] in question
        return await super().complete(prompts, sampling, _breaking(watch) if broken else watch)


def _breaking(watch: Watch) -> Watch:
    """The engine breaks when it has written all but the end."""

    def hear(delta: Delta) -> bool:
        if delta.finish:
            raise EngineError("The engine broke; see its log.")
        return watch(delta)

    return hear


def _written(prompt: Prompt, rng: random.Random) -> str:
    if any(QUESTIONS["fact"] in message.content for message in prompt.messages):
        return f"```json\n{json.dumps(FACT)}\n```"
    for row in ROWS:
        if row["question"] in prompt.messages[-1].content:
            answer = "1" if row["question"] == WRONG else row["answer"]
            return f"Step 1: It is known.\nAnswer: \\boxed{{{answer}}}"
    return rehearse(prompt, rng)


@dataclass
class Server:
    url: str
    posts: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, question: str) -> list[dict[str, Any]]:
        """The bodies of all requests that held a question."""
        return [body for body in self.posts if QUESTIONS[question] in json.dumps(body)]


@contextmanager
def serving() -> Iterator[Server]:
    app, heard = create_app(Moody(), ArithmeticVerifier()), Server("")

    @app.middleware("http")
    async def hear(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.method == "POST":
            heard.posts.append(await request.json())
        return await call_next(request)

    with running(app) as url:
        heard.url = f"{url}/v1"
        yield heard


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def seen(client: str, server: Server, folder: Path) -> dict[str, Any]:
    """What a client saw, as its script tells it on the last line; it runs in an empty folder."""
    if (REAL / client / "package.json").exists() and not shutil.which("npm"):
        pytest.skip("there is no npm")
    asked = json.dumps({"url": server.url, "rows": ROWS, **QUESTIONS})
    ended = subprocess.run(
        [*environments.command(REAL / client), asked],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


CHATTING = {
    "openai": {
        "bad": "BadRequestError",
        "unknown": "NotFoundError",
        "away": "InternalServerError",
        "breaks": "APIError",
    },
    "openai-npm": {
        "bad": "BadRequestError",
        "unknown": "NotFoundError",
        "away": "InternalServerError",
        "breaks": "APIError",
    },
    "ai-sdk": {
        "bad": "AI_APICallError",
        "unknown": "AI_APICallError",
        "away": "AI_APICallError",
        "breaks": "AI_StreamProviderError",
    },
    "langchain-openai": {
        "bad": "OpenAIInvalidRequestError",
        "unknown": "OpenAIModelNotFoundError",
        "away": "OpenAIAPIError",
        "breaks": "APIError",
    },
    "litellm": {
        "bad": "BadRequestError",
        "unknown": "NotFoundError",
        "away": "ServiceUnavailableError",
        "breaks": "MidStreamFallbackError",
    },
    "pydantic-ai": {
        "bad": "ModelRequestRejectedError",
        "unknown": "ModelNotFoundError",
        "away": "ModelUnavailableError",
        "breaks": "ModelAPIError",
    },
    "llm": {
        "biased": "BadRequestError",
        "unknown": "NotFoundError",
        "away": "InternalServerError",
        "breaks": "APIError",
    },
}
"""Clients that chat, and what each raises."""
SAID = {
    "bad": "temperature: Input should be less than or equal to 2",
    "biased": "logit_bias: this is not supported; leave it out",
    "unknown": "There is no such model; GET /v1/models lists what there is.",
    "away": "The engine does not answer; try again.",
    "breaks": "The engine broke; see its log.",
}
STATUS = {"bad": 400, "biased": 400, "unknown": 404, "away": 503}
RETRIES = {"openai": 1, "llm": 2}
"""What each asks again, where the engine is away: the sync half of openai, and what llm lets it."""
SILENT = {"langchain-openai", "llm"}
"""Clients that show no reasoning."""


@dataclass(frozen=True)
class Chat:
    """What a client was asked to do, done once: what it saw, and what the server heard."""

    client: str
    told: list[dict[str, Any]]
    server: Server


@pytest.fixture(scope="module", params=CHATTING)
def chat(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chat]:
    client = request.param
    with serving() as server:
        told = seen(client, server, tmp_path_factory.mktemp(client))
        yield Chat(client, list(told.values()) if client == "openai" else [told], server)


def test_a_client_sees_text_stream_usage_and_reasoning(chat: Chat) -> None:
    for saw in chat.told:
        assert_answers(saw, reasoning=chat.client not in SILENT)


def test_a_failure_of_each_kind_is_the_clients_own_with_our_sentence(chat: Chat) -> None:
    for saw in chat.told:
        for name, kind in CHATTING[chat.client].items():
            assert saw[name]["class"] == kind
            assert SAID[name] in saw[name]["message"]
            assert name not in STATUS or saw[name]["status"] == STATUS[name]


def test_a_budget_that_ran_out_is_one_post(chat: Chat) -> None:
    assert len(chat.server.asked("cut")) == len(chat.told)


def test_only_a_client_that_may_retry_asks_an_engine_that_is_away_again(chat: Chat) -> None:
    retries = RETRIES.get(chat.client, 0)

    assert len(chat.server.asked("away")) == len(chat.told) + retries


def assert_answers(saw: dict[str, Any], *, reasoning: bool) -> None:
    for name in ("plain", "stream"):
        assert saw[name]["text"].endswith(ANSWER)
        assert saw[name]["usage"] == saw["plain"]["usage"]
        if reasoning:
            assert saw[name]["reasoning"].startswith("Draft 1\nStep 1: 0 + 3 = 3.")
            assert saw[name]["reasoning"] == saw["plain"]["reasoning"]
    assert saw["stream"]["text"] == saw["plain"]["text"]
    assert saw["plain"]["usage"] == [9, 56]  # words of the question, words generated
    assert saw["cut"]["usage"][1] == LIMIT
    assert saw["cut"].get("finish", "length") == "length"
    assert saw["plain"].get("finish", "stop") == "stop"


def test_instructor_reads_objects_out_of_markdown_and_is_refused_tools_and_json_by_name(
    server: Server, tmp_path: Path
) -> None:
    told = seen("instructor", server, tmp_path)

    assert told["fact"] == FACT
    assert told["usage"][1] > 0
    assert told["tools"]["status"] == told["json"]["status"] == 400
    assert "tools: " in told["tools"]["message"]
    assert "response_format" in told["json"]["message"]
    assert told["unknown"]["status"] == 404
    assert told["away"]["status"] == 503
    assert SAID["breaks"] in told["breaks"]["message"]


def test_lm_eval_scores_gsm8k_with_its_own_task(server: Server, tmp_path: Path) -> None:
    told = seen("lm-eval", server, tmp_path)
    good = [body for body in server.posts if body["model"] == "surefoot-stepco"]

    assert told["scores"]["exact_match,flexible-extract"] == 0.8  # one of the five is wrong
    assert [body["seed"] for body in good] == [1234] * 5
    assert all(body["max_tokens"] == 4096 and body["stop"] for body in good)
    assert all("\\boxed{" in reply for reply in told["replies"])
    assert "404" in told["unknown"]["message"]  # it logs our sentence, and raises the status
    assert len(server.posts) == len(good) + 1


def test_inspect_sees_text_usage_reasoning_and_failures(server: Server, tmp_path: Path) -> None:
    told = seen("inspect-ai", server, tmp_path)

    assert told["plain"]["text"].endswith(ANSWER)
    assert told["plain"]["usage"] == [9, 56]
    assert told["plain"]["accuracy"] == 1
    assert told["plain"]["reasoning"].startswith("Draft 1\nStep 1: 0 + 3 = 3.")
    assert told["cut"]["finish"] == "max_tokens"
    assert told["cut"]["usage"][1] == LIMIT
    assert len(server.asked("cut")) == 1
    assert told["stream"] == told["plain"]
    for name in ("unknown", "away", "breaks"):
        assert SAID[name] in told[name]["message"]

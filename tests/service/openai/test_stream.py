"""A streamed chat completion: what comes in which order, and when."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import httpx2
import openai
import pytest
from chatting import SUM, TURNS, chat, chunks, data, joined, read_for_a_while
from fastapi import FastAPI, Request, Response
from openai.types.chat import ChatCompletionMessageParam
from staging import running, service
from starlette.middleware.base import RequestResponseEndpoint

from service.app import create_app
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.openai.names import SLUGS
from service.routes import sse
from verifier.scoring import VerifierError

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": SUM}]
MODELS = list(SLUGS)


def test_the_role_comes_first_the_answer_after_the_reasoning_and_the_finish_last(
    client: httpx2.Client,
) -> None:
    told = chunks(client)

    deltas = [each["choices"][0]["delta"] for each in told]
    kinds = [next((k for k in ("role", "reasoning", "content") if k in d), "") for d in deltas]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert kinds == ["role", *["reasoning"] * (len(told) - 3), "content", ""]
    finishes = [each["choices"][0]["finish_reason"] for each in told]
    assert finishes == [None] * (len(told) - 1) + ["stop"]
    assert told[-1]["surefoot"]["answer"] == "18"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/solve", {"problem": SUM}),
        ("/v1/chat/completions", {"model": "surefoot-single", "messages": TURNS}),
        ("/v1/responses", {"model": "surefoot-single", "input": SUM}),
    ],
)
def test_lines_end_as_those_of_openais_streams_do(
    path: str, asked: dict[str, Any], client: httpx2.Client
) -> None:
    """vLLM's `bench serve` splits at two line feeds: of ours, which ended in carriage returns, it
    read one event and no usage, and called that a success.
    """
    text = client.post(path, json=asked | {"stream": True}).text

    assert "\r" not in text
    assert text.count("\n\n") > 2


def test_every_chunk_has_the_same_id_time_model_and_fingerprint(client: httpx2.Client) -> None:
    told = chunks(client)

    alike = ("id", "object", "created", "model", "system_fingerprint")
    assert len({tuple(each[key] for key in alike) for each in told}) == 1
    assert told[0]["object"] == "chat.completion.chunk"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("limit", [25, 4000])
def test_streamed_and_plain_answers_and_usage_are_equal(
    client: httpx2.Client, model: str, n: int, limit: int
) -> None:
    body = {"model": f"surefoot-{model}", "n": n, "max_tokens": limit}

    told = chunks(client, **body, stream_options={"include_usage": True})
    plain = chat(client, **body)

    assert told[-1]["usage"] == plain["usage"]
    for choice in plain["choices"]:
        for key in ("content", "reasoning", "reasoning_content"):
            assert joined(told, key, choice["index"]) == choice["message"][key]
    finishes = [c["finish_reason"] for e in told for c in e["choices"] if c["finish_reason"]]
    assert finishes == [choice["finish_reason"] for choice in plain["choices"]]
    for of in (streamed := told[-2]["surefoot"], plain["surefoot"]):
        for each in (of, *of["others"]):
            del each["trace_id"]
    assert streamed == plain["surefoot"]


def test_usage_comes_in_a_chunk_of_its_own_if_it_is_asked_for(client: httpx2.Client) -> None:
    told = chunks(client, stream_options={"include_usage": True, "include_obfuscation": True})

    assert [each["usage"] for each in told[:-1]] == [None] * (len(told) - 1)
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["total_tokens"] > 0
    assert all("usage" not in each for each in chunks(client))


def test_reasoning_can_be_left_out_of_a_stream(client: httpx2.Client) -> None:
    told = chunks(client, include_reasoning=False)

    assert joined(told, "reasoning") == joined(told, "reasoning_content") == ""
    assert joined(told, "content")


def slow(words: int, delay: float) -> ScriptedEngine:
    return ScriptedEngine(lambda prompt, rng: " w" * words, delay=delay)


def test_tokens_reach_the_client_as_they_are_generated() -> None:
    with service(slow(12, 0.05)) as client:
        body = {"model": "surefoot-single", "messages": TURNS, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            times = [
                time.monotonic()
                for event in httpx2.EventSource(response)
                if '"reasoning":" w"' in event.data or '"reasoning":"Step 1: w"' in event.data
            ]

    assert len(times) == 12
    assert times[-1] - times[0] > 0.4
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sum(gap > 0.02 for gap in gaps) >= 8


class Broken(ArithmeticVerifier):
    async def score(self, chains: object, meter: object = None) -> Any:
        raise VerifierError("it is dead")


def test_a_failure_in_mid_stream_is_an_error_event_and_no_done_follows() -> None:
    with service(verifier=Broken()) as client:
        told = data(client)

    error = json.loads(told[-1])["error"]
    assert (error["code"], error["type"]) == ("verifier_unavailable", "verifier_error")
    assert "[DONE]" not in told


def test_the_openai_client_raises_what_failed_in_mid_stream() -> None:
    app = create_app(ScriptedEngine(), Broken())
    with running(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="-") as client:
        stream = client.chat.completions.create(
            model="surefoot-stepco", messages=ASKED, stream=True
        )

        with pytest.raises(openai.APIError, match="verifier") as raised:
            list(stream)

    assert raised.value.code == "verifier_unavailable"


def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.routes.answering.PING", 1)
    body = {"model": "surefoot-single", "messages": TURNS, "stream": True}
    with (
        service(slow(2, 0.7)) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        lines = list(response.iter_lines())

    assert sse.PING == 15
    assert any(line.startswith(": ping") for line in lines)
    assert lines[-2] == "data: [DONE]"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_a_client_that_leaves_stops_the_engine(path: str, stream: bool) -> None:
    engine = slow(400, 0.01)
    body = {"model": "surefoot-stepco", "messages": TURNS, "input": SUM, "stream": stream}
    with service(engine) as client:
        with (
            pytest.raises(httpx2.ReadTimeout),
            client.stream("POST", f"/v1/{path}", json=body, timeout=0.4) as response,
        ):
            read_for_a_while(response)
        time.sleep(0.6)
        spent = engine.spent.completion
        time.sleep(0.3)

    assert 0 < spent == engine.spent.completion < 200


def posts(app: FastAPI) -> list[str]:
    """The paths that are posted to from now on."""
    seen: list[str] = []

    @app.middleware("http")
    async def count(request: Request, call_next: RequestResponseEndpoint) -> Response:
        seen.extend([request.url.path] * (request.method == "POST"))
        return await call_next(request)

    return seen


def test_the_openai_client_posts_once_when_the_budget_runs_out() -> None:
    app = create_app(ScriptedEngine(), ArithmeticVerifier())
    posted = posts(app)
    with running(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="-") as client:
        answer = client.chat.completions.create(
            model="surefoot-stepco", messages=ASKED, max_completion_tokens=9
        )

    assert (len(posted), answer.choices[0].finish_reason) == (1, "length")


def test_the_openai_client_posts_once_when_nothing_was_written_by_the_deadline() -> None:
    app = create_app(ScriptedEngine(delay=1), ArithmeticVerifier())
    posted = posts(app)
    deadline = {"surefoot": {"budget": {"deadline_ms": 60}}}
    with (
        running(app) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="-") as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.chat.completions.create(model="surefoot-stepco", messages=ASKED, extra_body=deadline)

    status, code = raised.value.status_code, raised.value.code
    assert (len(posted), status, code) == (1, 504, "deadline_exceeded")


def test_the_asynchronous_openai_client_reads_the_stream_to_its_usage() -> None:
    async def main(url: str) -> tuple[str, int]:
        text, total = "", 0
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="-") as client:
            stream = await client.chat.completions.create(
                model="surefoot-stepco",
                messages=ASKED,
                seed=7,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                total = chunk.usage.total_tokens if chunk.usage else total
        return text, total

    with running(create_app(ScriptedEngine(), ArithmeticVerifier())) as url:
        text, total = asyncio.run(main(url))

    assert text.endswith("Answer: \\boxed{18}")
    assert total > 0

"""POST /v1/responses: what comes out, in which events, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from chatting import SUM, TURNS, chat
from staging import Playback, StatedVerifier, running, service

from service.app import create_app
from service.engines.base import Message
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from verifier.scoring import VerifierError

WITHOUT_EFFECT: dict[str, Any] = {
    "include": ["reasoning.encrypted_content"],
    "truncation": "disabled",
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "reasoning": {"summary": "auto"},
    "previous_response_id": None,
    "conversation": None,
    "background": False,
    "prompt": None,
    "context_management": None,
    "max_tool_calls": None,
    "store": False,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "metadata": {"a": "b"},
}

REFUSED: dict[str, tuple[Any, str]] = {
    "previous_response_id": ("resp_1", "previous_response_id"),
    "conversation": ("conv_1", "conversation"),
    "background": (True, "background"),
    "prompt": ({"id": "p"}, "prompt"),
    "context_management": ([{"type": "compaction"}], "context_management"),
    "max_tool_calls": (3, "max_tool_calls"),
    "store": (True, "store"),
    "tools": ([{"type": "web_search"}], "tools"),
    "tool_choice": ("required", "tool_choice"),
    "truncation": ("auto", "truncation"),
    "text": ({"format": {"type": "json_schema"}}, "text.format.type"),
    "instructions": ("", "instructions"),
    "max_output_tokens": (0, "max_output_tokens"),
    "input": ([{"role": "user", "content": [{"type": "input_image"}]}], "input[0].content[0].type"),
}


def post(client: httpx2.Client, **body: Any) -> httpx2.Response:
    whole = {"model": "surefoot-stepco", "input": SUM, "seed": 7} | body
    return client.post("/v1/responses", json=whole)


def events(client: httpx2.Client, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    whole = {"model": "surefoot-stepco", "input": SUM, "seed": 7, "stream": True} | body
    with client.stream("POST", "/v1/responses", json=whole) as response:
        return [(e.event, json.loads(e.data)) for e in httpx2.EventSource(response) if e.data]


def test_reasoning_and_message_come_out_with_the_usage_of_a_chat(client: httpx2.Client) -> None:
    response = post(client).json()
    same = chat(client)

    reasoning, message = response["output"]
    said = same["choices"][0]["message"]
    assert (response["object"], response["status"]) == ("response", "completed")
    assert reasoning["content"][0]["text"] == said["reasoning"]
    assert message["content"][0]["text"] == said["content"]
    assert response["usage"]["input_tokens"] == same["usage"]["prompt_tokens"]
    assert response["usage"]["output_tokens"] == same["usage"]["completion_tokens"]
    assert response["usage"]["compute"] == same["usage"]["compute"]
    assert response["surefoot"]["verified"]


def test_events_are_numbered_and_end_with_the_whole_response(client: httpx2.Client) -> None:
    told = events(client)
    plain = post(client).json()

    assert [name for name, _ in told] == [data["type"] for _, data in told]
    assert [data["sequence_number"] for _, data in told] == list(range(len(told)))
    whole = told[-1][1]["response"]
    assert [name for name, _ in told if not name.endswith(".delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_text.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    for kind, item in (("reasoning_text", 0), ("output_text", 1)):
        deltas = [data["delta"] for name, data in told if name == f"response.{kind}.delta"]
        assert "".join(deltas) == whole["output"][item]["content"][0]["text"]
        assert whole["output"][item]["content"] == plain["output"][item]["content"]
    assert whole["usage"] == plain["usage"]
    ids = {data["item_id"] for _, data in told if "item_id" in data}
    assert ids == {item["id"] for item in whole["output"]}


def test_a_budget_that_ran_out_is_an_incomplete_response(client: httpx2.Client) -> None:
    response = post(client, max_output_tokens=9)

    assert response.status_code == 200
    assert response.json()["status"] == "incomplete"
    assert response.json()["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response.json()["usage"]["output_tokens"] <= 9
    assert events(client, max_output_tokens=9)[-1][0] == "response.incomplete"


def test_reasoning_can_be_left_out(client: httpx2.Client) -> None:
    body = {"reasoning": {"exclude": True}}

    assert [item["type"] for item in post(client, **body).json()["output"]] == ["message"]
    assert not any("reasoning" in name for name, _ in events(client, **body))


def test_instructions_items_and_what_was_said_before_make_the_conversation() -> None:
    script = Playback("Sure.")
    items = [
        {"role": "user", "content": "Hello"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hi!", "annotations": []}],
        },
        {"role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
    ]
    with service(ScriptedEngine(script), StatedVerifier()) as client:
        assert post(client, input=items, instructions="Be terse.").status_code == 200

    assert script.prompts[0].messages == (
        Message("system", "Be terse."),
        Message("user", "Hello"),
        Message("assistant", "Hi!"),
        Message("user", "And now?"),
    )


@pytest.mark.parametrize("field", WITHOUT_EFFECT)
def test_a_field_without_effect_is_accepted(client: httpx2.Client, field: str) -> None:
    response = post(client, **{field: WITHOUT_EFFECT[field]})

    assert response.status_code == 200, response.text
    assert "x-surefoot-ignored" not in response.headers


@pytest.mark.parametrize("field", REFUSED)
def test_a_refused_field_is_named_in_the_400(client: httpx2.Client, field: str) -> None:
    value, param = REFUSED[field]

    response = post(client, **{field: value})

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


class Broken(ArithmeticVerifier):
    async def score(self, chains: object, meter: object = None) -> Any:
        raise VerifierError("it is dead")


def test_a_failure_in_mid_stream_is_an_error_event() -> None:
    with service(verifier=Broken()) as client:
        name, data = events(client)[-1]

    assert (name, data["type"], data["code"]) == ("error", "error", "verifier_unavailable")


@pytest.fixture(scope="module")
def sdk() -> Iterator[openai.OpenAI]:
    app = create_app(ScriptedEngine(), ArithmeticVerifier())
    with running(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="-") as client:
        yield client


def test_the_openai_client_reads_a_response(sdk: openai.OpenAI) -> None:
    response = sdk.responses.create(model="surefoot-stepco", input=SUM, extra_body={"seed": 7})

    assert response.output_text.endswith("\\boxed{18}")
    assert response.usage is not None
    assert response.usage.output_tokens > 0


def test_the_openai_client_reads_the_events(sdk: openai.OpenAI) -> None:
    with sdk.responses.stream(model="surefoot-stepco", input=SUM) as stream:
        kinds = {type(event).__name__ for event in stream}
        final = stream.get_final_response()

    assert "ResponseReasoningTextDeltaEvent" in kinds
    assert final.output_text


def test_a_chats_turns_are_an_input_too(client: httpx2.Client) -> None:
    assert post(client, input=TURNS).json()["usage"] == post(client).json()["usage"]

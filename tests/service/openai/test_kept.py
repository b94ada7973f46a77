"""Every solve of OpenAI's API is kept: a trace a run, found by the `trace_id` of its answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from chatting import SUM, TURNS, chat, chunks, post, read_for_a_while
from staging import Playback, StatedVerifier, service

from service.engines.scripted import ScriptedEngine
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store

APIS = ["chat/completions", "responses"]
TRACED = {"include_trace": True}


def keeper(*, content: bool = True) -> Keeper:
    return Keeper(Store("sqlite://"), Retention(days=30, most=1000, megabytes=100), content=content)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with service(keeper=keeper()) as client:
        yield client


def surefoot(client: httpx2.Client, api: str, stream: bool, **body: Any) -> dict[str, Any]:
    """The `surefoot` object of an answer, whole or from the one piece of the stream that has it."""
    asked = {"model": "surefoot-stepco", "messages": TURNS, "input": SUM, "seed": 7} | body
    if not stream:
        return dict(client.post(f"/v1/{api}", json=asked).raise_for_status().json()["surefoot"])
    with client.stream("POST", f"/v1/{api}", json=asked | {"stream": True}) as response:
        told = [e.data for e in httpx2.EventSource(response) if e.data and e.data != "[DONE]"]
    pieces = [json.loads(each) for each in told]
    (found,) = filter(None, (it.get("response", it).get("surefoot") for it in pieces))
    return dict(found)


def kept(client: httpx2.Client, id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/traces/{id}").raise_for_status().json())


def listed(client: httpx2.Client) -> list[dict[str, Any]]:
    return list(client.get("/v1/traces").raise_for_status().json()["data"])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("api", APIS)
def test_an_answer_is_found_by_its_trace_id(client: httpx2.Client, api: str, stream: bool) -> None:
    told = surefoot(client, api, stream)

    trace = kept(client, told["trace_id"])

    assert (f"/v1/{api}", "solved", "steps") == (trace["route"], trace["outcome"], trace["form"])
    for name in ("answer", "verified", "score", "stop_reason", "baseline"):
        assert told[name] == trace[name], name
    assert told["trace"] is None


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("api", APIS)
def test_the_trace_comes_with_the_answer_when_it_is_asked_for(
    client: httpx2.Client, api: str, stream: bool
) -> None:
    told = surefoot(client, api, stream, surefoot=TRACED)

    assert kept(client, told["trace_id"]) == told["trace"]


def test_a_trace_that_is_asked_for_comes_where_none_are_kept_and_with_its_texts() -> None:
    with service() as client:
        unkept = chat(client, surefoot=TRACED)["surefoot"]["trace"]
    with service(keeper=keeper(content=False)) as client:
        told = chat(client, surefoot=TRACED)["surefoot"]
        trace = kept(client, told["trace_id"])

    assert [SUM, SUM] == [each["messages"][0]["content"] for each in (unkept, told["trace"])]
    assert trace["messages"][0]["content"] is None


def test_samples_of_one_run_share_its_trace(client: httpx2.Client) -> None:
    answer = chat(client, model="surefoot-best-of-n", n=3, surefoot=TRACED)

    told = answer["surefoot"]
    assert {told["trace_id"]} == {each["trace_id"] for each in told["others"]}
    assert kept(client, told["trace_id"]) == told["trace"]
    assert [None] * (len(answer["choices"]) - 1) == [each["trace"] for each in told["others"]]
    answers = {path["answer"] for path in told["trace"]["paths"]}
    assert {each["answer"] for each in (told, *told["others"])} <= answers


@pytest.mark.parametrize("limit", [4000, 100], ids=["enough", "too little"])
def test_runs_of_one_request_are_a_trace_each_and_add_up_to_its_usage(limit: int) -> None:
    with service(keeper=keeper()) as client:
        answer = chat(client, n=4, max_tokens=limit, surefoot=TRACED)
        traces = [kept(client, each["id"]) for each in listed(client)]

    told = [answer["surefoot"], *answer["surefoot"]["others"]]
    by_id = {trace["id"]: trace for trace in traces}
    assert len(told) == len({each["trace_id"] for each in told})
    for each in told:
        assert by_id[each["trace_id"]] == each["trace"]
    for trace in traces:
        assert (
            sum(call["policy"]["completion"] for call in trace["calls"])
            == (trace["usage"]["policy"]["completion"])
        )
        assert all(0 <= call["began"] <= trace["seconds"] for call in trace["calls"])
    spent, compute = [trace["usage"] for trace in traces], answer["usage"]["compute"]
    assert compute["generated"] == sum(each["policy"]["completion"] for each in spent)
    assert compute["calls"] == sum(each["policy"]["calls"] for each in spent)
    assert compute["verifier"] == sum(each["verifier"]["tokens"] for each in spent)


def test_of_several_choices_the_last_chunk_alone_has_the_object(client: httpx2.Client) -> None:
    told = chunks(client, n=2, max_tokens=4000)

    assert [1] == [each["choices"][0]["index"] for each in told if "surefoot" in each]
    assert "surefoot" in told[-1]


def test_a_failed_chat_is_kept() -> None:
    def script(*_: object) -> str:
        raise RuntimeError("secret")

    with service(ScriptedEngine(script), keeper=keeper()) as client:
        assert 500 == post(client).status_code
        (line,) = listed(client)

    assert ("failed", "/v1/chat/completions") == (line["outcome"], line["route"])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("api", APIS)
def test_a_cancelled_one_is_kept_with_what_it_spent(api: str, stream: bool) -> None:
    engine = ScriptedEngine(delay=0.3)
    asked = {"model": "surefoot-single", "messages": TURNS, "input": SUM, "stream": stream}
    with service(engine, keeper=keeper()) as client:
        with (
            pytest.raises(httpx2.ReadTimeout),
            client.stream("POST", f"/v1/{api}", json=asked, timeout=1.5) as response,
        ):
            read_for_a_while(response, 1.0)
        deadline = time.monotonic() + 20
        while not (lines := listed(client)) and time.monotonic() < deadline:
            time.sleep(0.05)
        trace = kept(client, lines[0]["id"])

    assert ("cancelled", f"/v1/{api}") == (trace["outcome"], trace["route"])
    assert 0 < engine.spent.completion == trace["usage"]["wasted"]


def test_free_text_is_kept_as_such() -> None:
    engine = ScriptedEngine(Playback("Soft rain, (0.2)\n\nand then sun."))
    with service(engine, StatedVerifier(), keeper()) as client:
        turns = [{"role": "user", "content": "Write a haiku."}]
        told = chat(client, messages=turns)["surefoot"]
        trace = kept(client, told["trace_id"])

    assert ("free", "open_ended", None) == (trace["form"], trace["stop_reason"], trace["answer"])
    assert [path["round"] for path in trace["paths"]] == [0]


def test_what_is_refused_is_not_kept() -> None:
    with service(keeper=keeper()) as client:
        assert 404 == post(client, model="surefoot-nothing").status_code
        assert 400 == post(client, tools=[{"type": "function"}]).status_code

        assert [] == listed(client)

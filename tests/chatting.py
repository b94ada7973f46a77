"""What the tests of OpenAI's API share: a question, a chat, a stream of one."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2

SUM = "What is 3 and 4 and 5 and 6?"
TURNS = [{"role": "user", "content": SUM}]


def post(client: httpx2.Client, **body: Any) -> httpx2.Response:
    whole = {"model": "surefoot-stepco", "messages": TURNS, "seed": 7} | body
    return client.post("/v1/chat/completions", json=whole)


def chat(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    response = post(client, **body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def content(client: httpx2.Client, **body: Any) -> str:
    text: str = chat(client, **body)["choices"][0]["message"]["content"]
    return text


def refusal(client: httpx2.Client, **body: Any) -> tuple[str, str]:
    """The parameter that a 400 names, and its code."""
    response = post(client, **body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    return error["param"], error["code"]


def data(client: httpx2.Client, **body: Any) -> list[str]:
    """The data of every event of a stream."""
    whole = {"model": "surefoot-stepco", "messages": TURNS, "seed": 7, "stream": True} | body
    with client.stream("POST", "/v1/chat/completions", json=whole) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [event.data for event in httpx2.EventSource(response) if event.data]


def read_for_a_while(response: httpx2.Response, seconds: float = 0.3) -> None:
    """Read so long, and leave as one does whose patience has ended."""
    began = time.monotonic()
    for _ in response.iter_raw():
        if time.monotonic() - began > seconds:
            raise httpx2.ReadTimeout("enough was read")


def chunks(client: httpx2.Client, **body: Any) -> list[dict[str, Any]]:
    *told, last = data(client, **body)
    assert last == "[DONE]"
    return [json.loads(each) for each in told]


def joined(told: list[dict[str, Any]], key: str, index: int = 0) -> str:
    """A choice's text of one kind, put together again."""
    deltas = [
        choice["delta"] for each in told for choice in each["choices"] if choice["index"] == index
    ]
    return "".join(delta.get(key, "") for delta in deltas)

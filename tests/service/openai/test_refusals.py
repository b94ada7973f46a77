"""Whatever is wrong with a request, the answer is small and repeats nothing but a field's name.

A name of the caller's own making is repeated if it is short and plain, as one that is mistyped.
"""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from chatting import TURNS
from staging import service

from service.engines.base import Usage
from service.engines.scripted import ScriptedEngine
from service.openai.request import Asked, ChatRequest
from service.openai.responses import ResponsesRequest

CANARY = "CANARY_"
LONG = CANARY * 15_000  # 105 kB
DEEP: Any = [[[CANARY] * 20] * 20] * 40
FORMS: dict[str, Any] = {
    "text": LONG,
    "list": [LONG],
    "object": {LONG: LONG},
    "many": [CANARY] * 15_000,
    "keys": {f"{CANARY * 10}{number}": number for number in range(1_500)},
    "objects": [{CANARY: CANARY, "type": CANARY, "role": CANARY}] * 3_000,
    "deep": DEEP,
    "number": 10**4_000,
    "turns": [{"role": CANARY, "content": LONG}],
    "parts": [{"role": "user", "content": [{"type": LONG}] * 3}],
    "knobs": {"strategy": {LONG: 1}, "budget": {"max_tokens": LONG}, LONG: 2},
}
PATHS: dict[str, type[Asked]] = {"chat/completions": ChatRequest, "responses": ResponsesRequest}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", PATHS)
def test_a_large_bad_request_gets_a_small_answer_that_does_not_repeat_it(
    client: httpx2.Client, path: str, form: str
) -> None:
    refused = 0
    for field in PATHS[path].model_fields:
        body = {"model": "surefoot-single", "messages": TURNS, "input": "Hi", "max_tokens": 1}
        content = json.dumps(body | {field: FORMS[form]})

        response = client.post(f"/v1/{path}", content=content, headers=JSON)

        if response.status_code != 200:
            refused += 1
            assert response.status_code in (400, 404), (field, response.text)
            assert len(response.content) < 4000, field
            assert CANARY not in response.text, field
            assert {"message", "type", "param", "code"} == set(response.json()["error"])
    assert refused > 15


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", LONG.encode(), b"[" * 100_000, b'{"a":' * 20_000],
    ids=lambda it: repr(it[:8]),
)
def test_what_is_no_request_is_a_small_400(
    client: httpx2.Client, path: str, content: bytes
) -> None:
    response = client.post(f"/v1/{path}", content=content, headers=JSON)

    assert response.status_code == 400
    assert len(response.content) < 4000
    assert CANARY not in response.text


def test_long_unknown_keys_are_not_repeated_in_headers_or_warnings(client: httpx2.Client) -> None:
    keys = {f"{CANARY}{number}_" * 20: 1 for number in range(500)} | {"a b": 1, "é": 1}
    body = {"model": "surefoot-single", "messages": TURNS} | keys

    response = client.post("/v1/chat/completions", json=body)

    assert response.status_code == 200
    assert CANARY not in response.text + str(response.headers)


def test_many_unknown_keys_are_named_up_to_a_number(client: httpx2.Client) -> None:
    body = {"model": "surefoot-single", "messages": TURNS}

    response = client.post("/v1/chat/completions", json=body | {f"k{i}": 1 for i in range(2000)})

    assert response.headers["x-surefoot-ignored"].count("k") == 16


def test_what_is_refused_never_reaches_the_engine() -> None:
    engine = ScriptedEngine()
    with service(engine) as client:
        bad: list[dict[str, Any]] = [{"tools": [1]}, {"model": "x"}, {"n": 0}, {"guided_json": 1}]
        for body in bad:
            whole = {"model": "surefoot-single", "messages": TURNS} | body
            assert client.post("/v1/chat/completions", json=whole).status_code in (400, 404)

    assert Usage() == engine.spent

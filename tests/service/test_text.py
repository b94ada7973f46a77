"""What a model writes can always be sent and kept, whatever it wrote."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from staging import StatedVerifier, service

from service.engines.base import Delta, Message, Prompt, Sampling
from service.engines.scripted import ScriptedEngine
from service.text import is_readable, readable
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store

ODD = " one \ud83d (0.9)\nStep 2: and\x00 \ude00 more\nAnswer: \\boxed{\ud800 7}"
MENDED = " one \ufffd (0.9)\nStep 2: and\ufffd \ufffd more\nAnswer: \\boxed{\ufffd 7}"

QUESTION = "What is 3 and 4?"
TURNS = [{"role": "user", "content": QUESTION}]
ASKED: dict[str, dict[str, Any]] = {
    "/solve": {"problem": QUESTION},
    "/v1/chat/completions": {"model": "surefoot-single", "messages": TURNS},
    "/v1/responses": {"model": "surefoot-single", "input": QUESTION},
}


def odd(_: Prompt, __: random.Random) -> str:
    return ODD


@given(st.text(st.characters()))
def test_readable_text_can_be_encoded_and_is_left_as_it_is(text: str) -> None:
    mended = readable(text)

    mended.encode()
    assert is_readable(mended)
    assert len(mended) == len(text)
    assert (mended == text) == is_readable(text)


def test_a_completion_and_what_was_told_of_it_are_readable_alike() -> None:
    heard: list[Delta] = []

    def watch(delta: Delta) -> bool:
        heard.append(delta)
        return True

    prompt = Prompt((Message("user", QUESTION),), "Step 1:")
    (done,) = asyncio.run(ScriptedEngine(odd).complete([prompt], Sampling(), watch))

    assert MENDED == done.text == "".join(delta.text for delta in heard)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("path", ASKED)
def test_lone_surrogates_of_a_model_break_no_response(path: str, stream: bool) -> None:
    keeper = Keeper(Store("sqlite://"), Retention(30, 1000, 100), content=True)
    with service(ScriptedEngine(odd), StatedVerifier(), keeper) as client:
        response = client.post(path, json=ASKED[path] | {"stream": stream})
        (line,) = client.get("/v1/traces").json()["data"]

    assert 200 == response.status_code
    assert "\ufffd" in line["answer"]
    assert "\ufffd" in response.text or "\\ufffd" in response.text
    assert '"error":{' not in response.text

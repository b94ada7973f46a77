"""What OpenAI's Python client sees, sync and async."""

import asyncio
import json
import sys
from typing import Any

import openai

ASKED = json.loads(sys.argv[1])
MODEL = "surefoot-stepco"


def body(question: str, model: str = MODEL, **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": ASKED[question]}],
        "seed": 7,
        **more,
    }


BODIES = {
    "plain": body("sum"),
    "cut": body("cut", max_completion_tokens=30),
    "bad": body("sum", temperature=5),
    "unknown": body("sum", model="gpt-9"),
    "away": body("away"),
}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def answer(completion: Any) -> dict[str, Any]:
    choice = completion.choices[0]
    return {
        "text": choice.message.content,
        "reasoning": choice.message.reasoning,
        "usage": [completion.usage.prompt_tokens, completion.usage.completion_tokens],
        "finish": choice.finish_reason,
    }


def failure(error: openai.APIError) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "message": str(error),
        "code": error.code,
    }


def joined(chunks: list[Any]) -> dict[str, Any]:
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    usage = chunks[-1].usage
    return {
        "text": "".join(delta.content or "" for delta in deltas),
        "reasoning": "".join(getattr(delta, "reasoning", "") for delta in deltas),
        "usage": [usage.prompt_tokens, usage.completion_tokens],
    }


def plainly() -> dict[str, Any]:
    create = openai.OpenAI(
        base_url=ASKED["url"], api_key="-", max_retries=1
    ).chat.completions.create
    told: dict[str, Any] = {"stream": joined(list(create(**BODIES["plain"], **STREAM)))}
    for name, asked in BODIES.items():
        try:
            told[name] = answer(create(**asked))
        except openai.APIError as error:
            told[name] = failure(error)
    try:
        list(create(**body("breaks"), **STREAM))
    except openai.APIError as error:
        told["breaks"] = failure(error)
    return told


async def asynchronously() -> dict[str, Any]:
    client = openai.AsyncOpenAI(base_url=ASKED["url"], api_key="-", max_retries=0)
    create = client.chat.completions.create
    stream = await create(**BODIES["plain"], **STREAM)
    told: dict[str, Any] = {"stream": joined([chunk async for chunk in stream])}
    for name, asked in BODIES.items():
        try:
            told[name] = answer(await create(**asked))
        except openai.APIError as error:
            told[name] = failure(error)
    try:
        async for _ in await create(**body("breaks"), **STREAM):
            pass
    except openai.APIError as error:
        told["breaks"] = failure(error)
    return told


print(json.dumps({"sync": plainly(), "async": asyncio.run(asynchronously())}))

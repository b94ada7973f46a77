"""A server that speaks as vLLM does, and can be killed: it adds numbers up, and judges sums.

The scripted engine and its verifier behind vLLM's API as `RemoteEngine` uses it: tokens in and out
(a character is one), exact counts, log-probabilities of tokens by name. It is one program for a
policy and a judge. Run: python -m bench._understudy PORT SECONDS-A-TOKEN
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from service.engines.base import Completion, Delta, Message, Prompt, Sampling, Usage
from service.engines.scripted import SUM, ScriptedEngine

NAME = "understudy"
WORDS = ("Yes", "No")  # each is one token
TURN, END = "\x11", "\x12"  # of a turn; no text of a caller's has them


def understudy(delay: float) -> FastAPI:
    """The server; a token takes it so many seconds."""
    app, engine = FastAPI(), ScriptedEngine(delay=delay)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"data": [{"id": NAME, "owned_by": "vllm"}]}

    @app.post("/tokenize")
    async def tokenize(request: Request) -> dict[str, list[int]]:
        asked = await request.json()
        if "prompt" in asked:
            return {"tokens": encoded(asked["prompt"])}
        turns = (f"{TURN}{turn['role']}\n{turn['content']}{END}" for turn in asked["messages"])
        begun = TURN if asked["add_generation_prompt"] else ""
        return {"tokens": encoded("".join(turns) + begun)}

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        body = await request.json()
        text = "".join(map(chr, body["prompt"]))
        return StreamingResponse(written(engine, text, body), media_type="text/event-stream")

    @app.post("/v1/chat/completions")
    async def judge(request: Request) -> Response:
        body = await request.json()
        await asyncio.sleep(5 * delay)
        return JSONResponse(judged(body["messages"][-1]["content"]))

    return app


def encoded(text: str) -> list[int]:
    return [WORDS.index(text)] if text in WORDS else [ord(letter) for letter in text]


async def written(engine: ScriptedEngine, text: str, body: dict[str, Any]) -> AsyncIterator[str]:
    """The chunks of what the engine writes behind the text."""
    told: asyncio.Queue[Delta] = asyncio.Queue()
    head, _, prefix = text.rpartition(TURN)
    question = head.rpartition(f"{TURN}user\n")[2].removesuffix(END)
    sampling = Sampling(
        max_tokens=body["max_tokens"], stop=tuple(body.get("stop", ())), seed=body.get("seed")
    )

    def watch(delta: Delta) -> bool:
        told.put_nowait(delta)
        return True

    prompt = Prompt((Message("user", question),), prefix)
    task = asyncio.ensure_future(engine.complete([prompt], sampling, watch))
    try:
        usage = Usage()
        while True:
            delta = await told.get()
            usage += delta.usage
            yield chunk(delta, usage)
            if delta.finish:
                yield "data: [DONE]\n\n"
                return
    finally:
        await stopped(task)


async def stopped(task: asyncio.Task[list[Completion]]) -> None:
    task.cancel()
    await asyncio.wait([task])


def chunk(delta: Delta, usage: Usage) -> str:
    choice = {"text": delta.text, "token_ids": encoded(delta.text), "finish_reason": delta.finish}
    counts = {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion}
    return f"data: {json.dumps({'choices': [choice], 'usage': counts})}\n\n"


def judged(asked: str) -> dict[str, Any]:
    """Whether every sum that is shown is right, in log-probabilities."""
    sound = all(int(a) + int(b) == int(c) for a, b, c in SUM.findall(asked))
    logs = (-0.05, -3.0) if sound else (-3.0, -0.05)
    tops = [{"token": word, "logprob": log} for word, log in zip(WORDS, logs, strict=True)]
    counts = {"prompt_tokens": len(asked.split()), "completion_tokens": 1}
    content = [{"token": tops[not sound]["token"], "top_logprobs": tops}]
    return {"choices": [{"logprobs": {"content": content}}], "usage": counts}


def main(arguments: Sequence[str]) -> None:
    port, delay = int(arguments[0]), float(arguments[1])
    print(f"http://127.0.0.1:{port}", flush=True)
    uvicorn.run(understudy(delay), port=port, log_level="error")


if __name__ == "__main__":
    random.seed()
    main(sys.argv[1:])

"""The scripted engine behind OpenAI's API, as an engine is served: plain, streamed, n at once.

Who asks for a score or a rating gets a 7, in the form asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from service.engines.base import Completion, Message, Prompt, Sampling
from service.engines.scripted import ScriptedEngine

RATINGS = {"Score the following": '{"score": 7, "reasoning": ""}', "Rate the above": "7"}


def served(engine: ScriptedEngine, model: str = "scripted") -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "us"}]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        body = await request.json()
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 512
        turns = tuple(Message(turn["role"], turn["content"]) for turn in body["messages"])
        sampling = Sampling(max_tokens=most, seed=body.get("seed"))
        done = await engine.complete([Prompt(turns)] * body.get("n", 1), sampling)
        texts = [_rating(turns[-1].content) or each.text for each in done]
        if body.get("stream"):
            return StreamingResponse(_chunks(texts[0], done), media_type="text/event-stream")
        choices = [
            {
                "index": place,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            for place, text in enumerate(texts)
        ]
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": model}
        return JSONResponse(whole | {"choices": choices, "usage": _usage(done)})

    return app


def _rating(asked: str) -> str | None:
    return next((rating for begins, rating in RATINGS.items() if asked.startswith(begins)), None)


def _chunks(text: str, done: list[Completion]) -> Iterator[str]:
    for delta, finish in (({"role": "assistant", "content": text}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        yield f"data: {json.dumps({'choices': [choice]})}\n\n"
    yield f"data: {json.dumps({'choices': [], 'usage': _usage(done)})}\n\n"
    yield "data: [DONE]\n\n"


def _usage(done: list[Completion]) -> dict[str, Any]:
    prompt = done[0].usage.prompt
    completion = sum(each.usage.completion for each in done)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(each.usage.cached for each in done[:1])},
    }

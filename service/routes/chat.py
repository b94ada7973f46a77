"""POST /v1/chat/completions: OpenAI's API, for its clients."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from service.errors import ServiceError
from service.openai import names
from service.openai.answer import Answer, Stamp, Teller, answer
from service.openai.completion import ChatCompletion, Chunks, completion
from service.openai.request import Asked, ChatRequest
from service.routes.failures import envelope
from service.routes.sse import CLIENT_CLOSED, PING, Done, told, while_connected
from service.solver import Solver

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def chat(request: Request, body: ChatRequest) -> Response:
    """Answer a conversation, whole or, with `stream`, in chunks as it is reasoned out."""
    solver: Solver = request.app.state.solver
    names.demand(body.model, solver.engine.name)
    stamp = Stamp.new("chatcmpl-", body, solver)

    async def run(tell: Teller) -> Answer:
        return await answer(solver, body, tell)

    if body.stream:
        chunks = _chunks(told(run), Chunks(stamp, body))
        return EventSourceResponse(chunks, ping=PING, headers=ignored(body))
    answered = await while_connected(request, run(lambda _: None))
    if answered is None:
        return Response(status_code=CLIENT_CLOSED)
    whole = completion(answered, stamp, body).model_dump_json(exclude_unset=True)
    return Response(whole, media_type="application/json", headers=ignored(body))


def ignored(asked: Asked) -> dict[str, str]:
    """The header that names what was passed over."""
    return {"x-surefoot-ignored": ", ".join(asked.ignored)} if asked.ignored else {}


async def _chunks(
    going: AsyncGenerator[tuple[int, str] | Done[Answer], None], chunks: Chunks
) -> AsyncIterator[ServerSentEvent]:
    for chunk in chunks.begin(0):
        yield _event(chunk)
    try:
        async with aclosing(going):
            async for each in going:
                match each:
                    case Done(answered):
                        ready = chunks.end(answered)
                    case (index, text):
                        ready = chunks.reason(index, text)
                for chunk in ready:
                    yield _event(chunk)
    except ServiceError as error:
        yield _event(envelope(error))
    else:
        yield ServerSentEvent("[DONE]")


def _event(chunk: object) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(chunk, separators=(",", ":")))

"""POST /v1/responses: OpenAI's newer API, for the clients that speak it first."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from service.errors import ServiceError
from service.openai import names
from service.openai.answer import Answer, Stamp, Teller, answer
from service.openai.response_events import Event, ResponseEvents
from service.openai.responses import ResponseObject, ResponsesRequest, ended, response
from service.routes.chat import ignored
from service.routes.failures import envelope
from service.routes.sse import CLIENT_CLOSED, PING, Done, told, while_connected
from service.solver import Solver

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post(
    "/responses",
    response_model=ResponseObject,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def respond(request: Request, body: ResponsesRequest) -> Response:
    """Answer an input, whole or, with `stream`, in events as it is reasoned out."""
    solver: Solver = request.app.state.solver
    names.demand(body.model, solver.engine.name)
    stamp = Stamp.new("resp_", body, solver)

    async def run(tell: Teller) -> Answer:
        return await answer(solver, body, tell)

    if body.stream:
        events = _events(told(run), ResponseEvents(stamp, body))
        return EventSourceResponse(events, ping=PING, headers=ignored(body))
    answered = await while_connected(request, run(lambda _: None))
    if answered is None:
        return Response(status_code=CLIENT_CLOSED)
    whole = response(stamp, body, ended(answered), answered).model_dump_json()
    return Response(whole, media_type="application/json", headers=ignored(body))


async def _events(
    going: AsyncGenerator[tuple[int, str] | Done[Answer], None], events: ResponseEvents
) -> AsyncIterator[ServerSentEvent]:
    for event in events.begin():
        yield _sent(event)
    try:
        async with aclosing(going):
            async for each in going:
                match each:
                    case Done(answered):
                        ready = events.end(answered)
                    case (_, text):
                        ready = events.reason(text)
                for event in ready:
                    yield _sent(event)
    except ServiceError as error:
        yield _sent(events.fail(envelope(error)["error"]))


def _sent(event: Event) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(event, separators=(",", ":")), event=event["type"])

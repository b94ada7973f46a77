"""POST /v1/responses: OpenAI's newer API, for the clients that speak it first."""

from fastapi import APIRouter, Request, Response

from service.openai import names
from service.openai.answer import Answer, Stamp
from service.openai.response_events import ResponseEvents
from service.openai.responses import ResponseObject, ResponsesRequest, ended, response
from service.routes.answering import respond
from service.solver import Solver

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post(
    "/responses",
    response_model=ResponseObject,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def responses(request: Request, body: ResponsesRequest) -> Response:
    """Answer an input, whole or, with `stream`, in events as it is reasoned out."""
    solver: Solver = request.app.state.solver
    names.demand(body.model, solver.engine.name)
    stamp = Stamp.new("resp_", body, solver)

    def whole(answer: Answer) -> str:
        return response(stamp, body, ended(answer), answer).model_dump_json()

    return await respond(request, body, ResponseEvents(stamp, body), whole)

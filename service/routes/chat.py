"""POST /v1/chat/completions: OpenAI's API, for its clients."""

from fastapi import APIRouter, Request, Response

from service.openai import names
from service.openai.answer import Answer, Stamp
from service.openai.completion import ChatCompletion, Chunks, completion
from service.openai.request import ChatRequest
from service.routes.answering import respond
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

    def whole(answer: Answer) -> str:
        return completion(answer, stamp, body).model_dump_json(exclude_unset=True)

    return await respond(request, body, Chunks(stamp, body), whole)

"""POST /v1/chat/completions: OpenAI's API, for its clients."""

from fastapi import APIRouter, Response

from service.errors import ModelNotFound
from service.openai.completion import ChatCompletion, Chunks
from service.openai.request import ChatRequest
from service.routes.answering import Answerer
from service.routes.document import answered
from service.routes.entrance import SolvingRoute
from service.routes.failures import SOLVING, documented

router = APIRouter(prefix="/v1", tags=["openai"], route_class=SolvingRoute)


@router.post(
    "/chat/completions",
    summary="Answer a chat",
    response_model=ChatCompletion,
    responses=documented(*SOLVING, ModelNotFound) | answered("/surefoot/trace_id"),
)
async def chat(body: ChatRequest, answerer: Answerer) -> Response:
    """Answer a conversation, whole or, with `stream`, in chunks as it is reasoned out."""
    return await answerer.respond(body, Chunks(answerer.stamp("chatcmpl-", body), body))

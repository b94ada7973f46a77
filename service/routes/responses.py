"""POST /v1/responses: OpenAI's newer API, for the clients that speak it first."""

from fastapi import APIRouter, Response

from service.errors import ModelNotFound
from service.openai.response_events import ResponseEvents
from service.openai.responses import ResponseObject, ResponsesRequest
from service.routes.answering import Answerer
from service.routes.document import answered
from service.routes.entrance import SolvingRoute
from service.routes.failures import SOLVING, documented

router = APIRouter(prefix="/v1", tags=["openai"], route_class=SolvingRoute)


@router.post(
    "/responses",
    summary="Answer an input",
    response_model=ResponseObject,
    responses=documented(*SOLVING, ModelNotFound) | answered("/surefoot/trace_id"),
)
async def responses(body: ResponsesRequest, answerer: Answerer) -> Response:
    """Answer an input, whole or, with `stream`, in events as it is reasoned out."""
    return await answerer.respond(body, ResponseEvents(answerer.stamp("resp_", body), body))

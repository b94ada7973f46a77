"""POST /solve: one question, solved with the strategy of the caller's choice."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, JSONServerSentEvent

from service.errors import ServiceError
from service.events import Event, Listener, unheard
from service.routes import shapes
from service.routes.document import answered
from service.routes.entrance import SolvingRoute, Visiting
from service.routes.failures import SOLVING, documented, envelope
from service.routes.keeping import CameBy, Keeping
from service.routes.losses import warning
from service.routes.shapes import SolveRequest, SolveResponse, response
from service.routes.sse import LINE, PING, Done, told, while_connected
from service.solver import Solver
from service.telemetry.exchange import CLIENT_CLOSED

router = APIRouter(tags=["solve"], route_class=SolvingRoute)


@router.post(
    "/solve",
    summary="Solve a question",
    response_model=SolveResponse,
    responses=documented(*SOLVING) | answered("/id"),
)
async def solve(
    request: Request, body: SolveRequest, origin: CameBy, keep: Keeping, visit: Visiting
) -> Response:
    """Solve a question: JSON, or with `stream` server-sent events as the solve goes on.

    Events: `step`, `drafted`, `verified`, `revised`, `candidate`, and at the end `done` with the
    whole response, or `error`.
    """
    solver: Solver = request.app.state.solver
    task = body.task(visit.deadline_ms(body.budget.deadline_ms, "budget.deadline_ms"))
    await visit.enter(task)

    async def run(tell: Listener) -> SolveResponse:
        async with visit.turn() as ledger:
            report = await solver.solve(task, tell, keep, ledger)
        return response(report, origin, include_trace=body.include_trace)

    if body.stream:
        return EventSourceResponse(_events(told(run)), ping=PING, sep=LINE)
    answer = await while_connected(request, run(unheard))
    if answer is None:
        return Response(status_code=CLIENT_CLOSED)
    headers = warning(answer.stop_reason)
    return Response(answer.model_dump_json(), media_type="application/json", headers=headers)


async def _events(
    going: AsyncGenerator[Event | Done[SolveResponse], None],
) -> AsyncIterator[JSONServerSentEvent]:
    try:
        async with aclosing(going):
            async for each in going:
                if isinstance(each, Done):
                    yield _event("done", each.result.model_dump(mode="json"))
                elif (named := shapes.told(each)) is not None:
                    yield _event(*named)
    except ServiceError as error:
        yield _event("error", envelope(error))


def _event(name: str, data: dict[str, Any]) -> JSONServerSentEvent:
    return JSONServerSentEvent(data, event=name, sep=LINE)

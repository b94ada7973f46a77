"""POST /solve: one question, solved with the strategy of the caller's choice."""

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse

from service.events import Listener, unheard
from service.routes.keeping import CameBy, Keeping
from service.routes.shapes import SolveRequest, SolveResponse, response
from service.routes.sse import events, while_connected
from service.solver import Solver

router = APIRouter(tags=["solve"])

PING = 15  # seconds between keep-alive comments
CLIENT_CLOSED = 499  # nobody reads it; the access log does


@router.post(
    "/solve", response_model=SolveResponse, responses={200: {"content": {"text/event-stream": {}}}}
)
async def solve(request: Request, body: SolveRequest, origin: CameBy, keep: Keeping) -> Response:
    """Solve a question: JSON, or with `stream` server-sent events as the solve goes on.

    Events: `step`, `drafted`, `verified`, `revised`, `candidate`, and at the end `done` with the
    whole response, or `error`.
    """
    solver: Solver = request.app.state.solver
    task = body.task()

    async def run(tell: Listener) -> SolveResponse:
        report = await solver.solve(task, tell, keep)
        return response(report, origin, include_trace=body.include_trace)

    if body.stream:
        return EventSourceResponse(events(run), ping=PING)
    answer = await while_connected(request, run(unheard))
    if answer is None:
        return Response(status_code=CLIENT_CLOSED)
    return Response(answer.model_dump_json(), media_type="application/json")

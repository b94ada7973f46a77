"""What the routes of OpenAI's API do alike: answer whole, or in pieces as the answer is made."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from service.errors import ServiceError
from service.openai import names
from service.openai.answer import Answer, Piece, Stamp, Teller, answer
from service.openai.request import Asked
from service.openai.task import task
from service.routes.entrance import Visiting
from service.routes.failures import envelope
from service.routes.keeping import CameBy, Keeping
from service.routes.losses import warning
from service.routes.sse import LINE, PING, Done, told, while_connected
from service.solver import Solver
from service.telemetry.exchange import CLIENT_CLOSED

DEADLINE = "surefoot.budget.deadline_ms"


class Pieces(Protocol):
    """An answer as one API tells it, whole or in pieces.

    A piece that has a `type` is an event of that name.
    """

    def whole(self, answer: Answer) -> str: ...

    def begin(self) -> Iterator[Piece]: ...

    def reason(self, index: int, text: str) -> Iterator[Piece]: ...

    def end(self, answer: Answer) -> Iterator[Piece]: ...

    def fail(self, error: dict[str, str | None]) -> Iterator[Piece]: ...


@dataclass(frozen=True, slots=True)
class Answering:
    """The answering of one request: who asks, and what keeps its solves."""

    request: Request
    origin: CameBy
    keep: Keeping
    visit: Visiting

    @property
    def solver(self) -> Solver:
        solver: Solver = self.request.app.state.solver
        return solver

    def stamp(self, kind: str, asked: Asked) -> Stamp:
        """What is common to the parts of its response; raises `ModelNotFound`."""
        names.demand(asked.model, self.origin.model)
        return Stamp.new(kind, asked, self.solver)

    async def respond(self, asked: Asked, pieces: Pieces) -> Response:
        """Ask the solver when its turn has come; a caller that leaves stops it."""
        wanted = task(asked, self.visit.deadline_ms(asked.surefoot.budget.deadline_ms, DEADLINE))
        await self.visit.enter(wanted)
        headers = {"x-surefoot-ignored": ", ".join(asked.ignored)} if asked.ignored else {}

        async def run(tell: Teller) -> Answer:
            async with self.visit.turn() as ledger:
                return await answer(
                    self.solver, asked, wanted, tell, self.origin, self.keep, ledger
                )

        if asked.stream:
            sent = _sent(told(run), pieces)
            return EventSourceResponse(sent, ping=PING, sep=LINE, headers=headers)
        answered = await while_connected(self.request, run(lambda _: None))
        if answered is None:
            return Response(status_code=CLIENT_CLOSED)
        headers |= warning(answered.surefoot.stop_reason)
        return Response(pieces.whole(answered), media_type="application/json", headers=headers)


Answerer = Annotated[Answering, Depends()]


async def _sent(
    going: AsyncGenerator[tuple[int, str] | Done[Answer], None], pieces: Pieces
) -> AsyncIterator[ServerSentEvent]:
    for piece in pieces.begin():
        yield _event(piece)
    try:
        async with aclosing(going):
            async for each in going:
                match each:
                    case Done(answered):
                        ready = pieces.end(answered)
                    case (index, text):
                        ready = pieces.reason(index, text)
                for piece in ready:
                    yield _event(piece)
    except ServiceError as error:
        for piece in pieces.fail(envelope(error)["error"]):
            yield _event(piece)


def _event(piece: Piece) -> ServerSentEvent:
    if isinstance(piece, str):
        return ServerSentEvent(piece, sep=LINE)
    text = json.dumps(piece, separators=(",", ":"))
    return ServerSentEvent(text, event=piece.get("type"), sep=LINE)

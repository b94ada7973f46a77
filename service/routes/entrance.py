"""The way in: whoever asks to solve is counted, reserved for and given a place, or refused.

What can be refused before the body is read is. Whatever a request holds is given back when its
solve ends; and if there was none, when its response has been sent or its caller has left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import WithJsonSchema
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from service.admission import Admission, Place
from service.errors import InvalidRequest, Overloaded, ServiceError
from service.ledger import Ledger
from service.quotas import Quotas, Reserved, Standing
from service.settings import Settings
from service.solver import Task
from service.tenants import Tenant, caller

TIMEOUT = "x-request-timeout-ms"
Milliseconds = Annotated[
    int | None,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 86_400_000}),  # it is never null
    Header(alias=TIMEOUT, ge=1, le=86_400_000, description="As the budget's `deadline_ms`."),
]


class Visit:
    """One request on its way through."""

    def __init__(self, request: Request) -> None:
        self.timeout_ms: int | None = None
        """What its header says."""
        self._request = request
        self._began = time.monotonic()
        self._standing: dict[str, str] = {}
        self._tenant: Tenant | None = None
        self._ledger: Ledger | None = None
        self._reserved: Reserved | None = None
        self._place: Place | None = None

    async def knock(self) -> None:
        """Raises what there is against any request of this caller's."""
        self._tenant = await caller(self._request, None)
        self.admission.demand_room(self._tenant)
        await self._quotas.count(self._tenant, self._tell)

    def deadline_ms(self, asked: int | None, param: str) -> int:
        """The milliseconds it has: by its body or its header, whichever is less, or by default.

        Raises `InvalidRequest` if one is over what we give.
        """
        settings: Settings = self._request.app.state.settings
        said = {param: asked, TIMEOUT: self.timeout_ms}
        given = {name: ms for name, ms in said.items() if ms is not None}
        for name, wanted in given.items():
            if wanted > settings.deadline_most_ms:
                raise InvalidRequest("No request has so much time here; ask for less.", name)
        return min(given.values(), default=settings.deadline_ms)

    async def enter(self, task: Task) -> None:
        """Reserve the task's tokens and take a place in the queue; raises what is against it."""
        assert self._tenant is not None, "nobody knocked"
        salt = self._tenant.salt(task.cache_salt)
        most, self._ledger = task.most_tokens, Ledger(task.budget, self._began, salt)
        self._reserved = await self._quotas.reserve(self._tenant, most, self._tell)
        within = self._ledger.seconds_left
        self._place = self.admission.enter(self._tenant, task.strategy.name, most, within)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Ledger]:
        """The request's ledger, when its turn has come; what it holds is given back behind it.

        Raises `Overloaded` if its deadline comes first, and `ShuttingDown`.
        """
        assert self._place is not None, "nobody entered"
        assert self._ledger is not None, "nobody entered"
        try:
            await self._wait(self._place, self._ledger)
            yield self._ledger
        except ServiceError as error:
            error.retryable &= not self._ledger.generated_in_all  # nobody shall pay twice
            raise
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Give back whatever is held."""
        place, self._place = self._place, None
        reserved, self._reserved = self._reserved, None
        if place and self._ledger:
            self.admission.leave(place, self._ledger.computed_in_all)
        if reserved and self._ledger:
            await self._quotas.settle(reserved, self._ledger.generated_in_all)

    def headed(self, send: Send) -> Send:
        """Sends with the response how the tenant stands."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._standing)
            await send(message)

        return sending

    @property
    def admission(self) -> Admission:
        admission: Admission = self._request.app.state.admission
        return admission

    @property
    def _quotas(self) -> Quotas:
        quotas: Quotas = self._request.app.state.quotas
        return quotas

    def _tell(self, standing: Standing) -> None:
        self._standing |= standing.headers

    async def _wait(self, place: Place, ledger: Ledger) -> None:
        try:
            async with asyncio.timeout(ledger.seconds_left):
                await place.turn()
        except TimeoutError as error:
            raise Overloaded("The deadline passed in the queue; try again later.") from error


class SolvingRoute(APIRoute):
    """A route whose requests solve: each is a visit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def visited(request: Request) -> Response:
            await request.state.visit.knock()
            return await answer(request)

        return visited

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        visit = request.state.visit = Visit(request)
        with visit.admission.visitor():
            try:
                await super().handle(scope, receive, visit.headed(send))
            finally:
                await visit.leave()


def visit(request: Request, timeout_ms: Milliseconds = None) -> Visit:
    own: Visit = request.state.visit
    own.timeout_ms = timeout_ms
    return own


Visiting = Annotated[Visit, Depends(visit)]

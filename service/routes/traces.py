"""GET and DELETE /v1/traces: the solves that were kept, each tenant's to itself."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from service.errors import InvalidRequest, NotFound, TracesUnavailable
from service.routes.failures import documented
from service.routes.keeping import Kept, Tenant
from service.traces.store import ID, PLACE, Filter, Place
from service.traces.trace import Outcome, Summary, Trace
from service.wire import Reply

router = APIRouter(prefix="/v1/traces", tags=["traces"])


def _date(given: object) -> object:
    """A number is no date, though pydantic would take it for seconds."""
    if isinstance(given, str) and not DATE.match(given):
        raise ValueError("not a date and time, as 2026-01-31T12:00:00Z")
    return given


DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
Moment = Annotated[AwareDatetime, BeforeValidator(_date)]
Cursor = Annotated[str, Field(max_length=64, json_schema_extra={"pattern": f"^{PLACE.pattern}$"})]
JSON = "application/json"
JSONL = "application/jsonl"


TraceId = Annotated[str, PathParameter(json_schema_extra={"pattern": f"^{ID.pattern}$"})]


class Wanted(BaseModel, extra="forbid", use_attribute_docstrings=True):
    """Which traces."""

    strategy: str | None = Field(default=None, pattern="^[a-z_]{1,64}$")
    outcome: Outcome | None = None
    since: Moment | None = None
    """Made then or later."""
    until: Moment | None = None
    """Made before then."""

    def filter(self) -> Filter:
        return Filter(self.strategy, self.outcome, self.since, self.until)


class Paged(Wanted):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: Cursor | None = None
    """The `next_cursor` of the page before."""


class Page(Reply):
    data: list[Summary]
    next_cursor: str | None
    """Of the page that follows; null on the last."""


@router.get(
    "",
    summary="List the traces",
    responses=documented(InvalidRequest, NotFound, TracesUnavailable),
)
async def list_traces(store: Kept, tenant: Tenant, query: Annotated[Paged, Query()]) -> Page:
    """The solves that were kept, newest first."""
    after = None if query.cursor is None else Place.parse(query.cursor)
    found = await store.page(tenant, query.filter(), query.limit + 1, after)
    data = found[: query.limit]
    following = str(Place(data[-1].created, data[-1].id)) if len(found) > len(data) else None
    return Page(data=data, next_cursor=following)


@router.get(
    "/export",
    summary="Export the traces",
    response_class=StreamingResponse,
    responses=documented(InvalidRequest, NotFound, TracesUnavailable)
    | {200: {"content": {JSONL: {"schema": {"type": "string"}}}}},
)
async def export_traces(
    store: Kept, tenant: Tenant, query: Annotated[Wanted, Query()]
) -> StreamingResponse:
    """All of them, whole, newest first: a line of JSON each."""
    bodies = store.each(tenant, query.filter())
    first = await anext(bodies, None)  # a store that fails, fails before the response begins

    async def lines() -> AsyncIterator[str]:
        if first is not None:
            yield f"{first}\n"
        async for body in bodies:
            yield f"{body}\n"

    return StreamingResponse(lines(), media_type=JSONL)


@router.get(
    "/{id}",
    summary="Show a trace",
    response_model=Trace,
    responses=documented(NotFound, TracesUnavailable),
)
async def show_trace(store: Kept, tenant: Tenant, id: TraceId) -> Response:
    """One of them, whole."""
    body = await store.get(tenant, id)
    if body is None:
        raise _unknown()
    return Response(body, media_type=JSON)


@router.delete(
    "/{id}",
    summary="Delete a trace",
    status_code=204,
    responses=documented(NotFound, TracesUnavailable),
)
async def delete_trace(store: Kept, tenant: Tenant, id: TraceId) -> None:
    """Delete one of them, for good."""
    if not await store.delete(tenant, id):
        raise _unknown()


def _unknown() -> NotFound:
    return NotFound("There is no such trace; GET /v1/traces lists those there are.", "id")

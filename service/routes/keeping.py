"""Whose request it is, and what keeps its solves."""

from typing import Annotated

from fastapi import Depends, Request

from service import tenants
from service.correlation import request_id
from service.errors import NotFound
from service.solver import Keep, Loss, Report, Solver, unkept
from service.telemetry.metrics import Metrics
from service.telemetry.spans import Spans
from service.traces.keeper import Keeper
from service.traces.store import Store
from service.traces.trace import Origin


def tenant(caller: Annotated[tenants.Tenant, Depends(tenants.caller)]) -> str:
    return caller.id


Tenant = Annotated[str, Depends(tenant)]


def origin(request: Request, tenant: Tenant) -> Origin:
    solver: Solver = request.app.state.solver
    verifier = solver.verifier
    own = verifier.name, verifier.threshold, verifier.aggregate
    return Origin(tenant, request.url.path, solver.engine.name, *own)


CameBy = Annotated[Origin, Depends(origin)]


def keep(request: Request, origin: CameBy) -> Keep:
    """Each run goes to the metrics, and to traces and spans where they are on."""
    state = request.app.state
    metrics: Metrics = state.metrics
    keeper: Keeper | None = state.keeper
    spans: Spans | None = state.spans
    counted = metrics.keeping(origin.tenant)
    traced = keeper.keeping(origin) if keeper else unkept

    def kept(run: Report | Loss) -> None:
        counted(run)
        traced(run)
        if spans:
            spans.kept(run, origin, request_id.get(), request.headers)

    return kept


Keeping = Annotated[Keep, Depends(keep)]


async def store(request: Request) -> Store:
    """What was kept, to the last solve; raises `NotFound` where nothing is."""
    keeper: Keeper | None = request.app.state.keeper
    if keeper is None:
        raise NotFound("No traces are kept here; set SUREFOOT_TRACES.")
    return await keeper.settled()


Kept = Annotated[Store, Depends(store)]

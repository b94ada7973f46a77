"""Whose request it is, and what keeps its solves."""

from typing import Annotated

from fastapi import Depends, Request

from service import tenants
from service.errors import NotFound
from service.solver import Keep, Solver, unkept
from service.traces.keeper import Keeper
from service.traces.store import Store
from service.traces.trace import Origin


def tenant(caller: Annotated[tenants.Tenant, Depends(tenants.caller)]) -> str:
    return caller.id


Tenant = Annotated[str, Depends(tenant)]


def origin(request: Request, tenant: Tenant) -> Origin:
    solver: Solver = request.app.state.solver
    verifier = solver.verifier
    return Origin(tenant, request.url.path, solver.engine.name, verifier.name, verifier.threshold)


CameBy = Annotated[Origin, Depends(origin)]


def keep(request: Request, origin: CameBy) -> Keep:
    keeper: Keeper | None = request.app.state.keeper
    return keeper.keeping(origin) if keeper else unkept


Keeping = Annotated[Keep, Depends(keep)]


async def store(request: Request) -> Store:
    """What was kept, to the last solve; raises `NotFound` where nothing is."""
    keeper: Keeper | None = request.app.state.keeper
    if keeper is None:
        raise NotFound("No traces are kept here; set SUREFOOT_TRACES.")
    return await keeper.settled()


Kept = Annotated[Store, Depends(store)]

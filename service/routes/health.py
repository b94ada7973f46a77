"""Is the process alive, and could it solve something."""

from fastapi import APIRouter, Request

from service.admission import Admission
from service.errors import EngineError, EngineUnavailable, ShuttingDown, VerifierUnavailable
from service.routes.failures import documented
from service.solver import Solver
from service.traces.keeper import Keeper

router = APIRouter(tags=["health"])


@router.get("/health", summary="Is the process alive")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get(
    "/ready",
    summary="Could it solve something",
    responses=documented(EngineError, EngineUnavailable, VerifierUnavailable, ShuttingDown),
)
async def ready(request: Request) -> dict[str, str]:
    """Engine and verifier answer, and the service is not about to end.

    `traces`: kept, off, or what keeps them from being kept.
    """
    admission: Admission = request.app.state.admission
    admission.demand_open()
    solver: Solver = request.app.state.solver
    keeper: Keeper | None = request.app.state.keeper
    await solver.check()
    return {
        "status": "ready",
        "engine": solver.engine.name,
        "verifier": solver.verifier.name,
        "traces": (keeper.trouble or "kept") if keeper else "off",
    }

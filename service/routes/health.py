"""Is the process alive, and could it solve something."""

from fastapi import APIRouter, Request

from service.solver import Solver

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/ready", responses={503: {"description": "Engine or verifier does not answer."}})
async def ready(request: Request) -> dict[str, str]:
    """Engine and verifier answer."""
    solver: Solver = request.app.state.solver
    await solver.check()
    return {"status": "ready", "engine": solver.engine.name, "verifier": solver.verifier.name}

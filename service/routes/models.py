"""GET /v1/models: the names that a request's `model` may have."""

from fastapi import APIRouter, Request

from service.openai import names
from service.openai.names import Model, ModelList

router = APIRouter(prefix="/v1", tags=["openai"])


@router.get("/models")
async def models(request: Request) -> ModelList:
    """Every model that is served: a strategy each, under our name and under the policy's."""
    state = request.app.state
    served = names.served(state.solver.engine.name)
    return ModelList(object="list", data=[names.shown(name, state.since) for name in served])


@router.get("/models/{model:path}", responses={404: {"description": "There is no such model."}})
async def model(request: Request, model: str) -> Model:
    """One of them."""
    state = request.app.state
    names.demand(model, state.solver.engine.name)
    return names.shown(model, state.since)

"""GET /v1/models: the names that a request's `model` may have."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from service.errors import ModelNotFound
from service.openai import names
from service.openai.names import Model, ModelList
from service.routes.failures import documented

router = APIRouter(prefix="/v1", tags=["openai"])

Named = Annotated[str, Path(examples=["surefoot-stepco"])]
SHOWN = {"model": {"operationId": "model", "parameters": {"model": "$response.body#/data/0/id"}}}


@router.get("/models", summary="List the models", responses={200: {"links": SHOWN}})
async def models(request: Request) -> ModelList:
    """Every model that is served: a strategy each, under our name and under the policy's."""
    state = request.app.state
    served = names.served(state.solver.engine.name)
    return ModelList(object="list", data=[names.shown(name, state.since) for name in served])


@router.get("/models/{model:path}", summary="Show a model", responses=documented(ModelNotFound))
async def model(request: Request, model: Named) -> Model:
    """One of them."""
    state = request.app.state
    names.demand(model, state.solver.engine.name)
    return names.shown(model, state.since)

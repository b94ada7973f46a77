"""The OpenAPI document: what FastAPI makes of the routes, and what holds for all of them.

What one route answers stands at the route; how failures look, in `failures`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute

from service.routes.ids import HEADER, PLAIN

router = APIRouter(include_in_schema=False)
PATH = "/openapi.json"

REQUEST_ID = {
    "description": "The request's own, if it is short and plain, or one of ours; logs have it too.",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{PLAIN.pattern}$"},
}

EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string", "description": "JSON; at the end of a chat, `[DONE]`."},
    },
}


class DocumentedAPI(FastAPI):
    """An application whose document says what it does: operations are named as their functions."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - FastAPI's
        super().__init__(generate_unique_id_function=_name, openapi_url=None, **options)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            made = super().openapi()
            for path in made["paths"].values():
                for operation in path.values():
                    _complete(operation["responses"])
            for unused in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(unused, None)
        return super().openapi()


@router.get(PATH)
async def document(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    return get_swagger_ui_html(openapi_url=PATH, title=request.app.title)


def _name(route: APIRoute) -> str:
    return route.name


def _complete(responses: dict[str, Any]) -> None:
    """Every response has an id; what does not validate is a 400, though FastAPI writes 422."""
    responses.pop("422", None)
    for response in responses.values():
        response.setdefault("headers", {})[HEADER] = REQUEST_ID


def _links(pointer: str) -> dict[str, Any]:
    """Where the trace is read and deleted whose id stands there in the body."""
    parameters = {"id": f"$response.body#{pointer}"}
    return {
        name: {"operationId": name, "parameters": parameters}
        for name in ("show_trace", "delete_trace")
    }


def answered(pointer: str) -> dict[int | str, dict[str, Any]]:
    """An answer, whole or as events; the id of its trace stands there in the body."""
    return {
        200: {"content": {"text/event-stream": {"itemSchema": EVENT}}, "links": _links(pointer)}
    }

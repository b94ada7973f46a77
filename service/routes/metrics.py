"""GET /metrics: how the service fares, for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.telemetry.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="How it fares, for Prometheus",
    response_class=Response,  # what is refused is JSON
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Every metric in Prometheus's text format; docs/operations.md says what each means."""
    kept: Metrics = request.app.state.metrics
    return Response(await kept.text(), media_type=CONTENT_TYPE_LATEST)

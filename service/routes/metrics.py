"""GET /metrics: how the service fares, for Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.telemetry.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get("/metrics", summary="How it fares, for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Every metric in Prometheus's text format; docs/operations.md says what each means."""
    kept: Metrics = request.app.state.metrics
    return Response(await kept.text(), media_type=CONTENT_TYPE_LATEST)

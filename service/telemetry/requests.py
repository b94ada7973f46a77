"""Measures every request, from its first byte to the last of its response, and logs a line of it.

Pure ASGI, and outermost, so that what others refuse is counted too. A route is named by its
template, never by what the caller wrote; what is no route of ours is "other".
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry.exchange import REJECTIONS, Exchange, exchange

log = logging.getLogger(__name__)

ASKED_OFTEN = ("/health", "/ready", "/metrics")
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Requests:
    """The metrics of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("route", "algorithm")
        seconds = partial(Histogram, labelnames=labels, buckets=SECONDS, registry=registry)
        self._total = Counter(
            "surefoot_requests_total",
            "Requests that are over, by route, strategy and what came of them.",
            (*labels, "outcome"),
            registry=registry,
        )
        self._duration = seconds(
            "surefoot_request_duration_seconds",
            "From a request to the last byte of its response.",
        )
        self._first_byte = seconds(
            "surefoot_time_to_first_byte_seconds",
            "From a request to the first byte of its response's body.",
        )
        self._answer = seconds(
            "surefoot_time_to_first_answer_token_seconds",
            "From a request to the choice of its answer, before which no token of it is sent.",
        )
        self._rejections = Counter(
            "surefoot_rejections_total",
            "Requests that were turned away, by the code of the error that says so.",
            ("reason",),
            registry=registry,
        )
        for reason in REJECTIONS:
            self._rejections.labels(reason)
        self.inflight = 0
        running = Gauge(
            "surefoot_inflight",
            "Requests being answered that solve something, those that wait among them.",
            registry=registry,
        )
        running.set_function(lambda: self.inflight)

    def solves(self, now: Exchange) -> None:
        """The request will solve something: it is in flight until its end."""
        self.inflight += not now.solving
        now.solving = True

    def end(self, now: Exchange, route: str) -> None:
        labels = (route, now.algorithm)
        self._total.labels(*labels, now.outcome).inc()
        self._duration.labels(*labels).observe(now.seconds)
        if now.first_byte is not None:
            self._first_byte.labels(*labels).observe(now.first_byte)
        if now.answer is not None:
            self._answer.labels(*labels).observe(now.answer)
        if now.error is not None and now.outcome == "rejected":
            self._rejections.labels(now.error.code).inc()
        self.inflight -= now.solving


class Measured:
    """The middleware."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        now = Exchange()
        exchange.set(now)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                now.status = message["status"]
            elif now.first_byte is None and message.get("body"):
                now.first_byte = now.seconds
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._requests.end(now, route)
            _tell(now, scope["method"], route)


def _tell(now: Exchange, method: str, route: str) -> None:
    """The line of a request: numbers, and names from closed sets."""
    level = logging.DEBUG if route in ASKED_OFTEN else logging.INFO
    if not log.isEnabledFor(level):
        return
    line: dict[str, Any] = {
        "method": method if method in METHODS else "other",
        "route": route,
        "status": now.status or 500,
        "outcome": now.outcome,
        "seconds": round(now.seconds, 4),
    }
    if now.error is not None:
        line["code"] = now.error.code
    if now.runs:
        spent = now.runs[-1].ledger
        line |= {
            "algorithm": now.algorithm,
            "solves": [run.id for run in now.runs],
            "tokens": spent.computed,
        }
    log.log(level, "request", extra=line)

"""Composes the service: solver, routes and middleware around an engine and a verifier."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from service.admission import Admission
from service.engines.base import Backend
from service.keyring import Keyring
from service.quotas import Quotas
from service.routes import (
    callers,
    chat,
    document,
    failures,
    health,
    ids,
    limits,
    metrics,
    models,
    responses,
    solve,
    traces,
)
from service.routes.document import DocumentedAPI
from service.settings import Settings
from service.solver import Solver
from service.telemetry.metrics import Metrics
from service.telemetry.requests import Measured
from service.telemetry.spans import Spans
from service.tenants import caller
from service.traces.keeper import Keeper
from verifier.answers import Grader
from verifier.batching import Batching
from verifier.scoring import VerifierBackend


def create_app(
    engine: Backend,
    verifier: VerifierBackend,
    keeper: Keeper | None = None,
    settings: Settings | None = None,
    spans: Spans | None = None,
) -> FastAPI:
    """The application around an engine and a verifier; what keeps traces and exports spans, if any.

    It closes them when it ends. Of the settings it takes who may call, and what callers may have;
    raises `StartupError` if the file of keys cannot be read.
    """
    settings = settings or Settings()
    keyring = Keyring(settings.keyring) if settings.keyring else None
    quotas = Quotas(settings.quotas.get_secret_value())
    measured = Metrics(engine, verifier, keeper)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        grader, queue = Grader(), Batching(verifier)
        app.state.solver = Solver(engine, queue, grader, settings.verifier_down == "degrade")
        app.state.keeper = keeper
        app.state.settings, app.state.since = settings, int(time.time())
        app.state.admission = admission = Admission(settings.concurrency, settings.queue_tokens)
        app.state.quotas = quotas
        app.state.metrics, app.state.spans = measured, spans
        measured.watch(admission)
        if keeper:
            keeper.start()
        try:
            yield
        finally:
            if keeper:
                await keeper.close()
            grader.close()
            await queue.close()
            await engine.close()
            await quotas.close()
            if spans:
                await asyncio.to_thread(spans.close)

    app = DocumentedAPI(
        title="Surefoot",
        summary="Inference-time reasoning: verified steps, every token accounted for.",
        version=version("surefoot-service"),
        lifespan=lifespan,
    )
    refusals = failures.documented(*failures.ASKING)
    for routes in (solve, chat, responses, models, traces, metrics, document):
        app.include_router(routes.router, dependencies=[Depends(caller)], responses=refusals)
    app.include_router(health.router)
    app.add_middleware(callers.Callers, keyring=keyring, settings=settings)
    app.add_middleware(limits.RequestLimits)
    app.add_middleware(ids.RequestIds)
    app.add_middleware(Measured, requests=measured.requests)
    failures.handle(app)
    return app

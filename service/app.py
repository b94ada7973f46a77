"""Composes the service: engine and verifier by the settings, solver and routes around them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI

from service.catalogue import Catalogue
from service.engines.base import Backend
from service.engines.llamacpp import LlamaCppEngine
from service.engines.remote import RemoteEngine
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import StartupError
from service.routes import chat, failures, health, ids, metrics, models, responses, solve, traces
from service.routes.document import DocumentedAPI
from service.settings import Settings
from service.solver import Solver
from service.telemetry.metrics import Metrics
from service.telemetry.requests import Measured
from service.telemetry.spans import Spans
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store
from verifier.adapter import SHIPPED, Adapter, AdapterError
from verifier.answers import Grader
from verifier.batching import Batching
from verifier.judge import judge
from verifier.readout import Reader, Readout
from verifier.scoring import VerifierBackend

POLICY, CHECKER = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
PSV, JUDGE = "psv", "judge"


def create_app(
    engine: Backend,
    verifier: VerifierBackend,
    keeper: Keeper | None = None,
    spans: Spans | None = None,
) -> FastAPI:
    """The application around an engine and a verifier; what keeps traces and exports spans, if any.

    It closes them when it ends.
    """
    measured = Metrics(engine, verifier, keeper)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        grader, queue = Grader(), Batching(verifier)
        app.state.solver, app.state.keeper = Solver(engine, queue, grader), keeper
        app.state.metrics, app.state.spans = measured, spans
        app.state.since = int(time.time())
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
            if spans:
                await asyncio.to_thread(spans.close)

    app = DocumentedAPI(
        title="Surefoot",
        summary="Inference-time reasoning: verified steps, every token accounted for.",
        version=version("surefoot-service"),
        lifespan=lifespan,
    )
    for routes in (solve, chat, responses, models, traces, health, metrics):
        app.include_router(routes.router)
    app.add_middleware(failures.BodyLimit)
    app.add_middleware(ids.RequestIds)
    app.add_middleware(Measured, requests=measured.requests)
    failures.handle(app)
    return app


async def load(settings: Settings) -> tuple[Backend, VerifierBackend]:
    """Engine and verifier as the settings name them; raises `StartupError` or `EngineError`."""
    if settings.engine == "llamacpp" and not settings.verifier_url:
        policy, adapter = _file(settings, settings.model or POLICY), _adapter(settings)
        checker = _checker(settings, adapter)
        if policy.samefile(checker):  # one set of weights serves as both
            both = await _llamacpp(settings, checker, adapter)
            return both, _readout(both, adapter)
    engine = await load_engine(settings)
    return engine, await load_verifier(settings)


def load_keeper(settings: Settings) -> Keeper | None:
    """What keeps traces, as the settings have it; raises `StartupError` if it cannot be."""
    url = settings.traces.get_secret_value()
    if url == "off":
        return None
    retention = Retention(settings.traces_days, settings.traces_most, settings.traces_mb)
    return Keeper(Store(url), retention, content=settings.traces_content)


def load_spans(settings: Settings) -> Spans | None:
    """What exports spans, if there is anywhere to; raises `StartupError` if it is not installed."""
    if not settings.otlp_endpoint:
        return None
    content = settings.telemetry_content
    return Spans.exported(settings.otlp_endpoint, settings.engine, content=content)


async def load_verifier(settings: Settings) -> VerifierBackend:
    """The verifier alone; raises what `load` does."""
    if settings.engine == "scripted":
        return ArithmeticVerifier()
    adapter = _adapter(settings)
    if not settings.verifier_url:
        checker = _checker(settings, adapter)
        return _readout(await _llamacpp(settings, checker, adapter), adapter)
    served = settings.verifier_model or (adapter.name if adapter else "")
    return _readout(await _remote(settings, settings.verifier_url, served), adapter)


async def load_engine(settings: Settings, at_once: int = 64, patience: float = 120.0) -> Backend:
    """The engine alone; a remote one is asked for so much at once, and may be silent so long."""
    match settings.engine:
        case "scripted":
            return ScriptedEngine(delay=settings.scripted_delay)
        case "remote":
            return await _remote(settings, settings.engine_url, settings.model, at_once, patience)
        case "llamacpp":
            return await _llamacpp(settings, _file(settings, settings.model or POLICY), None)


def _adapter(settings: Settings) -> Adapter | None:
    """What the verifier was trained to; the judge is only asked."""
    if settings.verifier == JUDGE:
        return None
    try:
        return Adapter.load(SHIPPED if settings.verifier == PSV else Path(settings.verifier))
    except AdapterError as error:
        raise StartupError(str(error)) from error


def _readout(reader: Reader, adapter: Adapter | None) -> Readout:
    return adapter.readout(reader) if adapter else judge(reader)


def _checker(settings: Settings, adapter: Adapter | None) -> Path:
    return _file(settings, settings.verifier_model or (adapter.base if adapter else CHECKER))


def _file(settings: Settings, model: str) -> Path:
    return Catalogue.load(settings.folder).resolve(model)


async def _llamacpp(settings: Settings, file: Path, adapter: Adapter | None) -> LlamaCppEngine:
    return await LlamaCppEngine.load(file, settings.threads, adapter.gguf if adapter else None)


async def _remote(
    settings: Settings, url: str, model: str, at_once: int = 64, patience: float = 120.0
) -> RemoteEngine:
    key = settings.engine_key.get_secret_value() or None
    return await RemoteEngine.connect(url, model or None, key, patience, at_once)

"""Composes the service: engine and verifier by the settings, solver and routes around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from service.catalogue import Catalogue
from service.engines.base import Backend
from service.engines.llamacpp import LlamaCppEngine
from service.engines.remote import RemoteEngine
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.routes import failures, health, solve
from service.settings import Settings
from service.solver import Solver
from verifier.answers import Grader
from verifier.batching import Batching
from verifier.judge import judge
from verifier.readout import MARKED, Reader, Readout
from verifier.scoring import VerifierBackend

POLICY, CHECKER = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"


def create_app(engine: Backend, verifier: VerifierBackend) -> FastAPI:
    """The application around an engine and a verifier, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        grader, queue = Grader(), Batching(verifier)
        app.state.solver = Solver(engine, queue, grader)
        try:
            yield
        finally:
            grader.close()
            await queue.close()
            await engine.close()

    app = FastAPI(
        title="Surefoot",
        summary="Inference-time reasoning: verified steps, every token accounted for.",
        version=version("surefoot-service"),
        lifespan=lifespan,
    )
    app.include_router(solve.router)
    app.include_router(health.router)
    app.add_middleware(failures.BodyLimit)
    failures.handle(app)
    return app


async def load(settings: Settings) -> tuple[Backend, VerifierBackend]:
    """Engine and verifier as the settings name them; raises `StartupError` or `EngineError`."""
    if settings.engine == "scripted":
        return ScriptedEngine(delay=settings.scripted_delay), ArithmeticVerifier()
    policy, checker = settings.model or POLICY, settings.verifier_model or CHECKER
    engine: Backend
    if settings.engine == "remote":
        engine = await _remote(settings, settings.engine_url, settings.model)
    else:
        engine = await _llamacpp(settings, policy)
    reader: Reader
    if settings.verifier_url:
        reader = await _remote(settings, settings.verifier_url, settings.verifier_model)
    elif isinstance(engine, LlamaCppEngine) and policy == checker:
        reader = engine  # one set of weights serves as both
    else:
        reader = await _llamacpp(settings, checker)
    judged = settings.verifier == "judge"
    return engine, judge(reader) if judged else Readout(reader, MARKED, "readout")


async def _remote(settings: Settings, url: str, model: str) -> RemoteEngine:
    key = settings.engine_key.get_secret_value() or None
    return await RemoteEngine.connect(url, model or None, key)


async def _llamacpp(settings: Settings, model: str) -> LlamaCppEngine:
    file = Catalogue.load(settings.folder).resolve(model)
    return await LlamaCppEngine.load(file, settings.threads)

"""The parts of the service as the settings name them: engine, verifier, what keeps, what tells.

What is loaded is closed by the application around it.
"""

import asyncio
from pathlib import Path

from service.catalogue import Catalogue
from service.checkpoint import Checkpoint
from service.engines.base import Backend
from service.engines.llamacpp.engine import LlamaCppEngine
from service.engines.remote.engine import RemoteEngine
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.engines.vllm.core import CPU_CACHE, Plan
from service.engines.vllm.engine import VllmEngine
from service.engines.vllm.pooling import PoolingEngine
from service.errors import StartupError
from service.machine import Machine
from service.settings import Settings
from service.telemetry.spans import Spans
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store
from verifier.adapter import SHIPPED, Adapter, AdapterError
from verifier.judge import judge
from verifier.pooling import Pooling
from verifier.prms import PRMS
from verifier.prms.prm import Prm
from verifier.readout import Reader, Readout
from verifier.scoring import VerifierBackend

POLICY, CHECKER = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
PSV, JUDGE = "psv", "judge"


async def load(settings: Settings) -> tuple[Backend, VerifierBackend]:
    """Engine and verifier as the settings name them; raises `StartupError` or `EngineError`."""
    if _one_model(settings):  # one set of weights serves as both
        adapter = adapter_of(settings)
        if settings.engine == "vllm":
            engine = await _vllm(settings, adapter)
            return engine, _readout(engine.reader(adapter.name if adapter else ""), adapter)
        both = await _llamacpp(settings, checker_of(settings, adapter), adapter)
        return both, _readout(both, adapter)
    return await load_engine(settings), await load_verifier(settings)


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
    if prm := PRMS.get(str(settings.verifier)):
        return await _pooling(settings, prm)
    adapter = adapter_of(settings)
    if not settings.verifier_url:
        checker = checker_of(settings, adapter)
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
            return await _llamacpp(settings, file_of(settings, settings.model or POLICY), None)
        case "vllm":
            return await _vllm(settings, None)


def size_vllm(settings: Settings) -> tuple[Checkpoint, int, float | None]:
    """The model vLLM would start with, its context in tokens and its cache in GiB.

    Blocks. Raises `StartupError`, also if it does not fit.
    """
    machine = Machine.look()
    machine.demand_vllm()
    checkpoint = Checkpoint.find(settings.model or POLICY, Catalogue.load(settings.folder))
    context = min(settings.vllm_context, checkpoint.context or settings.vllm_context)
    cache = settings.vllm_cache or (CPU_CACHE if machine.vllm_on_cpu else None)
    checkpoint.demand(machine, context, cache, settings.vllm_share)
    return checkpoint, context, cache


def adapter_of(settings: Settings) -> Adapter | None:
    """What the verifier was trained to; the judge is only asked."""
    if settings.verifier == JUDGE:
        return None
    try:
        return Adapter.load(SHIPPED if settings.verifier == PSV else Path(settings.verifier))
    except AdapterError as error:
        raise StartupError(str(error)) from error


def _readout(reader: Reader, adapter: Adapter | None) -> Readout:
    return adapter.readout(reader) if adapter else judge(reader)


def _one_model(settings: Settings) -> bool:
    """Whether policy and verifier are the same model, in this process."""
    embedded = settings.engine in ("llamacpp", "vllm") and not settings.verifier_url
    if not embedded or str(settings.verifier) in PRMS:
        return False
    adapter, policy = adapter_of(settings), settings.model or POLICY
    if settings.engine == "vllm":
        return policy == _checker(settings, adapter)
    return file_of(settings, policy).samefile(checker_of(settings, adapter))


def _checker(settings: Settings, adapter: Adapter | None) -> str:
    return settings.verifier_model or (adapter.base if adapter else CHECKER)


def checker_of(settings: Settings, adapter: Adapter | None) -> Path:
    return file_of(settings, _checker(settings, adapter))


def file_of(settings: Settings, model: str) -> Path:
    return Catalogue.load(settings.folder).resolve(model)


async def _llamacpp(settings: Settings, file: Path, adapter: Adapter | None) -> LlamaCppEngine:
    return await LlamaCppEngine.load(file, settings.threads, adapter.gguf if adapter else None)


async def _vllm(settings: Settings, adapter: Adapter | None) -> VllmEngine:
    checkpoint, context, cache = await asyncio.to_thread(size_vllm, settings)
    plan = Plan(
        checkpoint.place,
        context,
        cache,
        settings.vllm_share,
        settings.threads,
        adapters={adapter.name: adapter.folder} if adapter else {},
    )
    return await VllmEngine.load(plan, checkpoint.name)


async def _pooling(settings: Settings, prm: Prm) -> Pooling:
    if settings.verifier_url:
        served = await _remote(settings, settings.verifier_url, settings.verifier_model)
        return Pooling(served, prm)
    Machine.look().demand_vllm()
    model, threads = settings.verifier_model or prm.hub, settings.threads
    return Pooling(await PoolingEngine.load(model, prm, threads=threads), prm)


async def _remote(
    settings: Settings, url: str, model: str, at_once: int = 64, patience: float = 120.0
) -> RemoteEngine:
    key = settings.engine_key.get_secret_value() or None
    together = settings.samples_together
    return await RemoteEngine.connect(url, model or None, key, patience, at_once, together=together)

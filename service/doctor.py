"""What this machine can run, and what the settings would start, part by part, starting nothing.

What a part needs and has not is one sentence, the one with which `serve` would end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service import assembly
from service.catalogue import Catalogue
from service.checkpoint import dequantised_folder, quantised
from service.errors import ServiceError
from service.machine import GIB, Machine
from service.settings import Settings
from verifier.prms import PRMS


@dataclass(frozen=True, slots=True)
class Finding:
    """`sound`: nothing about it keeps the service from starting."""

    part: str
    says: str
    sound: bool = True


def examine(settings: Settings) -> Iterator[Finding]:
    machine = Machine.look()
    yield Finding("machine", _machine(machine))
    yield Finding("vllm", machine.vllm or "not installed; an extra: surefoot-service[vllm]")
    yield Finding("models", _models(settings))
    for part, look in (("policy", _policy), ("verifier", _verifier)):
        yield _found(part, look, settings)


def _found(part: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, look(settings))
    except ServiceError as error:
        return Finding(part, error.message, sound=False)


def _machine(machine: Machine) -> str:
    gpus = [f"{gpu.name} of {gpu.memory / GIB:.0f} GiB" for gpu in machine.gpus]
    memory = f"{machine.free / GIB:.1f} of {machine.memory / GIB:.1f} GiB of memory free"
    return f"{machine.cores} cores, {memory}, {', '.join(gpus) or 'no NVIDIA GPU'}"


def _models(settings: Settings) -> str:
    shelf = Catalogue.load(settings.folder)
    here = [name for name in shelf.names() if shelf.path(name)]
    return f"{', '.join(here) or 'none'} of {', '.join(shelf.names())} in {shelf.folder}"


def _policy(settings: Settings) -> str:
    match settings.engine:
        case "scripted":
            return "scripted; no model"
        case "remote":
            return f"{asyncio.run(_served(settings))} at {settings.engine_url}"
        case "llamacpp":
            file = assembly.file_of(settings, settings.model or assembly.POLICY)
            return f"{file.stem} on llama.cpp, {settings.threads} threads"
        case "vllm":
            return _on_vllm(settings)


def _on_vllm(settings: Settings) -> str:
    Machine.look().demand_vllm()
    shelf, named = Catalogue.load(settings.folder), settings.model or assembly.POLICY
    file = quantised(named, shelf)
    if file and not dequantised_folder(file, shelf.folder).is_dir():
        return f"{named} on vLLM; the first start dequantises it, which takes a minute"
    checkpoint, context, cache = assembly.size_vllm(settings)
    weights = f"{checkpoint.weights / GIB:.1f} GiB of weights"
    kept = f"{cache:g} GiB of cache" if cache else f"cache in {settings.vllm_share:.0%} of the GPU"
    size = f"{weights}, {kept}, a context of {context:,} tokens"
    return f"{checkpoint.name} ({checkpoint.architecture}) on vLLM: {size}"


def _verifier(settings: Settings) -> str:
    if settings.engine == "scripted":
        return "arithmetic; no model"
    if prm := PRMS.get(str(settings.verifier)):
        place = settings.verifier_url or "vLLM"
        model = settings.verifier_model or prm.hub
        return f"{model} at {place}; choose among paths by the {prm.aggregate} of its scores"
    adapter = assembly.adapter_of(settings)
    kind = adapter.name if adapter else assembly.JUDGE
    if settings.verifier_url:
        return f"{kind} at {settings.verifier_url}"
    return f"{kind} over {assembly.checker_of(settings, adapter).stem} on llama.cpp"


async def _served(settings: Settings) -> str:
    engine = await assembly.load_engine(settings)
    await engine.close()
    return engine.name

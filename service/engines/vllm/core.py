"""vLLM's asynchronous engine, kept alive: sequences of tokens in, what follows them heard.

What is heard is what vLLM's own counters count, to the token, for aborted sequences too: an abort
leaves a last output in the sequence's queue, and the queue is emptied. That holds without
speculative decoding, which is not used. A dead engine is seen at once and started again, at growing
intervals; calls fail meanwhile. Prompts, samples and usage are the business of `vllm`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import stamina
from pydantic import ValidationError

from service.errors import EngineError, EngineUnavailable, StartupError

log = logging.getLogger(__name__)

PULSE = 0.5  # seconds between looks at whether the engine lives
FAREWELL = 5.0  # seconds in which its processes may end by themselves
CPU_BLOCK = 32  # tokens of the prefix cache's unit; vLLM's own 128 would lose most of a prefix
CPU_BATCH = 4096  # tokens computed at once, at the least
CPU_CACHE = 2.0  # GiB, for want of a better number
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, as vLLM has room for

Native = Any
"""vLLM's own: it is an extra, and not there to be checked against."""

Hear = Callable[[Native], bool]
"""Hears an output of a sequence; answers whether it shall go on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start.

    `cache`: GiB for the prefix cache; None leaves it what is left of `share` of a GPU's memory, or
    a little on a CPU. `context` in tokens. `threads` of a CPU, 0 for all. `eager` starts sooner and
    runs slower. `adapters`: LoRA folders by name. `more`: what else vLLM is told of this model.
    """

    model: str
    context: int
    cache: float | None = None
    share: float = 0.9
    threads: int = 0
    eager: bool = False
    adapters: Mapping[str, Path] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)


class Core:
    """Make it with `start`. It lives on the loop that it was started on."""

    def __init__(self, plan: Plan, llm: Native) -> None:
        self._plan = plan
        self._llm: Native = llm
        self._native: Native = import_module("vllm")
        self._kind: Native = import_module("vllm.sampling_params").RequestOutputKind.DELTA
        self._tokens: Native = import_module("vllm.inputs").tokens_input
        self._adapters = _adapters(plan)
        self._numbers = count()
        self._keeping = asyncio.ensure_future(self._keep())

    @classmethod
    async def start(cls, plan: Plan) -> Core:
        """Raises `StartupError`."""
        return cls(plan, await asyncio.to_thread(_start, plan))

    def demand(self) -> None:
        """Raises `EngineUnavailable` if the engine is dead."""
        if self._llm is None or self._llm.errored:
            raise EngineUnavailable("vLLM died and is being started again; try again in a minute.")

    async def follow(
        self,
        tokens: list[int],
        params: Mapping[str, object],
        hear: Hear,
        salt: str = "",
        adapter: str = "",
        since: int = 0,
    ) -> str:
        """Run one sequence; every output of it is heard, once. Returns how it ended.

        Of sequences that wait, those of the least `since` go first.

        It is aborted if `hear` says no, or fails, or the caller is cancelled; what had been written
        by then is heard first. Raises `EngineError`.
        """
        self.demand()
        llm, finished, welcome, ending = self._llm, False, True, "abort"
        with _translated():
            # Whatever becomes of us, we must learn under which name the sequence runs.
            adding = asyncio.ensure_future(
                llm.add_request(
                    str(next(self._numbers)),
                    self._tokens(tokens, cache_salt=salt or None),
                    self._native.SamplingParams(**params, output_kind=self._kind, skip_clone=True),
                    lora_request=self._adapters[adapter] if adapter else None,
                    priority=since,
                )
            )
            try:
                queue = await asyncio.shield(adding)
                while welcome and not finished:
                    output = queue.get_nowait() or await queue.get()
                    finished = output.finished
                    ending = str(output.outputs[0].finish_reason) if finished else "abort"
                    welcome = hear(output)
            finally:
                if not finished:
                    await asyncio.shield(asyncio.ensure_future(_abort(llm, await adding, hear)))
        return ending

    async def pool(self, tokens: list[int]) -> list[list[float]]:
        """Run a pooling model over one sequence: a row for every token. Raises `EngineError`."""
        self.demand()
        with _translated():
            asked = self._native.PoolingParams(task="token_classify")
            outputs = self._llm.encode(self._tokens(tokens), asked, str(next(self._numbers)))
            (output,) = [output async for output in outputs]
        rows: list[list[float]] = output.outputs.data.tolist()
        return rows

    async def close(self) -> None:
        self._keeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeping
        llm, self._llm = self._llm, None
        if llm is not None:
            await asyncio.to_thread(llm.shutdown, FAREWELL)

    async def _keep(self) -> None:
        """Look after the engine for as long as it is wanted."""
        again = stamina.AsyncRetryingCaller(attempts=None, timeout=None, wait_max=60)
        while True:
            await asyncio.sleep(PULSE)
            if self._llm.errored:
                log.error("vLLM died; it is started again.")
                await asyncio.to_thread(self._llm.shutdown, FAREWELL)
                self._llm = await again.on(StartupError)(asyncio.to_thread, _start, self._plan)
                log.error("vLLM runs again.")


async def _abort(llm: Native, queue: Native, hear: Hear) -> None:
    await llm.abort(queue.request_id, internal=True)
    if rest := queue.get_nowait():
        hear(rest)


@contextmanager
def _translated() -> Iterator[None]:
    errors: Native = import_module("vllm.exceptions")
    dead: Native = import_module("vllm.v1.engine.exceptions").EngineDeadError
    try:
        yield
    except dead as error:
        raise EngineUnavailable(
            "vLLM died in mid-answer and is being started again; try again in a minute."
        ) from error
    except errors.VLLMError as error:
        raise EngineError("vLLM refused a call; the service's log says why.") from error


def _start(plan: Plan) -> Native:
    """Blocks for as long as the model takes to load."""
    prepare(plan.threads)
    vllm: Native = import_module("vllm")
    try:
        configured = vllm.AsyncEngineArgs(**_arguments(plan)).create_engine_config()
        model = configured.model_config
        if model.runner_type != plan.more.get("runner", "generate"):
            kind = ", ".join(model.architectures)
            raise StartupError(
                f"{plan.model} is a {kind}, which does not write; name one that does."
            )
        return import_module("vllm.v1.engine.async_llm").AsyncLLM.from_vllm_config(configured)
    except (ValueError, OSError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        why = told.strip().partition("\n")[0]
        raise StartupError(f"vLLM cannot run {plan.model}: {why}") from error
    except RuntimeError as error:
        raise StartupError(
            f"vLLM did not start with {plan.model}; its log above says why. If memory was short, "
            "lower SUREFOOT_VLLM_CONTEXT or SUREFOOT_VLLM_CACHE."
        ) from error


def _arguments(plan: Plan) -> dict[str, object]:
    on_cpu = import_module("vllm.platforms").current_platform.is_cpu()
    cache = CPU_CACHE if on_cpu and plan.cache is None else plan.cache
    ranks = [_rank(folder) for folder in plan.adapters.values()]
    return {
        "model": plan.model,
        "max_model_len": plan.context,
        "enable_prefix_caching": True,
        "block_size": CPU_BLOCK if on_cpu else None,
        # On a CPU a seeded prompt that is prefilled in parts kills the engine: vLLM 0.32 would
        # rewind a generator that cannot be (`_bookkeeping_sync`). So none is.
        "enable_chunked_prefill": not on_cpu,
        "max_num_batched_tokens": max(plan.context, CPU_BATCH) if on_cpu else None,
        "kv_cache_memory_bytes": None if cache is None else int(cache * 2**30),
        "gpu_memory_utilization": plan.share,
        "enforce_eager": plan.eager,
        "scheduling_policy": "priority",
        "enable_lora": bool(ranks),
        "max_loras": max(1, len(ranks)),
        "max_lora_rank": next((r for r in RANKS if r >= max(ranks, default=1)), RANKS[-1]),
        **plan.more,
    }


def _adapters(plan: Plan) -> dict[str, Native]:
    request: Native = import_module("vllm.lora.request").LoRARequest
    named = enumerate(plan.adapters.items(), 1)
    return {name: request(name, number, str(folder)) for number, (name, folder) in named}


def _rank(folder: Path) -> int:
    """Raises `StartupError`."""
    try:
        return int(json.loads((folder / "adapter_config.json").read_bytes())["r"])
    except (OSError, ValueError, KeyError) as error:
        raise StartupError(f"{folder} holds no LoRA adapter; see to it.") from error


def prepare(threads: int) -> None:
    """What vLLM and its processes take from the environment alone; a user's own word stands."""
    cores: Sequence[int] = sorted(os.sched_getaffinity(0))
    wanted = {
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores[: threads or None])),
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy our threads' locks
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - not read, but told

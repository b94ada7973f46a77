"""The wheel's server: started in this process, asked over HTTP, and what its failures mean.

It listens on loopback alone, behind a key that is drawn at start. It sees that a call was given up
when it next writes to it. So all calls are streams, which tell of their prompts' progress too, and
what is given up is reset: it ends behind the batch that is being computed.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2

from service.engines.llamacpp.slots import SLOTS
from service.errors import ContextLengthExceeded, EngineError, EngineUnavailable, StartupError

CONTEXT = 16_384  # tokens, shared by all slots
BATCH = 64  # tokens of prompts between two looks at who has left: half a second's on two cores
RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed is closed at once
TOLD = {"stream": True, "return_progress": True, "timings_per_token": True}


class Server:
    """One that runs. Make it with `start`."""

    def __init__(self, native: object, url: str, key: str, name: str) -> None:
        self.name = name
        self._native = native  # its destructor stops the threads
        # The server closes a connection behind every stream; one it might close is not reused.
        unkept = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self.http = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(600, connect=5),
            transport=httpx2.AsyncHTTPTransport(limits=unkept, socket_options=[RESET]),
            trust_env=False,
        )

    @classmethod
    async def start(cls, model: Path, threads: int, adapter: Path | None = None) -> Server:
        """Load the model, and the adapter to read with; raises `StartupError`."""
        key = secrets.token_hex(16)
        native = await asyncio.to_thread(_start, model, threads, key, adapter)
        return cls(native, native.listening_address, key, model.stem)

    async def post(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        with _translated(self.name):
            response = await self.http.post(path, json=request)
            _raise_for(response.status_code, response.content)
            reply: dict[str, Any] = response.json()
        return reply

    @asynccontextmanager
    async def complete(
        self, request: dict[str, Any]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The chunks of a completion; to leave early gives it up."""
        asked = request | TOLD
        with _translated(self.name):
            async with self.http.stream("POST", "/completion", json=asked) as response:
                if response.status_code != httpx2.codes.OK:
                    _raise_for(response.status_code, await response.aread())
                yield _chunks(response)

    async def check(self) -> None:
        with _translated(self.name):
            (await self.http.get("/health")).raise_for_status()

    async def close(self) -> None:
        await self.http.aclose()
        self._native = None


async def _chunks(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        field, _, data = line.partition(": ")
        if field == "error":
            raise EngineError("llama.cpp failed in mid-answer; its log says why.")
        if field == "data":
            yield json.loads(data)


def _raise_for(status: int, body: bytes) -> None:
    if status == httpx2.codes.OK:
        return
    if b"exceed_context_size" in body:
        raise ContextLengthExceeded(
            f"The question does not fit in {CONTEXT:,} tokens; shorten it.", "problem"
        )
    raise EngineError(f"llama.cpp refused a call with status {status}; its log says why.")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, json.JSONDecodeError) as error:
        raise EngineUnavailable(f"{name} does not answer; restart the service.") from error


def _start(model: Path, threads: int, key: str, adapter: Path | None) -> Any:  # noqa: ANN401 - the wheel is untyped
    native: Any = import_module("xllamacpp")
    params = native.CommonParams()
    params.model.path = str(model)
    params.port = 0
    params.api_keys = [key]
    params.n_ctx = CONTEXT
    params.n_parallel = SLOTS
    params.n_batch = params.n_ubatch = BATCH
    params.kv_unified = True
    params.endpoint_metrics = True
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.ui = False
    params.warmup = False
    params.verbosity = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if adapter:
        params.lora_adapters = [native.CommonAdapterLoraInfo(str(adapter), 0.0)]
    try:
        return native.Server(params)
    except RuntimeError as error:
        what = f"{model} with {adapter}" if adapter else f"{model}"
        raise StartupError(
            f"llama.cpp cannot load {what}; check that it is a GGUF file and that memory suffices."
        ) from error

"""A proxy before an OpenAI-compatible engine that counts what each call really used.

Calls pass as they are, streams too; the engine's own `usage` is what is counted. A call that its
caller leaves before the end is counted as `lost`, its tokens as far as the engine had told them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.applications import Starlette

PATIENCE = 3600.0  # seconds
SKIPPED = {"host", "content-length", "connection", "accept-encoding"}


@dataclass(slots=True)
class Metered:
    """Tokens by kind, summed over calls."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    calls: int = 0
    lost: int = 0

    @property
    def computed(self) -> int:
        return self.prompt - self.cached + self.completion

    def add(self, usage: dict[str, Any]) -> None:
        self.prompt += usage.get("prompt_tokens") or 0
        self.completion += usage.get("completion_tokens") or 0
        self.cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


class Meter:
    """Counts since it was last read."""

    def __init__(self) -> None:
        self._now = Metered()

    @property
    def now(self) -> Metered:
        return self._now

    def read(self) -> Metered:
        """What was counted since the last reading."""
        counted, self._now = self._now, Metered()
        return counted


def proxy(engine: str, meter: Meter) -> Starlette:
    """The app; `engine` is the base URL of what it stands before."""
    import httpx2
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=engine, timeout=PATIENCE, limits=limits) as client:
            app.state.client = client
            yield

    async def forward(request: Request) -> Response:
        path = request.path_params["path"]
        headers = {k: v for k, v in request.headers.items() if k not in SKIPPED}
        headers["accept-encoding"] = "identity"
        client: httpx2.AsyncClient = request.app.state.client
        asked = client.build_request(
            request.method, f"/{path}", headers=headers, content=await request.body()
        )
        said = await client.send(asked, stream=True)
        kind = said.headers.get("content-type", "")
        if "event-stream" in kind:
            return StreamingResponse(_passed(said, meter), said.status_code, media_type=kind)
        body = await said.aread()
        if path.endswith("completions") and said.is_success:
            meter.now.calls += 1
            meter.now.add(json.loads(body).get("usage") or {})
        return Response(body, said.status_code, media_type=kind)

    routes = [Route("/{path:path}", forward, methods=["GET", "POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


async def _passed(said: Any, meter: Meter) -> AsyncIterator[bytes]:  # noqa: ANN401 - httpx2.Response
    """The stream as it comes; its last `usage` is the call's, as usages of a stream add up."""
    usage: dict[str, Any] = {}
    ended, rest, counted = False, b"", meter.now
    counted.calls += 1
    try:
        async with aclosing(said):
            async for chunk in said.aiter_raw():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    usage = _usage(line) or usage
                yield chunk
        ended = True
    finally:
        counted.lost += not ended
        counted.add(usage)


def _usage(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"data:") or b'"usage"' not in line:
        return None
    usage = json.loads(line[5:]).get("usage")
    return usage if isinstance(usage, dict) else None


@contextmanager
def metering(engine: str) -> Iterator[tuple[str, Meter]]:
    """The proxy on a port of its own, in a thread; gives its URL and its meter."""
    import socket
    import threading
    import time

    import uvicorn

    meter = Meter()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(proxy(engine, meter), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", meter
    finally:
        server.should_exit = True
        thread.join()
        listener.close()

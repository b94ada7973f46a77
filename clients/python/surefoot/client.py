"""`Client` and `AsyncClient`: two thin drivers of `protocol` over HTTP."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from typing import Any, Self, Unpack

import httpx2

from surefoot import protocol
from surefoot.errors import BadRequest, ConnectionLost, ServerError, SurefootError, Unreachable
from surefoot.protocol import SERVER, Asked, Options, Wanted
from surefoot.types import Done, Event, Reply, Solution, Trace, TracePage


class Client:
    """Blocks. Leaving the block of a `stream` early stops the solve on the server."""

    def __init__(self, base_url: str = SERVER, api_key: str = "", timeout: float = 600) -> None:
        self._http = httpx2.Client(**_settings(base_url, api_key, timeout))

    def solve(self, problem: str = "", **options: Unpack[Options]) -> Solution:
        asked = protocol.solve_request(problem, options, stream=False)
        return protocol.read(Solution, self._send(asked).content)

    @contextmanager
    def stream(self, problem: str = "", **options: Unpack[Options]) -> Iterator[Iterator[Event]]:
        asked = protocol.solve_request(problem, options, stream=True)
        with closing(self._send(asked, stream=True)) as response:
            yield _events(response)

    def traces(self, **wanted: Unpack[Wanted]) -> TracePage:
        """The solves that the server kept, newest first."""
        return protocol.read(TracePage, self._send(protocol.traces_request(wanted)).content)

    def trace(self, id: str) -> Trace:
        return protocol.read(Trace, self._send(protocol.trace_request("GET", id)).content)

    @contextmanager
    def export_traces(self, **wanted: Unpack[Wanted]) -> Iterator[Iterator[str]]:
        """The lines of JSON of whole traces, newest first, as they come."""
        with closing(self._send(protocol.traces_request(wanted, "/export"), stream=True)) as lines:
            yield _lines(lines)

    def delete_trace(self, id: str) -> None:
        self._send(protocol.trace_request("DELETE", id))

    def post(self, path: str, body: bytes) -> Reply:
        """A request of OpenAI's API, written by the caller; not a stream."""
        said = self._send(Asked("POST", path, body=body))
        return protocol.reply(said.status_code, said.content, said.headers)

    def ready(self) -> bool:
        """Whether the server, which answers, would take a problem now."""
        with translated():
            return self._http.get("/ready").is_success

    def _send(self, asked: Asked, attempt: int = 0, *, stream: bool = False) -> httpx2.Response:
        try:
            with translated():
                request = self._http.build_request(
                    asked.method, asked.path, params=asked.query, content=asked.body
                )
                response = self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                raise protocol.failure(response.status_code, response.read(), response.headers)
        except SurefootError as error:
            time.sleep(protocol.pause(error, attempt))
        return self._send(asked, attempt + 1, stream=stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


class AsyncClient:
    """The same, awaited."""

    def __init__(self, base_url: str = SERVER, api_key: str = "", timeout: float = 600) -> None:
        self._http = httpx2.AsyncClient(**_settings(base_url, api_key, timeout))

    async def solve(self, problem: str = "", **options: Unpack[Options]) -> Solution:
        asked = protocol.solve_request(problem, options, stream=False)
        return protocol.read(Solution, (await self._send(asked)).content)

    @asynccontextmanager
    async def stream(
        self, problem: str = "", **options: Unpack[Options]
    ) -> AsyncIterator[AsyncIterator[Event]]:
        asked = protocol.solve_request(problem, options, stream=True)
        response = await self._send(asked, stream=True)
        async with aclosing(response), aclosing(_aevents(response)) as events:
            yield events

    async def traces(self, **wanted: Unpack[Wanted]) -> TracePage:
        return protocol.read(TracePage, (await self._send(protocol.traces_request(wanted))).content)

    async def trace(self, id: str) -> Trace:
        return protocol.read(Trace, (await self._send(protocol.trace_request("GET", id))).content)

    @asynccontextmanager
    async def export_traces(self, **wanted: Unpack[Wanted]) -> AsyncIterator[AsyncIterator[str]]:
        response = await self._send(protocol.traces_request(wanted, "/export"), stream=True)
        async with aclosing(response), aclosing(_alines(response)) as lines:
            yield lines

    async def delete_trace(self, id: str) -> None:
        await self._send(protocol.trace_request("DELETE", id))

    async def post(self, path: str, body: bytes) -> Reply:
        said = await self._send(Asked("POST", path, body=body))
        return protocol.reply(said.status_code, said.content, said.headers)

    async def ready(self) -> bool:
        with translated():
            return (await self._http.get("/ready")).is_success

    async def _send(
        self, asked: Asked, attempt: int = 0, *, stream: bool = False
    ) -> httpx2.Response:
        try:
            with translated():
                request = self._http.build_request(
                    asked.method, asked.path, params=asked.query, content=asked.body
                )
                response = await self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                said = await response.aread()
                raise protocol.failure(response.status_code, said, response.headers)
        except SurefootError as error:
            await asyncio.sleep(protocol.pause(error, attempt))
        return await self._send(asked, attempt + 1, stream=stream)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()


def _settings(base_url: str, api_key: str, timeout: float) -> dict[str, Any]:
    if not (api_key.isascii() and api_key.isprintable()):
        raise BadRequest("this is no key: it has signs that none has", "invalid_api_key")
    key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    headers = {"Content-Type": "application/json", **key}
    patience = httpx2.Timeout(timeout, connect=10)
    with translated():
        return {"base_url": httpx2.URL(base_url), "headers": headers, "timeout": patience}


def _events(response: httpx2.Response) -> Iterator[Event]:
    with translated():
        for sse in httpx2.EventSource(response):
            if event := protocol.read_event(sse.event, sse.data, response.headers):
                yield event
            if isinstance(event, Done):
                return
    raise ConnectionLost("the stream ended before the answer")


def _lines(response: httpx2.Response) -> Iterator[str]:
    with translated():
        yield from response.iter_lines()


async def _alines(response: httpx2.Response) -> AsyncGenerator[str]:
    with translated():
        async for line in response.aiter_lines():
            yield line


async def _aevents(response: httpx2.Response) -> AsyncGenerator[Event]:
    with translated():
        async for sse in httpx2.EventSource(response):
            if event := protocol.read_event(sse.event, sse.data, response.headers):
                yield event
            if isinstance(event, Done):
                return
    raise ConnectionLost("the stream ended before the answer")


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the HTTP library raises into errors of ours, here alone."""
    try:
        yield
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise BadRequest(f"the server's address is no URL like {SERVER}: {error}") from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        where = error.request.url.netloc.decode()
        sentence = f"no server answers at {where} ({error}); start one with `surefoot serve`"
        raise Unreachable(sentence, retryable=True) from error
    except httpx2.SSEError as error:
        raise ServerError(f"the reply is not Surefoot's: {error}") from error
    except httpx2.RequestError as error:
        raise ConnectionLost(f"the connection broke before the answer: {error!r}") from error

"""A solve and its caller: one that leaves, by disconnecting, cancels what it started."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from sse_starlette import JSONServerSentEvent

from service.events import Event, Listener
from service.routes.failures import envelope, failure
from service.routes.shapes import SolveResponse, told

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result; None, and the work cancelled, if the caller left before it was done."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return None
        if (error := task.exception()) is not None:
            raise failure(error)
        return task.result()
    finally:
        gone.cancel()
        await _cancel(task)


async def events(
    solve: Callable[[Listener], Awaitable[SolveResponse]],
) -> AsyncIterator[JSONServerSentEvent]:
    """What a solve tells, as it tells it; `done` or `error` is the last. Closing it cancels."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue()
    task = asyncio.ensure_future(solve(queue.put_nowait))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            if (named := told(event)) is not None:
                yield JSONServerSentEvent(named[1], event=named[0])
        if (error := task.exception()) is not None:
            yield JSONServerSentEvent(envelope(failure(error)), event="error")
        else:
            yield JSONServerSentEvent(task.result().model_dump(), event="done")
    finally:
        await _cancel(task)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Cancel, and wait until the engine has let go, so that every token is in the ledger."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])

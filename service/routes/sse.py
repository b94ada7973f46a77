"""A solve and its caller: one that leaves, by disconnecting, cancels what it started."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request

from service.routes.failures import failure

T = TypeVar("T")
E = TypeVar("E")

LINE = "\n"  # ends lines as OpenAI's own streams do; some clients know no other end
PING = 15  # seconds between keep-alive comments


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The last that is told of a piece of work."""

    result: T


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


async def told(
    work: Callable[[Callable[[E], None]], Coroutine[Any, Any, T]],
) -> AsyncGenerator[E | Done[T], None]:
    """What the work tells, as it tells it, and what it comes to; closing this cancels it.

    Raises `ServiceError`.
    """
    queue: asyncio.Queue[E | None] = asyncio.Queue()
    task = asyncio.ensure_future(work(queue.put_nowait))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (each := await queue.get()) is not None:
            yield each
        if (error := task.exception()) is not None:
            raise failure(error)
        yield Done(task.result())
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

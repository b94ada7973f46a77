"""The asking of a batch: so many requests at once, none read before it is its turn."""

import asyncio
from collections.abc import Callable, Iterable
from uuid import uuid4

from surefoot.batchfile import Entry, Result
from surefoot.client import AsyncClient
from surefoot.errors import SurefootError, Unreachable
from surefoot.types import Failure, Reply


async def run(
    client: AsyncClient,
    entries: Iterable[Entry],
    at_once: int,
    tell: Callable[[Entry, Result], None],
) -> None:
    """Ask, and tell each result as it comes; raises Unreachable once nothing listens any more."""
    if not await client.ready():
        raise Unreachable("the server is not ready; its `GET /ready` and its log say why")
    waiting = iter(entries)

    async def work() -> None:
        for entry in waiting:
            tell(entry, await _ask(client, entry))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _ask(client: AsyncClient, entry: Entry) -> Result:
    id, reply, failure = f"batch_req_{uuid4().hex}", None, None
    try:
        reply = await client.post(entry.url, entry.body)
    except Unreachable:
        raise
    except SurefootError as error:
        if error.status is None or error.retryable:
            failure = Failure(error.code or "no_answer", error.message)
        else:
            reply = _refusal(error, error.status)
    return Result(id, entry.custom_id, reply, failure)


def _refusal(error: SurefootError, status: int) -> Reply:
    names = ("message", "type", "param", "code")
    return Reply(
        status, error.request_id, {"error": {each: getattr(error, each) for each in names}}
    )

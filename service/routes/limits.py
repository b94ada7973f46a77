"""What a request may be before anybody reads it: so large a head, so large a body, plain, swift.

What is in a body is limited field by field, in the requests' shapes.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, BodyTooSlow, HeadersTooLarge, UnsupportedEncoding
from service.routes.failures import refusal

MOST_HEADERS = 64_000  # bytes
MOST_BYTES = 2_000_000  # of a body
BEGINS_WITHIN = 1.0  # seconds for what is read, and
SLOWEST = 8_000  # bytes each of which earn it one more
BODY_WITHIN = 30.0  # seconds in all
UNREAD = 0.05  # seconds: what came while the loop was busy is read before anybody is called late


class RequestLimits:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (wrong := _wrong(scope)) is not None:
            await refusal(wrong)(scope, receive, send)
        else:
            await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        """A body, announced or not; what is too much takes the way of all failures."""
        time = asyncio.get_running_loop().time
        began, read, whole = math.inf, 0, False

        async def limited() -> Message:
            nonlocal began, read, whole
            if whole:
                return await receive()
            began = min(began, time())
            message = await _by(receive, began + min(BODY_WITHIN, allowed(read)))
            read += len(message.get("body", b""))
            if read > MOST_BYTES:
                raise HTTPException(BodyTooLarge.status)
            whole = not message.get("more_body")
            return message

        return limited


def allowed(read: int) -> float:
    """Seconds for what so much has come of so far (Apache's mod_reqtimeout reckons so)."""
    return BEGINS_WITHIN + read / SLOWEST


async def _by(receive: Receive, until: float) -> Message:
    """What is received until then, or lies there unread."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            return await receive()
    with suppress(TimeoutError):
        async with asyncio.timeout(UNREAD):
            return await receive()
    raise HTTPException(BodyTooSlow.status)


def _wrong(scope: Scope) -> int | None:
    """The status of what is wrong with the head."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    if size + sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
        return HeadersTooLarge.status
    if Headers(scope=scope).get("content-encoding", "identity") != "identity":
        return UnsupportedEncoding.status
    return None

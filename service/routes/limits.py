"""What a request may be before anybody reads it: so large a head, so large a body, plain, swift.

What is in a body is limited field by field, in the requests' shapes.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, BodyTooSlow, HeadersTooLarge, UnsupportedEncoding
from service.routes.failures import refusal

MOST_HEADERS = 64_000  # bytes
MOST_BYTES = 2_000_000  # of a body
BODY_WITHIN = 30.0  # seconds


class RequestLimits:
    def __init__(self, app: ASGIApp, body_within: float = BODY_WITHIN) -> None:
        self._app = app
        self._within = body_within

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (wrong := _wrong(scope)) is not None:
            await refusal(wrong)(scope, receive, send)
        else:
            await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        """A body, announced or not; what is too much takes the way of all failures."""
        until = asyncio.get_running_loop().time() + self._within
        read, whole = 0, False

        async def limited() -> Message:
            nonlocal read, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(BodyTooSlow.status) from error
            read += len(message.get("body", b""))
            if read > MOST_BYTES:
                raise HTTPException(BodyTooLarge.status)
            whole = not message.get("more_body")
            return message

        return limited


def _wrong(scope: Scope) -> int | None:
    """The status of what is wrong with the head."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    if size + sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
        return HeadersTooLarge.status
    if Headers(scope=scope).get("content-encoding", "identity") != "identity":
        return UnsupportedEncoding.status
    return None

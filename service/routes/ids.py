"""Every response has an `x-request-id`: the caller's own if it is short and plain, else ours."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.correlation import request_id

HEADER = "x-request-id"
PLAIN = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class RequestIds:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id.set(given if PLAIN.fullmatch(given) else f"req_{uuid.uuid4().hex}")

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id.get()
            await send(message)

        await self._app(scope, receive, named)

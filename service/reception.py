"""How connections are received: what uvicorn leaves unlimited before a request is one.

A head, or what stands where a body should go on, is read up to a size and waited for up to a time;
then the connection is closed. There are no more connections than there are files for. What is in a
whole request is limited in `routes.limits`.
"""

from __future__ import annotations

import asyncio
import resource
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import HeadersTooLarge, TooManyConnections
from service.routes.failures import refusal
from service.routes.limits import MOST_HEADERS, UNREAD, allowed

SHUTDOWN_WITHIN = 5  # seconds for connections that are open when the service ends
SPARE = 256  # files for engines, verifiers, stores and the log
MOST = 65_536  # connections, where files have no limit


def connections() -> int:
    """As many as there are files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else min(MOST, max(SPARE, files - SPARE))


class Reception(HttpToolsProtocol):
    """A connection."""

    idle_within = 10.0
    """Seconds for the first byte, and for the rest of a body that was answered before its end."""
    most = connections()
    """Connections that are open at once."""

    _late: asyncio.TimerHandle | None = None
    _useless = 0  # bytes since a head was whole or a body went on

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(TooManyConnections.status)
        else:
            self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._useless += len(data)
        super().data_received(data)
        if self._useless > MOST_HEADERS and not self.transport.is_closing():
            self._refuse(HeadersTooLarge.status)

    def on_message_begin(self) -> None:
        self._calm()
        self._await_head(self.loop.time())
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._calm()
        self._useless = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._useless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._calm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.cycle.more_body and not self.pipeline:
            self._hurry()  # what is sent yet is read, so that the answer is not lost
        super().on_response_complete()

    def _hurry(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.idle_within, self.transport.close)

    def _await_head(self, began: float, *, unread: bool = True) -> None:
        left = began + allowed(self._useless) - self.loop.time()
        if left > 0 or unread:
            again = partial(self._await_head, began, unread=left > 0)
            self._late = self.loop.call_later(max(left, UNREAD), again)
        else:
            self.transport.close()

    def _calm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        if self.cycle is None or self.cycle.response_complete:
            refused = refusal(status)
            refused.headers["connection"] = "close"
            head = b"".join(b"%s: %s\r\n" % pair for pair in refused.raw_headers)
            self.transport.write(STATUS_LINE[status] + head + b"\r\n" + bytes(refused.body))
        self.transport.close()


def reception(app: FastAPI, **options: Any) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's
    """How the app is served, wherever it is."""
    options = {"timeout_graceful_shutdown": SHUTDOWN_WITHIN} | options
    return uvicorn.Config(app, http=Reception, ws="none", **options)

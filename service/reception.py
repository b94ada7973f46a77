"""How connections are received: what uvicorn leaves unlimited before a request is one.

A head, or what stands where a body should go on, is read up to a size and waited for up to a time;
then the connection is closed. What is in a whole request is limited in `routes.limits`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import HeadersTooLarge
from service.routes.failures import refusal
from service.routes.limits import MOST_HEADERS

SHUTDOWN_WITHIN = 5  # seconds for connections that are open when the service ends


class Reception(HttpToolsProtocol):
    """A connection."""

    head_within = 10.0
    """Seconds for a head, and for the rest of a body that was answered before its end."""

    _late: asyncio.TimerHandle | None = None
    _useless = 0  # bytes since a head was whole or a body went on

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
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
        self._hurry()
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
            self._late = self.loop.call_later(self.head_within, self.transport.close)

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

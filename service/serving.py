"""uvicorn, which drains before it leaves: nobody is let in, and what runs may come to its end.

On SIGTERM or SIGINT `/ready` says at once that it is over, while the port stays open. Running
solves finish; when the grace is nearly over each of them ends with its best path, and its stream
with a proper last event. Then the process exits with 0. A second signal ends it at once, as does
the first one before anybody could be let in.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from service.reception import reception

if TYPE_CHECKING:
    from socket import socket

    from fastapi import FastAPI

    from service.admission import Admission
    from service.solver import Solver

LAST_WORDS = 2.0  # seconds for answers that were cut short to be sent


class Server(uvicorn.Server):
    """Serves an app of `create_app`; `grace` is in seconds."""

    def __init__(self, app: FastAPI, grace: float) -> None:
        super().__init__(reception(app, log_config=None, access_log=False))
        self._app = app
        self._grace = grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Of uvicorn's own this takes the place, whose exit code would be that of the signal."""
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self._drain is None:
            self._drain = asyncio.ensure_future(self._drained())
        else:
            self.should_exit = self.force_exit = True

    async def _drained(self) -> None:
        await drain(self._app.state.admission, self._app.state.solver, self._grace)
        self.should_exit = True


def leave_on_signals() -> None:
    """Until a server is started: models that are being loaded hear of nothing."""
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, _leave)


def _leave(sig: int, frame: FrameType | None) -> None:
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(0)


async def drain(admission: Admission, solver: Solver, grace: float) -> None:
    """Close the doors, and return when everyone has left, or the grace is over."""
    admission.close()
    try:
        async with asyncio.timeout(max(grace - LAST_WORDS, grace / 2)):
            await admission.emptied()
    except TimeoutError:
        solver.curfew.ring()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await admission.emptied()

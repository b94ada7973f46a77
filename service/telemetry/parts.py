"""The metrics of what the service is made of, asked at every scrape: engine, verifier, traces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Gauge

from service.engines.base import Backend
from service.errors import ServiceError
from service.traces.keeper import Keeper
from verifier.scoring import VerifierBackend, VerifierError

WITHIN = 2.0  # seconds; a scrape waits no longer


class Parts:
    def __init__(
        self,
        registry: CollectorRegistry,
        engine: Backend,
        verifier: VerifierBackend,
        keeper: Keeper | None,
    ) -> None:
        self._checks = (engine.check, verifier.check)
        self._up = (
            Gauge("surefoot_engine_up", "1 if the engine answers.", registry=registry),
            Gauge("surefoot_verifier_up", "1 if the verifier answers.", registry=registry),
        )
        self._tasks = Gauge("surefoot_tasks", "Tasks in the event loop.", registry=registry)
        if keeper is not None:
            kept = Gauge("surefoot_traces_up", "1 if solves are being kept.", registry=registry)
            kept.set_function(lambda: keeper.trouble is None)

    async def check(self) -> None:
        """Bring the metrics up to date."""
        self._tasks.set(len(asyncio.all_tasks()))
        answers = await asyncio.gather(*(_answers(check) for check in self._checks))
        for gauge, up in zip(self._up, answers, strict=True):
            gauge.set(up)


async def _answers(check: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(WITHIN):
            await check()
    except (ServiceError, VerifierError, TimeoutError):
        return False
    return True

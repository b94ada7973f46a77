"""All metrics of one application, in a registry of its own, and their text for Prometheus."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from service.engines.base import Backend
from service.solver import Keep, Loss, Report
from service.telemetry.drift import Drift
from service.telemetry.exchange import Exchange, exchange
from service.telemetry.parts import Parts
from service.telemetry.requests import Requests
from service.telemetry.solves import Solves
from service.traces.keeper import Keeper
from verifier.scoring import VerifierBackend


class Queue(Protocol):
    """Whoever admits requests: how many wait, and the tokens they are estimated at."""

    @property
    def waiting(self) -> int: ...

    @property
    def queued_tokens(self) -> float: ...


class Metrics:
    """Until a queue is watched, nobody waits."""

    def __init__(self, engine: Backend, verifier: VerifierBackend, keeper: Keeper | None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # series that nobody reads
        self._registry = CollectorRegistry()
        gauge = partial(Gauge, registry=self._registry)
        ProcessCollector(registry=self._registry)  # memory, file descriptors, processor time
        self._drift = Drift(engine)
        self.requests = Requests(self._registry)
        self._solves = Solves(self._registry, self._drift)
        self._parts = Parts(self._registry, engine, verifier, keeper)
        self._depth = gauge("surefoot_queue_depth", "Requests that wait to be admitted.")
        self._tokens = gauge("surefoot_queued_tokens", "The tokens they are estimated at.")
        self._gap = gauge(
            "surefoot_ledger_drift_tokens",
            "Tokens that two accounts do not agree on; must be 0.",
            ("against",),
        )

    def watch(self, queue: Queue) -> None:
        """Ask it for its state at every scrape."""
        self._depth.set_function(lambda: queue.waiting)
        self._tokens.set_function(lambda: queue.queued_tokens)

    def keeping(self, tenant: str) -> Keep:
        """What takes down the runs of the request that is being served."""
        now = exchange.get() or Exchange()
        self.requests.solves(now)

        def keep(run: Report | Loss) -> None:
            now.hear(run)
            self._solves.kept(run, tenant)

        return keep

    async def text(self) -> bytes:
        """All of them as they stand now, in Prometheus's text format."""
        await self._parts.check()
        self._gap.labels("calls").set(self._drift.calls)
        counted = self._drift.engine(idle=self.requests.inflight == 0)
        if counted is not None:
            self._gap.labels("engine").set(counted)
        return generate_latest(self._registry)

"""All metrics of one application, in a registry of its own, and their text for Prometheus."""

from __future__ import annotations

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
from service.telemetry.load import Load
from service.telemetry.parts import Parts
from service.telemetry.requests import Requests
from service.telemetry.solves import Solves
from service.traces.keeper import Keeper
from verifier.scoring import VerifierBackend


class Metrics:
    """Whoever admits requests is given to `load` to be watched."""

    def __init__(self, engine: Backend, verifier: VerifierBackend, keeper: Keeper | None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # series that nobody reads
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, file descriptors, processor time
        self._drift = Drift(engine)
        self.requests = Requests(self._registry)
        self.load = Load(self._registry)
        self._solves = Solves(self._registry, self._drift)
        self._parts = Parts(self._registry, engine, verifier, keeper)
        self._gap = Gauge(
            "surefoot_ledger_drift_tokens",
            "Tokens that two accounts do not agree on; must be 0.",
            ("against",),
            registry=self._registry,
        )

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

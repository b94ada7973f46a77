"""The metrics of admission: who waits, and who was turned away.

Whatever admits requests tells its own state when it is asked, at every scrape, and each rejection
as it happens. Until something does, nobody waits.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

Rejection = Literal["queue", "rate", "quota", "budget", "draining"]
"""The queue is full; a tenant asks too often, has spent its quota, or asks for more than it can
ever have; the service is going down."""


class Queue(Protocol):
    """What waits to be admitted."""

    @property
    def depth(self) -> int:
        """Requests."""
        ...

    @property
    def tokens(self) -> int:
        """Their tokens, as they were estimated."""
        ...


class Load:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._depth = Gauge(
            "surefoot_queue_depth", "Requests that wait to be admitted.", registry=registry
        )
        self._tokens = Gauge(
            "surefoot_queued_tokens", "The tokens they are estimated at.", registry=registry
        )
        self._rejections = Counter(
            "surefoot_rejections_total",
            "Requests that were turned away, by why.",
            ("reason",),
            registry=registry,
        )
        for reason in get_args(Rejection):
            self._rejections.labels(reason)

    def watch(self, queue: Queue) -> None:
        """Ask it at every scrape."""
        self._depth.set_function(lambda: queue.depth)
        self._tokens.set_function(lambda: queue.tokens)

    def rejected(self, reason: Rejection) -> None:
        self._rejections.labels(reason).inc()

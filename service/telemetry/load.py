"""The metrics of the queue: whoever admits requests is asked for its state at every scrape.

Until something does, nobody waits.
"""

from __future__ import annotations

from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge


class Queue(Protocol):
    """What waits to be admitted."""

    @property
    def waiting(self) -> int:
        """Requests."""
        ...

    @property
    def queued_tokens(self) -> float:
        """What they are estimated to cost."""
        ...


class Load:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._depth = Gauge(
            "surefoot_queue_depth", "Requests that wait to be admitted.", registry=registry
        )
        self._tokens = Gauge(
            "surefoot_queued_tokens", "The tokens they are estimated at.", registry=registry
        )

    def watch(self, queue: Queue) -> None:
        self._depth.set_function(lambda: queue.waiting)
        self._tokens.set_function(lambda: queue.queued_tokens)

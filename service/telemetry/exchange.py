"""One request and its response, as far as they have come: when, what came of it, and its solves."""

from __future__ import annotations

import time
from asyncio import CancelledError
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from service.errors import Overloaded, QuotaExhausted, RateLimited, ServiceError, ShuttingDown
from service.solver import Loss, Report

Outcome = Literal["answered", "refused", "rejected", "failed", "cancelled"]
"""`refused`: the request was at fault; `rejected`: it was one too many; `failed`: we were."""

REJECTIONS = tuple(kind.code for kind in (Overloaded, RateLimited, QuotaExhausted, ShuttingDown))
"""Codes of errors that say: not now."""

CLIENT_CLOSED = 499  # nobody reads it; the access log does


@dataclass(slots=True)
class Exchange:
    began: float = field(default_factory=time.perf_counter)
    status: int | None = None
    error: ServiceError | None = None
    """What the caller was told instead of an answer, be it in a stream."""
    first_byte: float | None = None
    """Seconds until the response's body began."""
    answer: float | None = None
    """Seconds until the answer was chosen: no token of it can be sent before."""
    solving: bool = False
    """Whether it solves something: then it is in flight."""
    runs: list[Report | Loss] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def hear(self, run: Report | Loss) -> None:
        self.runs.append(run)
        if self.answer is None and isinstance(run, Report):
            self.answer = self.seconds

    @property
    def algorithm(self) -> str:
        """The strategy's name; "none" where nothing was solved."""
        return self.runs[0].strategy if self.runs else "none"

    @property
    def outcome(self) -> Outcome:
        if self.error is not None:
            if self.error.code in REJECTIONS:
                return "rejected"
            return "refused" if self.error.status < 500 else "failed"
        if self.status == CLIENT_CLOSED or self._left:
            return "cancelled"
        return "failed" if self.status is None else "answered"

    @property
    def _left(self) -> bool:
        """Whether a solve was cancelled, or never began, though nothing went wrong."""
        lost = (run.error for run in self.runs if isinstance(run, Loss))
        return (self.solving and not self.runs) or any(
            isinstance(error, CancelledError) for error in lost
        )


exchange: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
"""That of the request that is being served."""

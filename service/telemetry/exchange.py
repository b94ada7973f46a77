"""One request and its response, as far as they have come: when, what came of it, and its solves."""

from __future__ import annotations

import time
from asyncio import CancelledError
from dataclasses import dataclass, field
from typing import Literal, get_args

from service.errors import ServiceError
from service.solver import Loss, Report

Outcome = Literal["answered", "refused", "rejected", "failed", "cancelled"]
"""`refused`: the request was at fault; `rejected`: there was no room for it; `failed`: we were."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
TOO_MANY, CLIENT_CLOSED = 429, 499


@dataclass(slots=True)
class Exchange:
    began: float = field(default_factory=time.perf_counter)
    status: int | None = None
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
        """A stream that began well can end badly: then the solve says it, not the status."""
        last = self.runs[-1] if self.runs else None
        if isinstance(last, Loss) and not self._was_enough(last):
            return _lost(last.error)
        match self.status:
            case int() as status if status < 400:
                return "answered"
            case int() as status if status == TOO_MANY:
                return "rejected"
            case int() as status if status == CLIENT_CLOSED:
                return "cancelled"
            case int() as status if status < 500:
                return "refused"
            case _:
                return "failed"

    def _was_enough(self, last: Loss) -> bool:
        """Whether only a further answer was lost, to the end of a shared budget."""
        return len(self.runs) > 1 and last.ledger.exhausted is not None


def _lost(error: BaseException) -> Outcome:
    if isinstance(error, CancelledError):
        return "cancelled"
    ours = not isinstance(error, ServiceError) or error.status >= 500
    return "failed" if ours else "refused"

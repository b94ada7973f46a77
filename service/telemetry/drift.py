"""Is every token accounted for: the ledgers against their calls, and against the engine's count.

Two sums that are made in different places must agree. `calls`: of every ledger the entries against
the totals; what once differed stays. `engine`: what all runs say they spent against what the engine
counted since the service began. It is taken while nothing is being solved; at other times it is
what it last was.
"""

from __future__ import annotations

from service.engines.base import Backend, Counting, Usage
from service.ledger import Ledger
from service.solver import Loss, Report
from service.traces.trace import Spent


class Drift:
    def __init__(self, engine: Backend) -> None:
        self.calls = 0
        """Tokens by which ledgers differed from their calls."""
        self._engine = engine if isinstance(engine, Counting) else None
        self._before = engine.spent if isinstance(engine, Counting) else Usage()
        self._told = Usage()
        self._settled = 0

    def note(self, run: Report | Loss) -> None:
        self.calls += _difference(run.ledger)
        for call in (*run.calls, *run.record.beside):
            self._told += call.policy

    def engine(self, *, idle: bool) -> int | None:
        """Tokens by which the engine's own count differs; None if it has none."""
        if self._engine is None:
            return None
        if idle:
            gap = self._engine.spent - self._before - self._told
            self._settled = _size(gap)
        return self._settled


def _difference(ledger: Ledger) -> int:
    told = Spent.of(ledger.calls)
    return _size(ledger.policy - told.policy) + abs(ledger.verifier.tokens - told.verifier.tokens)


def _size(gap: Usage) -> int:
    return abs(gap.prompt) + abs(gap.cached) + abs(gap.completion)

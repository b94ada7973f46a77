"""Steps verified while their path is written, so that it is not written on behind one that fails.

The verifier works beside the engine: one call at a time for a path, for all the steps that were
finished meanwhile, and never for a step that has its score.
"""

from __future__ import annotations

from asyncio import Task, TaskGroup
from collections.abc import Callable
from dataclasses import dataclass, field

from service.ledger import BudgetExhausted
from service.solution import UNCHECKED, Path
from verifier.scoring import Cost, Verifier

Stop = Callable[[Path], int | None]
"""Given the steps that are finished and scored: the one behind which the path ends, if any. It is
never a step that was kept."""


@dataclass(slots=True)
class Check:
    """Follows one path; `failed` is the step that ends it, `scored` holds the scores so far."""

    question: str
    verifier: Verifier
    stop: Stop
    group: TaskGroup
    scored: Path = field(default_factory=Path)
    cost: Cost = UNCHECKED
    failed: int | None = None
    _running: Task[None] | None = None

    def hear(self, path: Path) -> None:
        """Take a path whose last step may still be growing."""
        if self.failed is None and (self._running is None or self._running.done()):
            finished = path.scored_like(self.scored).head(len(path.steps) - 1)
            if finished.score("last") is None:
                self._running = self.group.create_task(self._verify(finished))

    async def _verify(self, path: Path) -> None:
        try:
            (verdict,) = await self.verifier.score([path.chain(self.question)])
        except BudgetExhausted:
            return  # what the engine holds back may come free: the whole path is asked about again
        self.cost += verdict.cost
        self.scored = path.scored(verdict.scores)
        self.failed = self.stop(self.scored)

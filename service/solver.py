"""All that routes may call: a strategy on a question under a budget, a baseline beside it."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from service.engines.base import Backend, Usage
from service.errors import (
    DeadlineExceeded,
    EngineUnavailable,
    InvalidRequest,
    ServiceError,
    VerifierUnavailable,
)
from service.events import Listener
from service.ledger import Budget, BudgetExhausted, Ledger, Limit, MeteredEngine, MeteredVerifier
from service.record import Record
from service.solution import Solution
from service.strategies import BestOfN
from service.strategies.attempt import Attempt, Question
from service.strategies.base import Strategy
from verifier.answers import Grader
from verifier.scoring import Cost, VerifierBackend, VerifierError

READY_WITHIN = 5.0  # seconds
BASELINE = BestOfN()  # what StepCo's paper compares with: Best-of-10


@dataclass(frozen=True, slots=True)
class Task:
    question: Question
    strategy: Strategy
    budget: Budget
    baseline: Literal["none", "estimate", "measure"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What Best-of-N spent on the same question, or would have.

    `saving` is 1 - this solve's total / the baseline's total; it may be negative.
    """

    strategy: str
    n: int
    kind: Literal["estimated", "measured"]
    policy: Usage
    verifier: Cost
    total: int
    saving: float
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    id: str
    strategy: str
    solution: Solution
    record: Record
    ledger: Ledger
    baseline: Baseline | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Solver:
    engine: Backend
    verifier: VerifierBackend
    grader: Grader

    async def solve(self, task: Task, tell: Listener) -> Report:
        """Raises `ServiceError`; a limit reached is no error while there is a path to return."""
        try:
            return await self._solve(task, Ledger(task.budget), tell)
        except BudgetExhausted as error:
            raise _nothing(error.limit) from error

    async def answers(
        self, task: Task, n: int, tell: Callable[[int], Listener]
    ) -> Sequence[Report]:
        """Up to n answers under one budget, each told to a listener of its own.

        A strategy that samples gives its best samples of different answers; another is run again
        with other seeds. There are fewer, and a warning, where samples agree or the budget ends.
        The baseline is that of the first. Raises what `solve` does.
        """
        first = await self.solve(task, tell(0))
        if first.record.candidates:
            reports = await self._differing(first, n)
        else:
            reports = await self._again(task, first, n, tell)
        if len(reports) < n:
            sampled = bool(first.record.candidates)
            why = "the samples hold no other" if sampled else "the budget was spent"
            first.record.warnings.append(f"{len(reports)} of {n} answers: {why}.")
        return reports

    async def check(self) -> None:
        """Return if engine and verifier answer."""
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self.engine.check()
                await self.verifier.check()
        except TimeoutError as error:
            raise EngineUnavailable("Engine or verifier takes too long to answer.") from error
        except VerifierError as error:
            raise _unavailable() from error

    async def _solve(self, task: Task, ledger: Ledger, tell: Listener) -> Report:
        started = time.monotonic()
        record = Record(tell)
        solution = await self._run(task.strategy, task.question, ledger, record)
        seconds = time.monotonic() - started
        baseline = await self._baseline(task, record, ledger)
        name = f"solve-{uuid.uuid4().hex}"
        return Report(name, task.strategy.name, solution, record, ledger, baseline, seconds)

    async def _differing(self, report: Report, n: int) -> Sequence[Report]:
        found = await report.record.differing(report.solution, self.grader) if n > 1 else []
        return [report, *(replace(report, solution=each) for each in found[: n - 1])]

    async def _again(
        self, task: Task, first: Report, n: int, tell: Callable[[int], Listener]
    ) -> Sequence[Report]:
        reports = [first]
        while len(reports) < n and first.ledger.exhausted is None:
            run = len(reports)
            other = replace(task, question=task.question.redrawn(run), baseline="none")
            with suppress(BudgetExhausted):
                reports.append(await self._solve(other, first.ledger, tell(run)))
        return reports

    async def _run(
        self, strategy: Strategy, question: Question, ledger: Ledger, record: Record
    ) -> Solution:
        """Raises `BudgetExhausted` if a limit is reached with nothing to show."""
        attempt = Attempt(
            question=question,
            engine=MeteredEngine(self.engine, ledger),
            verifier=MeteredVerifier(self.verifier, ledger),
            grader=self.grader,
            tell=record.hear,
            begins_turns=self.engine.begins_turns,
            threshold=self.verifier.threshold,
        )
        limit = asyncio.timeout(ledger.seconds_left)
        try:
            async with limit:
                solution = await strategy.solve(attempt)
            return replace(solution, stop_reason=ledger.exhausted or solution.stop_reason)
        except BudgetExhausted as error:
            return _best(record, error)
        except TimeoutError:
            if not limit.expired():
                raise
            return _best(record, ledger.exhaust("deadline"))
        except VerifierError as error:
            raise _unavailable() from error

    async def _baseline(self, task: Task, record: Record, ledger: Ledger) -> Baseline | None:
        match task.baseline:
            case "none":
                return None
            case "estimate":
                return _estimated(record, ledger.computed)
            case "measure":
                return await self._measured(task, record, ledger)

    async def _measured(self, task: Task, record: Record, ledger: Ledger) -> Baseline | None:
        """Best-of-N, really run, in what is left of the deadline and under a budget of its own."""
        tokens = BASELINE.n * task.question.sampling.max_tokens
        own = Ledger(Budget(tokens, None, max(0, int(1000 * ledger.seconds_left))))
        drawn = Record()
        try:
            solution = await self._run(BASELINE, task.question, own, drawn)
        except BudgetExhausted:
            record.warnings.append("No time was left to measure the baseline; raise deadline_ms.")
            return None
        if own.exhausted:
            record.warnings.append("The measured baseline was cut short; raise deadline_ms.")
        answer = solution.path.answer
        return _baseline("measured", own.policy, own.verifier, ledger.computed, answer)


def _estimated(record: Record, spent: int) -> Baseline:
    sample, cost = record.mean_draft()
    n = BASELINE.n
    policy = Usage(n * sample.prompt, (n - 1) * sample.prompt, n * sample.completion, n)
    return _baseline("estimated", policy, Cost(n * cost.tokens, n * cost.calls), spent)


def _baseline(
    kind: Literal["estimated", "measured"],
    policy: Usage,
    verifier: Cost,
    spent: int,
    answer: str | None = None,
) -> Baseline:
    total = policy.computed + verifier.tokens
    saving = 1 - spent / total if total else 0.0
    return Baseline(BASELINE.name, BASELINE.n, kind, policy, verifier, total, saving, answer)


def _best(record: Record, spent: BudgetExhausted) -> Solution:
    if (solution := record.best(spent.limit)) is None:
        raise spent
    return solution


def _nothing(limit: Limit) -> ServiceError:
    if limit == "deadline":
        return DeadlineExceeded("The deadline passed before a word was written; raise deadline_ms.")
    return InvalidRequest(
        "The compute budget is smaller than the question and one token; raise it.",
        "budget.max_compute_tokens",
    )


def _unavailable() -> VerifierUnavailable:
    return VerifierUnavailable("The verifier does not answer; look at the service's log.")

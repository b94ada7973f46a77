"""All that routes may call: a strategy on a question under a budget, a baseline beside it."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from service.curfew import Curfew, TimeIsUp
from service.engines.base import Backend, Usage
from service.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    ServiceError,
    ShuttingDown,
    VerifierUnavailable,
)
from service.events import Listener
from service.ledger import (
    Budget,
    BudgetExhausted,
    Call,
    Ledger,
    Limit,
    MeteredEngine,
    MeteredVerifier,
)
from service.record import Record
from service.solution import Solution, StopReason
from service.strategies import BestOfN
from service.strategies.attempt import Attempt, Question
from service.strategies.base import Strategy
from verifier.answers import Grader
from verifier.scoring import Cost, VerifierBackend, VerifierError

READY_WITHIN = 5.0  # seconds
TOO_LONG = "The question and a path are longer than the models can read"
BASELINE = BestOfN()  # what StepCo's paper compares with: Best-of-10


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked. `cache_salt` is the caller's own part of the salt that its ledger has."""

    question: Question
    strategy: Strategy
    budget: Budget
    baseline: Literal["none", "estimate", "measure"]
    cache_salt: str = ""

    @property
    def most_tokens(self) -> int:
        """All that may be generated: the budget, and beside it a baseline that is measured."""
        beside = _measuring(self) if self.baseline == "measure" else 0
        return self.budget.max_tokens + beside


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
class Run:
    """One solve: what was asked, what was seen on the way, its calls and its seconds.

    Runs of one request share its ledger.
    """

    id: str
    created: datetime
    task: Task
    record: Record
    ledger: Ledger
    calls: Sequence[Call]
    seconds: float

    @property
    def strategy(self) -> str:
        return self.task.strategy.name


@dataclass(frozen=True, slots=True)
class Report(Run):
    """A run that came to a solution; its seconds are without the baseline's."""

    solution: Solution
    baseline: Baseline | None


@dataclass(frozen=True, slots=True)
class Loss(Run):
    """A run that came to none: it failed, or its caller left."""

    error: BaseException


Keep = Callable[[Report | Loss], None]
"""Is given every run when it is over; must neither wait nor raise."""


def unkept(_: Report | Loss) -> None:
    """Nobody keeps it."""


@dataclass(frozen=True, slots=True)
class Solver:
    engine: Backend
    verifier: VerifierBackend
    grader: Grader
    degrades: bool = False
    """Whether a solve whose verifier fails returns what most of its paths say, unverified."""
    curfew: Curfew = field(default_factory=Curfew)

    async def solve(
        self, task: Task, tell: Listener, keep: Keep = unkept, ledger: Ledger | None = None
    ) -> Report:
        """One run, kept however it ends.

        Raises `ServiceError`; a limit reached is no error while there is a path to return.

        The ledger, if there is one already, is of the task's budget.
        """
        ledger = ledger or Ledger(task.budget)
        id, created, began = f"solve-{uuid.uuid4().hex}", datetime.now(UTC), ledger.seconds
        record = Record(tell)
        try:
            solution = await self._run(id, task.strategy, task.question, ledger, record)
            seconds, calls = ledger.seconds - began, ledger.since(began)
            baseline = await self._baseline(id, task, record, ledger)
        except BaseException as error:
            seconds, calls = ledger.seconds - began, ledger.since(began)
            keep(Loss(id, created, task, record, ledger, calls, seconds, error))
            raise
        report = Report(id, created, task, record, ledger, calls, seconds, solution, baseline)
        keep(report)
        return report

    async def answers(
        self,
        task: Task,
        n: int,
        tell: Callable[[int], Listener],
        keep: Keep = unkept,
        ledger: Ledger | None = None,
    ) -> Sequence[Report]:
        """Up to n answers under one budget, each told to a listener of its own.

        A strategy that samples gives its best samples of different answers, of the same run;
        another is run again with other seeds. There are fewer where samples agree, the budget
        ends or a further run fails. The baseline is that of the first. Raises what `solve` does.
        """
        first = await self.solve(task, tell(0), keep, ledger)
        if first.record.candidates:
            return await self._differing(first, n)
        return await self._again(first, n, tell, keep)

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

    async def _differing(self, report: Report, n: int) -> Sequence[Report]:
        found = await report.record.differing(report.solution, self.grader) if n > 1 else []
        return [report, *(replace(report, solution=each) for each in found[: n - 1])]

    async def _again(
        self, first: Report, n: int, tell: Callable[[int], Listener], keep: Keep
    ) -> Sequence[Report]:
        reports, ledger = [first], first.ledger
        while len(reports) < n and ledger.exhausted is None:
            run = len(reports)
            question = first.task.question.redrawn(run)
            other = replace(first.task, question=question, baseline="none")
            try:
                reports.append(await self.solve(other, tell(run), keep, ledger))
            except ServiceError:  # those there are have been paid for
                break
        return reports

    async def _run(
        self, session: str, strategy: Strategy, question: Question, ledger: Ledger, record: Record
    ) -> Solution:
        """Raises `ServiceError`, also if a limit is reached with nothing to show."""
        attempt = Attempt(
            question=question,
            engine=MeteredEngine(self.engine, ledger, session),
            verifier=MeteredVerifier(self.verifier, ledger, session),
            grader=self.grader,
            tell=record.hear,
            begins_turns=self.engine.begins_turns,
            threshold=self.verifier.threshold,
            aggregate=self.verifier.aggregate,
            heeds=self.verifier.heeds,
        )
        try:
            async with self.curfew.until(ledger.seconds_left):
                solution = await strategy.solve(attempt)
            return replace(solution, stop_reason=ledger.exhausted or solution.stop_reason)
        except BudgetExhausted as error:
            return _best(record, error.limit)
        except TimeIsUp:
            over: Limit = "shutdown" if self.curfew.rung else "deadline"
            return _best(record, ledger.exhaust(over).limit)
        except ContextLengthExceeded as error:
            return _salvaged(record, "too_long", TOO_LONG, error)
        except VerifierError as error:
            if self.degrades and (agreed := await record.majority(self.grader)):
                record.warnings.append("The verifier does not answer; nothing was verified.")
                return agreed
            raise _unavailable() from error
        except EngineError as error:
            return _salvaged(record, "engine_lost", "The engine failed", error)

    async def _baseline(
        self, session: str, task: Task, record: Record, ledger: Ledger
    ) -> Baseline | None:
        match task.baseline:
            case "none":
                return None
            case "estimate":
                return _estimated(record, ledger.computed)
            case "measure":
                return await self._measured(session, task, record, ledger)

    async def _measured(
        self, session: str, task: Task, record: Record, ledger: Ledger
    ) -> Baseline | None:
        """Best-of-N, really run, in what is left of the deadline and under a budget of its own."""
        own, drawn = ledger.aside(_measuring(task)), Record()
        try:
            solution = await self._run(session, BASELINE, task.question, own, drawn)
        except (DeadlineExceeded, ShuttingDown):
            record.warnings.append("No time was left to measure the baseline; raise deadline_ms.")
            return None
        finally:
            record.beside += own.calls
        if own.exhausted:
            record.warnings.append("The measured baseline was cut short; raise deadline_ms.")
        answer = solution.path.answer
        return _baseline("measured", own.policy, own.verifier, ledger.computed, answer)


def _measuring(task: Task) -> int:
    """Tokens that measuring the baseline may generate."""
    return BASELINE.n * task.question.sampling.max_tokens


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


def _best(record: Record, limit: Limit) -> Solution:
    if solution := record.best(limit):
        return solution
    if limit == "shutdown":
        raise ShuttingDown("The service is shutting down; try again in a moment, or elsewhere.")
    if limit == "deadline":
        raise DeadlineExceeded("The deadline passed before a word was written; raise deadline_ms.")
    raise InvalidRequest(
        "The compute budget is smaller than the question and one token; raise it.",
        "budget.max_compute_tokens",
    )


def _salvaged(record: Record, reason: StopReason, why: str, error: ServiceError) -> Solution:
    """The best path written before; raises the error if there is none."""
    found = record.best(reason) if record.drafts else None
    if found is None:
        raise error
    record.warnings.append(f"{why}; this is the best path written before.")
    return found


def _unavailable() -> VerifierUnavailable:
    return VerifierUnavailable("The verifier does not answer; look at the service's log.")

"""An answer in the making: the solver asked, its reports made into choices, usage and outcome.

What is common to the chat completions and the responses API; how each tells it is its own.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Literal

from service.errors import InvalidRequest
from service.events import Listener
from service.ledger import Ledger
from service.openai import usage
from service.openai.reasoning import Log
from service.openai.request import Asked
from service.solution import StopReason
from service.solver import Baseline, Keep, Report, Solver, Task
from service.strategies import prompts
from service.traces.trace import Origin, Trace
from service.traces.tracing import traced
from service.wire import Reply

LIMITS: tuple[StopReason, ...] = ("token_budget", "compute_budget", "deadline", "shutdown")

Teller = Callable[[tuple[int, str]], None]
"""Hears the reasoning of each choice as it grows."""


Piece = dict[str, Any] | str
"""What a stream is made of: an object, or a word that stands alone."""


class Outcome(Reply):
    """How an answer came about."""

    answer: str | None
    verified: bool
    score: float | None
    stop_reason: StopReason
    revisions: int
    trace_id: str
    """Answers that are samples of one run share its trace."""
    trace: Trace | None
    """If it was asked for; and null where an answer before this one has it."""


class Surefoot(Outcome):
    """Of the first choice; `others` are the further ones, in order."""

    strategy: str
    policy: str
    verifier: str
    baseline: Baseline | None
    warnings: list[str]
    others: list[Outcome]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every part of a response carries alike."""

    id: str
    created: int
    model: str
    fingerprint: str

    @classmethod
    def new(cls, kind: str, asked: Asked, solver: Solver) -> Stamp:
        return cls(f"{kind}{uuid.uuid4().hex}", int(time.time()), asked.model, fingerprint(solver))


@dataclass(frozen=True, slots=True)
class Choice:
    content: str
    tokens: int
    """Of the content."""
    reasoning: str
    finish: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Answer:
    choices: Sequence[Choice]
    usage: usage.Usage
    surefoot: Surefoot


async def answer(
    solver: Solver,
    asked: Asked,
    wanted: Task,
    tell: Teller,
    origin: Origin,
    keep: Keep,
    ledger: Ledger | None = None,
) -> Answer:
    """Solve what is asked; raises `ServiceError` in the words of the request."""
    logs: list[Log] = []

    def listener(choice: int) -> Listener:
        logs.append(Log(lambda text: tell((choice, text))))
        return logs[-1].hear

    try:
        reports = await solver.answers(wanted, asked.choices, listener, keep, ledger)
    except InvalidRequest as error:
        raise _worded(error, asked) from error
    for log, report in zip(logs, reports, strict=False):
        log.choose(report.solution)
    texts = [log.text for log in logs] + [""] * len(reports)
    choices = [_choice(r, asked.stops, text) for r, text in zip(reports, texts, strict=False)]
    spent_by = reports[0].ledger
    call = reports[0].record.first_call(spent_by.policy)
    prompt = await usage.conversation(solver, wanted, call)
    spent = usage.usage(spent_by, prompt, sum(choice.tokens for choice in choices))
    return Answer(choices, spent, _surefoot(reports, asked, origin))


def fingerprint(solver: Solver) -> str:
    """Changes with whatever an answer may change with: the models, their terms, our prompts."""
    parts = (
        version("surefoot-service"),
        solver.engine.name,
        solver.verifier.name,
        solver.verifier.threshold,
        solver.verifier.aggregate,
        prompts.FORMAT,
        prompts.REWRITE,
    )
    return f"fp_{sha256(repr(parts).encode()).hexdigest()[:12]}"


def until(text: str, stops: Sequence[str]) -> str:
    """The text up to where the first of the stops stands."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


def _choice(report: Report, stops: Sequence[str], reasoning: str) -> Choice:
    path = report.solution.path
    if report.solution.stop_reason == "abstained":
        return Choice(prompts.ABSTAINED, 0, reasoning, "stop")
    text = until(path.text, stops)
    limited = path.cut or report.solution.stop_reason in LIMITS
    return Choice(
        content=text.rstrip().lstrip("\n"),
        tokens=path.tokens_of(len(text)),
        reasoning=reasoning,
        finish="length" if limited and text == path.text else "stop",
    )


def _surefoot(reports: Sequence[Report], asked: Asked, origin: Origin) -> Surefoot:
    first, *others = _outcomes(reports, origin, include_trace=asked.surefoot.include_trace)
    return Surefoot(
        **dict(first),
        strategy=reports[0].strategy,
        policy=origin.model,
        verifier=origin.verifier,
        baseline=reports[0].baseline,
        warnings=list(dict.fromkeys(_warnings(reports, asked))),
        others=others,
    )


def _outcomes(
    reports: Sequence[Report], origin: Origin, *, include_trace: bool
) -> Iterator[Outcome]:
    told: set[str] = set()
    for report in reports:
        shown = include_trace and report.id not in told
        told.add(report.id)
        yield _outcome(report, traced(report, origin) if shown else None)


def _warnings(reports: Sequence[Report], asked: Asked) -> Iterator[str]:
    for report in reports:
        yield from report.record.warnings
    if len(reports) < asked.choices:
        sampled = bool(reports[0].record.candidates)
        ended = "the budget was spent" if reports[0].ledger.exhausted else "a further one failed"
        why = "the samples hold no other" if sampled else ended
        yield f"{len(reports)} of {asked.choices} answers: {why}."
    if asked.ignored:
        yield f"Without effect: {', '.join(asked.ignored)}."


def _outcome(report: Report, trace: Trace | None) -> Outcome:
    solution = report.solution
    return Outcome(
        answer=solution.path.answer,
        verified=solution.verified,
        score=solution.score,
        stop_reason=solution.stop_reason,
        revisions=sum(round > 0 for round in report.record.rounds),
        trace_id=report.id,
        trace=trace,
    )


def _worded(error: InvalidRequest, asked: Asked) -> InvalidRequest:
    """The error with its field as the caller knows it."""
    own = "budget.max_compute_tokens"
    fields = {"problem": asked.turns_param, own: f"surefoot.{own}"}
    return type(error)(error.message, fields.get(error.param or "", error.param))

"""The only keeper of a request's budget: grants before a call, records while it runs.

Engine and verifier reach a strategy already metered, so no strategy holds budget code. What is
granted is held back until the call ends; what it did not use returns. Tokens are recorded as the
engine tells them, so a call that is cancelled has paid for what it generated. Of every call there
is an entry, and the entries add up to the totals.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from service.engines import base
from service.engines.base import Completion, Delta, Finish, Prompt, Sampling, Usage, Watch
from service.errors import EngineError
from verifier.scoring import Chain, Cost, Meter, Verdict, VerifierBackend, checked, unmetered

Limit = Literal["token_budget", "compute_budget", "deadline", "shutdown"]


class BudgetExhausted(Exception):
    """Nothing is left to grant; `limit` says of what."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.limit: Limit = limit


@dataclass(frozen=True, slots=True)
class Budget:
    """`max_tokens` bounds what is generated, `max_compute_tokens` all that is computed."""

    max_tokens: int
    max_compute_tokens: int | None
    deadline_ms: int


@dataclass(slots=True)
class Hold:
    """What one call may still use of its grant."""

    tokens: int
    compute: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is over: what it was asked, when in the solve (in seconds), and what it cost.

    `wasted` of the completion tokens were generated in a call that came to nothing; one that came
    to something says how each completion finished.
    """

    kind: Literal["policy", "verifier"]
    paths: int
    began: float
    seconds: float
    policy: Usage = field(default_factory=Usage)
    verifier: Cost = field(default_factory=Cost)
    wasted: int = 0
    finishes: tuple[Finish, ...] = ()


class Ledger:
    """Of one request.

    `since` is when it came, by the monotonic clock, if that was not just now. `salt`: what
    engines have cached under one salt is of no use under another.
    """

    def __init__(self, budget: Budget, since: float | None = None, salt: str = "") -> None:
        self.budget = budget
        self.salt = salt
        self.policy = Usage()
        self.verifier = Cost()
        self.wasted = 0
        self.exhausted: Limit | None = None
        self.calls: list[Call] = []
        self._began = time.monotonic() if since is None else since
        self._asides: list[Ledger] = []
        self._holds: list[Hold] = []

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.monotonic() - self._began

    @property
    def until(self) -> float:
        """The deadline, by the monotonic clock."""
        return self._began + self.budget.deadline_ms / 1000

    @property
    def seconds_left(self) -> float:
        return self.until - time.monotonic()

    @property
    def computed(self) -> int:
        """Prefill that was not cached, tokens generated, tokens of the verifier."""
        return self.policy.computed + self.verifier.tokens

    @property
    def computed_in_all(self) -> int:
        """With what was computed beside the budget."""
        return self.computed + sum(aside.computed for aside in self._asides)

    @property
    def generated_in_all(self) -> int:
        return self.policy.completion + sum(aside.policy.completion for aside in self._asides)

    @property
    def tokens_left(self) -> int:
        held = sum(hold.tokens for hold in self._holds)
        return self.budget.max_tokens - self.policy.completion - held

    @property
    def compute_left(self) -> float:
        if self.budget.max_compute_tokens is None:
            return float("inf")
        return self.budget.max_compute_tokens - self.computed - sum(h.compute for h in self._holds)

    def aside(self, max_tokens: int) -> Ledger:
        """A ledger for what is not of this budget, but of this request and its time."""
        milliseconds = max(0, int(1000 * self.seconds_left))
        self._asides.append(Ledger(Budget(max_tokens, None, milliseconds), salt=self.salt))
        return self._asides[-1]

    def grant(self, weights: Sequence[int], ask: int) -> tuple[int, int]:
        """How many of the prompts may run now, and how many tokens each may generate.

        As many as can have all they ask; else the first alone, with what is left. Raises
        `BudgetExhausted` when that is nothing.
        """
        self.demand_time()
        tokens, compute = self.tokens_left, self.compute_left
        first = int(min(ask, tokens, compute - weights[0]))
        if first < 1:
            raise self.exhaust("token_budget" if tokens < 1 else "compute_budget")
        count = 0
        for weight in weights:
            tokens -= ask
            compute -= weight + ask
            if tokens < 0 or compute < 0:
                break
            count += 1
        return (count, ask) if count else (1, first)

    def demand_time(self) -> None:
        if self.seconds_left <= 0:
            raise self.exhaust("deadline")

    def exhaust(self, limit: Limit) -> BudgetExhausted:
        self.exhausted = limit
        return BudgetExhausted(limit)

    def refuse(self, limit: Limit) -> BudgetExhausted:
        """Exhausted, unless what a running call holds back may still come free."""
        return BudgetExhausted(limit) if self._holds else self.exhaust(limit)

    @contextmanager
    def hold(self, tokens: int, compute: int) -> Iterator[Hold]:
        """Keep a grant back while its call runs."""
        hold = Hold(tokens, compute)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)

    def record(self, usage: Usage, hold: Hold) -> None:
        """Raises `EngineError` if that cannot be, for it was granted less."""
        self.policy += usage
        hold.tokens -= usage.completion
        hold.compute -= usage.computed
        if usage.completion < 0 or hold.tokens < 0:
            raise EngineError("The engine counts other tokens than it was granted; see its log.")

    def enter(self, call: Call) -> None:
        """Take down a call that is over; its policy tokens have been recorded as they came."""
        self.verifier += call.verifier
        self.wasted += call.wasted
        self.calls.append(call)

    def since(self, began: float) -> Sequence[Call]:
        """The calls that began then or later, their times counted from then."""
        own = (call for call in self.calls if call.began >= began)
        return tuple(replace(call, began=call.began - began) for call in own)


@dataclass(frozen=True, slots=True)
class MeteredEngine:
    """An engine under a ledger: a call is granted `min(what it asks, what is left)`.

    Prompts that cannot all have what they ask run in waves, so that what the first leave over
    serves the next; those that find nothing left come back empty. All are of one session.
    """

    backend: base.Backend
    ledger: Ledger
    session: str = ""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = base.unwatched
    ) -> list[Completion]:
        weights = await self._weigh(prompts)
        done: list[Completion] = []
        while len(done) < len(prompts):
            start = len(done)
            try:
                count, tokens = self.ledger.grant(weights[start:], sampling.max_tokens)
            except BudgetExhausted:
                if not done:
                    raise
                return done + [_refused(index, watch) for index in range(start, len(prompts))]
            wave = [self._stamped(prompt) for prompt in prompts[start : start + count]]
            granted = replace(
                base.at(sampling, start), max_tokens=tokens, seconds=self.ledger.seconds_left
            )
            compute = sum(weights[start : start + count]) + tokens * count
            done += await self._run(wave, granted, compute, _shifted(watch, start))
            short = tokens < sampling.max_tokens or self.ledger.tokens_left < 1
            if short and done[-1].finish == "length":
                self.ledger.exhaust("token_budget")
        return done

    def _stamped(self, prompt: Prompt) -> Prompt:
        since = int(time.time() - self.ledger.seconds)
        return replace(prompt, salt=self.ledger.salt, session=self.session, since=since)

    async def _weigh(self, prompts: Sequence[Prompt]) -> list[int]:
        if self.ledger.budget.max_compute_tokens is None:
            return [0] * len(prompts)
        return await self.backend.measure(prompts)

    async def _run(
        self, prompts: Sequence[Prompt], sampling: Sampling, compute: int, watch: Watch
    ) -> list[Completion]:
        ledger, began, spent = self.ledger, self.ledger.seconds, Usage()
        with ledger.hold(sampling.max_tokens * len(prompts), compute) as hold:

            def record(delta: Delta) -> bool:
                nonlocal spent
                ledger.record(delta.usage, hold)
                spent += delta.usage
                return watch(delta)

            done: list[Completion] = []
            try:
                done = await self.backend.complete(prompts, sampling, record)
            finally:
                wasted = 0 if done else spent.completion
                finishes: tuple[Finish, ...] = tuple(completion.finish for completion in done)
                seconds = ledger.seconds - began
                call = Call("policy", len(prompts), began, seconds, spent, Cost(), wasted, finishes)
                ledger.enter(call)
        return done


def _shifted(watch: Watch, start: int) -> Watch:
    if not start:  # by far the most, and every token passes here
        return watch
    return lambda delta: watch(replace(delta, index=delta.index + start))


def _refused(index: int, watch: Watch) -> Completion:
    watch(Delta(index, "", Usage(), "length"))
    return Completion("", "length", Usage())


@dataclass(frozen=True, slots=True)
class MeteredVerifier:
    """A verifier under a ledger. Its tokens count against the compute budget alone."""

    backend: VerifierBackend
    ledger: Ledger
    session: str = ""

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        ledger, began, most, spent = self.ledger, self.ledger.seconds, 0, Cost()
        session, salt, until = self.session, ledger.salt, ledger.until
        chains = [replace(each, session=session, salt=salt, until=until) for each in chains]
        ledger.demand_time()
        if ledger.budget.max_compute_tokens is not None:
            most = sum(await self.backend.measure(chains))
            if most > ledger.compute_left:
                raise ledger.refuse("compute_budget")

        def record(cost: Cost) -> None:
            nonlocal spent
            spent += cost
            meter(cost)

        with ledger.hold(0, most):
            try:
                return checked(chains, await self.backend.score(chains, record))
            finally:
                seconds = ledger.seconds - began
                ledger.enter(Call("verifier", len(chains), began, seconds, verifier=spent))

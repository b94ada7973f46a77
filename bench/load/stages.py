"""Runs the stages of a plan, one after another: open loops at their rates, closed ones full.

Latencies are counted from the moment a request was due, so that a service that holds up its callers
does not hide the wait of those behind them. What a closed stage could do is the capacity that loads
are multiples of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, cycle

from bench.load.arrivals import moments
from bench.load.caller import Caller
from bench.load.mix import Plan, Stage
from bench.load.orders import Order, Orders
from bench.load.outcomes import Outcome
from service.errors import StartupError

LONGEST_WAIT = 120  # seconds that a caller is asked to wait at the most

Tell = Callable[["Stretch"], None]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stage as it was run. Moments are in seconds since the run began.

    `rate` is what was offered a second, of a closed stage what was done. From `closed` on nothing
    new was due; at `over` all had ended.
    """

    number: int
    stage: Stage
    rate: float
    load: float | None
    began: float
    closed: float
    over: float

    @property
    def name(self) -> str:
        if not self.stage.open:
            return f"{self.number}: closed, {self.stage.callers} callers"
        load = f", load {self.load:.2g}" if self.load else ""
        return f"{self.number}: {self.stage.arrivals}{load}"


@dataclass(slots=True)
class Stages:
    """`outcomes` and `stretches` are those so far; `began` is by `time.perf_counter`."""

    plan: Plan
    questions: Sequence[str]
    caller: Caller
    began: float
    outcomes: list[Outcome] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    capacity: float | None = None
    """Requests a second of the last closed stage."""

    async def run(self, tell: Tell) -> None:
        """All of them; `tell` hears of each. Raises `StartupError` if a closed one did nothing."""
        for number, stage in enumerate(self.plan.stages):
            orders = Orders(self.plan, self.questions, number)
            run = self._open if stage.open else self._closed
            self.stretches.append(await run(stage, number, orders))
            tell(self.stretches[-1])

    async def _open(self, stage: Stage, number: int, orders: Orders) -> Stretch:
        rate, load = self._offered(stage)
        since = time.perf_counter()
        seed = f"{self.plan.seed}/{number}/arrivals"
        async with asyncio.TaskGroup() as group:
            for place, due in enumerate(moments(stage.arrivals, rate, stage.seconds, seed)):
                order = orders.draw(place)
                await asyncio.sleep(since + due - time.perf_counter())
                group.create_task(self._served(order, due, since))
        return self._stretch(number, stage, rate, load, since, stage.seconds)

    def _offered(self, stage: Stage) -> tuple[float, float | None]:
        if stage.rate is not None:
            return stage.rate, stage.rate / self.capacity if self.capacity else None
        load, capacity = stage.load or 0.0, self.capacity or 0.0  # the plan has seen to both
        return load * capacity, load

    async def _closed(self, stage: Stage, number: int, orders: Orders) -> Stretch:
        since, numbers, first = time.perf_counter(), count(), len(self.outcomes)
        end = float("inf") if stage.requests else since + stage.seconds
        most = stage.requests or float("inf")

        async def call(tenant: str) -> None:
            while time.perf_counter() < end and (place := next(numbers)) < most:
                order, due = orders.draw(place, tenant), time.perf_counter() - since
                outcome = await self._attempt(order, due, since, 0)
                if outcome.kind == "rejected" and not outcome.should_retry:
                    return  # its day is spent; asking on would only be noise
                if outcome.retry_after:
                    await asyncio.sleep(min(outcome.retry_after, end - time.perf_counter()))

        names = cycle(self.plan.tenants)
        async with asyncio.TaskGroup() as group:
            for _ in range(stage.callers):
                group.create_task(call(next(names)))
        seconds = stage.seconds if not stage.requests else time.perf_counter() - since
        done = [o for o in self.outcomes[first:] if o.kind != "rejected"]
        done = [o for o in done if o.due + o.clock.end <= seconds]
        if not done:
            raise StartupError(f"Stage {number} had no answer in {seconds:g} s; give it longer.")
        self.capacity = len(done) / seconds
        return self._stretch(number, stage, self.capacity, None, since, seconds)

    async def _served(self, order: Order, due: float, since: float) -> None:
        outcome = await self._attempt(order, due, since, 0)
        wait = outcome.retry_after or 0
        if order.honours and outcome.should_retry and 0 < wait <= LONGEST_WAIT:
            await asyncio.sleep(wait)
            await self._attempt(order, time.perf_counter() - since, since, 1, wait)

    async def _attempt(
        self, order: Order, due: float, since: float, attempt: int, waited: int | None = None
    ) -> Outcome:
        outcome = await self.caller.ask(order, due, since, attempt)
        outcome = replace(outcome, waited=waited)
        self.outcomes.append(outcome)
        return outcome

    def _stretch(
        self,
        number: int,
        stage: Stage,
        rate: float,
        load: float | None,
        since: float,
        seconds: float,
    ) -> Stretch:
        began = since - self.began
        over = time.perf_counter() - self.began
        return Stretch(number, stage, rate, load, began, began + seconds, over)

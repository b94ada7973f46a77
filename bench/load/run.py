"""One load test from its beginning to its end, and all the evidence that there is of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load.audit import Account, Auditor, Settled, Untold
from bench.load.caller import Caller
from bench.load.mix import Plan
from bench.load.outcomes import Outcome
from bench.load.scrapes import CACHE, Scrape, Watcher
from bench.load.stages import Stages, Stretch, Tell
from bench.questions import load

if TYPE_CHECKING:
    import httpx2

PATIENCE = 30.0  # seconds behind a request's deadline, or for what is no solve


@dataclass(frozen=True, slots=True)
class Target:
    """A running service. `key` is for all requests, `keys` one for each tenant.

    `engine`: the URL of the vLLM behind it, if its counters are to be compared.
    """

    url: str
    key: str = field(default="", repr=False)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """Counters at the run's two ends; None is what could not be read."""

    base: Scrape | None
    settled: Settled | None
    engine: tuple[Scrape, Scrape] | None
    before: Mapping[str, Account | None]
    after: Mapping[str, Account | None]
    untold: Untold | None
    cached: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a run; `scrapes` are of every second. `made` is when it was."""

    plan: Plan
    made: datetime
    ready: Mapping[str, str]
    capacity: float | None
    stretches: Sequence[Stretch]
    outcomes: Sequence[Outcome]
    scrapes: Sequence[Scrape]
    books: Books

    def of(self, stretch: Stretch) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.stage == stretch.number]

    def during(self, stretch: Stretch) -> list[Scrape]:
        """Scrapes while requests were due."""
        return [each for each in self.scrapes if stretch.began <= each.at <= stretch.closed]


async def run(plan: Plan, target: Target, tell: Tell) -> Evidence:
    """Ask all that is planned; `tell` hears of each stage. Raises `StartupError`."""
    questions = [item.asked for item in load(plan.questions, None, None)]
    made, began = datetime.now(UTC), time.perf_counter()
    async with client(target, plan.deadline) as quiet, _engine(target) as engine:
        watcher = Watcher(quiet, authorized(target), began)
        auditor = Auditor(quiet, Caller(quiet, target.keys), watcher)
        ready = await auditor.ready()
        before = await auditor.accounts()
        marks = await auditor.latest()
        base, drawn = await auditor.idle(), await engine.look()
        watching = asyncio.ensure_future(watcher.watch())
        async with client(target, plan.deadline) as busy:
            stages = Stages(plan, questions, Caller(busy, target.keys), began)
            await stages.run(tell)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        settled, written = await auditor.settled(base), await engine.until(_emptied)
        told = {outcome.told.solve for outcome in stages.outcomes if outcome.told.solve}
        books = Books(
            base=base,
            settled=settled,
            engine=(drawn, written) if drawn and written else None,
            before=before,
            untold=await auditor.untold(marks, told, _solves(base, settled)) if marks else None,
            cached=await auditor.cached(marks) if marks else None,
            after=await auditor.accounts(),
        )
    outcomes = sorted(stages.outcomes, key=lambda each: (each.stage, each.number, each.attempt))
    return Evidence(
        plan, made, ready, stages.capacity, stages.stretches, outcomes, watcher.seen, books
    )


def _emptied(engine: Scrape) -> bool:
    """vLLM ends a step before it gives up the cache of who left."""
    return not engine.get(CACHE)


def _solves(base: Scrape | None, settled: Settled | None) -> float:
    """How many there were in between, as far as that is shown."""
    if base is None or settled is None:
        return 0
    return settled.scrape.sum("surefoot_solves_total") - base.sum("surefoot_solves_total")


def named(file: Path) -> dict[str, str]:
    """The keys of a file that has a line for each tenant: its name, and its key."""
    lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    return {line[0]: line[1] for line in lines if len(line) == 2}


def authorized(target: Target) -> dict[str, str]:
    """Headers for what is nobody's in particular."""
    key = target.key or next(iter(target.keys.values()), "")
    return {"Authorization": f"Bearer {key}"} if key else {}


@asynccontextmanager
async def client(target: Target, deadline: float = 0.0) -> AsyncIterator[httpx2.AsyncClient]:
    """For requests that take so long; with as many connections as it takes."""
    import httpx2

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=256)
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    async with httpx2.AsyncClient(
        base_url=target.url, headers=headers, timeout=deadline + PATIENCE, limits=limits
    ) as opened:
        yield opened


@asynccontextmanager
async def _engine(target: Target) -> AsyncIterator[Watcher]:
    """What looks at the engine's counters; where there is no engine, at nothing."""
    import httpx2

    async with httpx2.AsyncClient(base_url=target.engine or "", timeout=PATIENCE) as opened:
        yield Watcher(opened, {})

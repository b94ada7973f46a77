"""Who may solve now: so many at once, the others in a bounded queue that is shared fairly.

Start-time fair queueing over tenants (Goyal et al., SIGCOMM 1996; on tokens: Fairness in Serving
Large Language Models, arXiv 2401.00588). Every tenant has a clock, which each solve of its moves
on by the tokens computed for it over the tenant's weight; next is whoever's clock is furthest
behind. While a solve runs it counts as what solves of its kind came to lately. Who asks for nothing
saves nothing up. A running solve is never interrupted for another; so while several tenants are
about, whoever has more than its share of the places leaves an eighth of them free, and who has less
need not wait for another's solve to end.

Quotas are another matter, as are budgets.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.errors import Overloaded, ShuttingDown
from service.tenants import Tenant

LONGEST = 120  # seconds that a refused caller is asked to wait; SDKs wait no longer
LATELY = 32  # solves whose mean foretells the next one
KEPT_FREE = 8  # one place of so many is for those who have less than their share
ABOUT = 60.0  # seconds for which a tenant is looked for again


@dataclass(slots=True)
class Lately:
    """The mean of the last solves of one kind: tokens computed, and seconds."""

    tokens: float = 0.0
    seconds: float = 0.0
    solves: int = 0

    def learn(self, tokens: float, seconds: float) -> None:
        self.solves = min(self.solves + 1, LATELY)
        self.tokens += (tokens - self.tokens) / self.solves
        self.seconds += (seconds - self.seconds) / self.solves


@dataclass(slots=True)
class Line:
    """One tenant's places that wait, first come first, and the tokens they are good for.

    `clock` is how far the tenant has been served, `running` what is being computed for it, in so
    many `solves`; `seen`: when it last came.
    """

    weight: float = 1.0
    clock: float = 0.0
    running: int = 0
    solves: int = 0
    tokens: int = 0
    seen: float = -math.inf
    places: deque[Place] = field(default_factory=deque)

    @property
    def served(self) -> float:
        return self.clock + self.running / self.weight

    @property
    def active(self) -> bool:
        return bool(self.places) or self.running > 0


@dataclass(eq=False, slots=True)
class Place:
    """A request's place in the queue, and then among those that run.

    `tokens` is what it is estimated at, when it comes and again when it begins; `most` is a bound.
    """

    line: Line
    kind: str
    most: int
    tokens: int
    began: float | None = None
    _decided: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        self.began = time.monotonic()
        self._decided.set()

    def dismiss(self) -> None:
        self._decided.set()

    async def turn(self) -> None:
        """Return when it may run; raises `ShuttingDown` if it never will."""
        await self._decided.wait()
        if self.began is None:
            raise _closing()


class Admission:
    def __init__(self, at_once: int, queue_tokens: int) -> None:
        self.running = 0
        self.closed = False
        """Nobody is let in any more."""
        self._at_once = at_once
        self._queue_tokens = queue_tokens
        self._lines: dict[str, Line] = {}
        self._clock = 0.0
        self._kinds: dict[str, Lately] = {}
        self._all = Lately()
        self._visitors = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        return sum(len(line.places) for line in self._lines.values())

    @property
    def queued_tokens(self) -> int:
        return sum(line.tokens for line in self._lines.values())

    def demand_open(self) -> None:
        """Raises `ShuttingDown`."""
        if self.closed:
            raise _closing()

    def demand_room(self, tenant: Tenant) -> None:
        """Raises what `enter` would for a request of the usual size; it is not read yet."""
        self._demand(self._line(tenant), self._all.tokens, math.inf)

    def enter(self, tenant: Tenant, kind: str, most: int, within: float) -> Place:
        """A place for a solve of that kind and `most` tokens, that must begin within the seconds.

        Raises `Overloaded` or `ShuttingDown`. Whoever has one calls `leave`, whatever happens.
        """
        line, tokens = self._line(tenant), self._estimate(kind, most)
        self._demand(line, tokens, within)
        if not line.active:
            line.clock = max(line.clock, self._clock)
        line.seen = time.monotonic()
        place = Place(line, kind, most, tokens)
        line.places.append(place)
        line.tokens += tokens
        self._next()
        return place

    def leave(self, place: Place, tokens: int) -> None:
        """Give the place back; so many tokens were computed."""
        if place.began is None:
            place.line.places.remove(place)
            place.line.tokens -= place.tokens
        else:
            self._learn(place.kind, tokens, time.monotonic() - place.began)
            place.line.clock += tokens / place.line.weight
            place.line.running -= place.tokens
            place.line.solves -= 1
            self.running -= 1
        self._next()

    def close(self) -> None:
        """Let nobody in any more; those that wait are sent away."""
        self.closed = True
        for line in self._lines.values():
            for place in line.places:
                place.dismiss()

    @contextmanager
    def visitor(self) -> Iterator[None]:
        """Someone is inside, or at the door."""
        self._visitors += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._visitors -= 1
            if not self._visitors:
                self._empty.set()

    async def emptied(self) -> None:
        """Return when nobody is inside."""
        await self._empty.wait()

    def _estimate(self, kind: str, most: int) -> int:
        lately = self._kinds.get(kind)
        return max(1, min(most, math.ceil(lately.tokens))) if lately else most

    def _learn(self, kind: str, tokens: int, seconds: float) -> None:
        if tokens:  # one that was cancelled before it began tells nothing
            self._all.learn(tokens, seconds)
            self._kinds.setdefault(kind, Lately()).learn(tokens, seconds)

    def _line(self, tenant: Tenant) -> Line:
        line = self._lines.setdefault(tenant.id, Line())
        line.weight = tenant.weight
        return line

    def _demand(self, line: Line, tokens: float, within: float) -> None:
        self.demand_open()
        if not line.places and self._has_room(line):
            return
        wait = self._wait(line)
        full = bool(line.places) and line.tokens + tokens > self._queue_tokens
        if full or wait > within:
            raise Overloaded(
                "More is asked of the service than it can do; try again later.",
                retry_after=min(LONGEST, max(1, math.ceil(wait))),
            )

    def _wait(self, line: Line) -> float:
        """Seconds until what waits in the line is served, at its share of the recent pace."""
        if not self._all.tokens:
            return 0.0
        pace = self._at_once * self._all.tokens / max(self._all.seconds, 1e-6)
        others = sum(each.weight for each in self._lines.values() if each.places)
        rivals = others if line.places else others + line.weight
        return line.tokens * rivals / line.weight / pace

    def _has_room(self, line: Line) -> bool:
        """Whether one more of the tenant's may run, if it is its turn."""
        free, since = self._at_once - self.running, time.monotonic() - ABOUT
        about = sum(it.weight for it in self._lines.values() if it.active or it.seen > since)
        if line.solves * about <= self._at_once * line.weight:  # no more than its share
            return free > 0
        return free > self._at_once // KEPT_FREE

    def _next(self) -> None:
        """Let in whoever may run now."""
        while self.running < self._at_once and not self.closed:
            lines = [line for line in self._lines.values() if line.places]
            if not lines:
                return
            line = min(lines, key=lambda line: line.served)
            if not self._has_room(line):
                return  # another that has been served more is not to overtake it
            place = line.places.popleft()
            line.solves += 1
            line.tokens -= place.tokens
            place.tokens = self._estimate(place.kind, place.most)
            line.running += place.tokens
            self._clock = max(self._clock, min(it.clock for it in lines))
            self.running += 1
            place.begin()


def _closing() -> ShuttingDown:
    return ShuttingDown("The service is shutting down; try again in a moment, or elsewhere.")

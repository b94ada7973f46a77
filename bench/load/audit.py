"""What a service itself says of a run, before and after: accounts, traces, counters, what is left.

A tenant's account is read from the headers of a request for one token: what is reserved for it and
what it has used stand in one number. Solves that no caller was told of are looked up in the traces.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.load.scrapes import SETTLED_WITHIN, Scrape, Watcher
from service.errors import StartupError

if TYPE_CHECKING:
    import httpx2

    from bench.load.caller import Caller

PROBE = {
    "problem": "What is 1 and 1?",
    "strategy": "single",
    "baseline": "none",
    "budget": {"max_tokens": 1},
}
SAMPLED = 200  # traces of a tenant that are read whole for what was cached
SLACK = 4  # tasks and descriptors that come and go by themselves


@dataclass(frozen=True, slots=True)
class Account:
    """Of a tenant's day: tokens used and reserved, out of its limit; `own` are the probe's."""

    limit: int
    used: int
    own: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest trace at some moment; `created` is by the service's clock."""

    solve: str
    created: str


@dataclass(frozen=True, slots=True)
class Row:
    """A solve that its caller was not told of, as its trace has it."""

    tenant: str
    generated: int
    computed: int
    budget: int


@dataclass(frozen=True, slots=True)
class Untold:
    """The solves that no caller was told of; `lost` are those that were not kept either."""

    rows: Sequence[Row]
    lost: int = 0

    @property
    def generated(self) -> int:
        return sum(row.generated for row in self.rows)


@dataclass(frozen=True, slots=True)
class Settled:
    """Seconds after the last caller closed until nothing ran; `scrape` is of when all was back."""

    idle: float | None
    scrape: Scrape
    tasks: int
    descriptors: int
    """More than before the run."""


@dataclass(frozen=True, slots=True)
class Auditor:
    """Asks in the names of all tenants."""

    client: httpx2.AsyncClient
    caller: Caller
    watcher: Watcher

    async def ready(self) -> dict[str, str]:
        """What the service is made of; raises `StartupError` if it is not ready."""
        import httpx2

        try:
            response = await self.client.get("/ready")
        except httpx2.HTTPError as error:
            url = self.client.base_url
            raise StartupError(f"No service answers at {url}; `surefoot serve` starts one.") from (
                error
            )
        if not response.is_success:
            raise StartupError("The service is not ready: /ready says why.")
        told: dict[str, str] = response.json()
        return told

    @property
    def callers(self) -> list[str]:
        """Each tenant with a key of its own; one without a name if there is none."""
        return list(self.caller.keys) or [""]

    async def accounts(self) -> dict[str, Account | None]:
        """How each stands; None for one without a quota. Raises `StartupError` for a bad key."""
        return {name: await self._account(name) for name in self.callers}

    async def _account(self, tenant: str) -> Account | None:
        headers = self.caller.authorized(tenant)
        response = await self.client.post("/solve", json=PROBE, headers=headers)
        if response.status_code == 401:
            raise StartupError(f"The service wants a key; that of {tenant or 'nobody'} is none.")
        if "x-ratelimit-remaining-tokens" not in response.headers:
            return None
        limit = int(response.headers["x-ratelimit-limit-tokens"])
        used = limit - int(response.headers["x-ratelimit-remaining-tokens"])
        if not response.is_success:
            return Account(limit, used, 0)
        return Account(limit, used - 1, response.json()["usage"]["policy"]["completion"])

    async def idle(self) -> Scrape | None:
        """As the counters stand when nothing runs, or after a while."""
        return await self.watcher.until(lambda scrape: not scrape.inflight)

    async def settled(self, base: Scrape | None) -> Settled | None:
        """What is left when all callers have closed; None where that is not shown."""
        closed = time.perf_counter()
        scrape = await self.idle()
        if base is None or scrape is None:
            return None
        idle = None if scrape.inflight else time.perf_counter() - closed
        while max(more := _more(scrape, base)) > SLACK:
            if time.perf_counter() - closed > SETTLED_WITHIN:
                break
            await asyncio.sleep(0.2)
            scrape = await self.watcher.look() or scrape
        return Settled(idle, scrape, *more)

    async def latest(self) -> Mapping[str, Mark] | None:
        """The newest trace of each, by which later ones are known; None if none are kept."""
        marks = {}
        for name in self.callers:
            response = await self._get(name, "/v1/traces", {"limit": "1"})
            if not response.is_success or not (data := response.json()["data"]):
                return None
            marks[name] = Mark(data[0]["id"], data[0]["created"])
        return marks

    async def untold(self, marks: Mapping[str, Mark], told: set[str], solves: float) -> Untold:
        """Of the solves since then, so many, those kept that are not among those told.

        What is still on its way into the store is waited for, for a while.
        """
        end = time.perf_counter() + SETTLED_WITHIN
        while len(kept := await self._kept(marks)) < solves:
            if time.perf_counter() > end:
                break
            await asyncio.sleep(1)
        missing = [(name, each) for name, each in kept if each["id"] not in told]
        rows = [_row(name, await self._trace(name, each)) for name, each in missing]
        return Untold(rows, max(0, int(solves) - len(kept)))

    async def _kept(self, marks: Mapping[str, Mark]) -> list[tuple[str, dict[str, Any]]]:
        """Summaries of all tenants since then, each with its tenant."""
        found = [(name, await self._listed(name, mark)) for name, mark in marks.items()]
        return [(name, each) for name, listed in found for each in listed]

    async def cached(self, marks: Mapping[str, Mark]) -> tuple[int, int]:
        """Cached and all prompt tokens of StepCo's revisions since then."""
        cached = prompt = 0
        for name, mark in marks.items():
            for each in (await self._listed(name, mark, strategy="stepco"))[:SAMPLED]:
                calls = (await self._trace(name, each))["calls"]
                revisions = [call["policy"] for call in calls if call["kind"] == "policy"][1:]
                cached += sum(call["cached"] for call in revisions)
                prompt += sum(call["prompt"] for call in revisions)
        return cached, prompt

    async def _listed(self, tenant: str, mark: Mark, **wanted: str) -> list[dict[str, Any]]:
        """Summaries, newest first."""
        query = {"since": mark.created, "limit": "100", **wanted}
        found: list[dict[str, Any]] = []
        while True:
            page = (await self._get(tenant, "/v1/traces", query)).raise_for_status().json()
            found += (each for each in page["data"] if each["id"] != mark.solve)
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def _trace(self, tenant: str, summary: Mapping[str, Any]) -> dict[str, Any]:
        response = await self._get(tenant, f"/v1/traces/{summary['id']}")
        found: dict[str, Any] = response.raise_for_status().json()
        return found

    async def _get(
        self, tenant: str, path: str, query: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        headers = self.caller.authorized(tenant)
        return await self.client.get(path, params=query, headers=headers)


def _row(tenant: str, trace: Mapping[str, Any]) -> Row:
    usage = trace["usage"]
    spent = usage["policy"]["completion"], usage["total"]
    return Row(tenant, *spent, trace["budget"]["max_tokens"])


def _more(scrape: Scrape, base: Scrape) -> tuple[int, int]:
    """Tasks and file descriptors, beside what there were."""
    tasks, descriptors = (
        int(scrape.sum(name) - base.sum(name)) for name in ("surefoot_tasks", "process_open_fds")
    )
    return tasks, descriptors

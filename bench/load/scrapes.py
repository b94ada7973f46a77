"""The counters of a service, and of the vLLM behind it, read from their `/metrics` as they stand.

What a service does not show is None everywhere, and what hangs on it is not checked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

WRITTEN = ("draft", "sample", "revise", "wasted", "baseline")  # kinds of tokens: generated
READ = ("prompt", "cached")
EVERY = 1.0  # seconds between two looks
SETTLED_WITHIN = 10.0  # seconds in which what a service holds shall be back where it was
CACHE = "vllm:kv_cache_usage_perc"  # of the engine, in use

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """Every series at one moment, in seconds since the run began."""

    at: float
    values: Mapping[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str, at: float = 0.0) -> Scrape:
        from prometheus_client.parser import text_string_to_metric_families as families

        samples = (sample for family in families(text) for sample in family.samples)
        return cls(at, {(each.name, tuple(each.labels.items())): each.value for each in samples})

    def get(self, name: str, **labels: str) -> float | None:
        """The sum of what has that name and these labels; None if there is no such series."""
        wanted = labels.items()
        found = [v for (n, own), v in self.values.items() if n == name and wanted <= set(own)]
        return sum(found) if found else None

    def sum(self, name: str, **labels: str) -> float:
        return self.get(name, **labels) or 0.0

    @property
    def written(self) -> int:
        """Tokens generated, as the ledgers have them."""
        return self._tokens(WRITTEN)

    @property
    def read(self) -> int:
        """Tokens of prompts, as the ledgers have them."""
        return self._tokens(READ)

    @property
    def inflight(self) -> float:
        return self.sum("surefoot_inflight")

    @property
    def series(self) -> int:
        return len(self.values)

    def _tokens(self, kinds: Iterable[str]) -> int:
        return int(sum(self.sum("surefoot_tokens_total", kind=kind) for kind in kinds))


@dataclass(slots=True)
class Watcher:
    """Looks at a `/metrics` again and again; `seen` holds what there was."""

    client: httpx2.AsyncClient
    headers: Mapping[str, str]
    began: float = field(default_factory=time.perf_counter)
    seen: list[Scrape] = field(default_factory=list)

    async def look(self) -> Scrape | None:
        """As it stands now; None if that is not shown."""
        import httpx2

        try:
            response = await self.client.get("/metrics", headers=self.headers)
        except httpx2.HTTPError:
            return None
        if not response.is_success:
            return None
        return Scrape.parse(response.text, time.perf_counter() - self.began)

    async def until(self, done: Callable[[Scrape], bool]) -> Scrape | None:
        """As it stands when that is so, or after a while; None if it is not shown."""
        end = time.perf_counter() + SETTLED_WITHIN
        while (scrape := await self.look()) and time.perf_counter() < end:
            if done(scrape):
                break
            await asyncio.sleep(0.02)
        return scrape

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            if scrape := await self.look():
                self.seen.append(scrape)
            await asyncio.sleep(EVERY)

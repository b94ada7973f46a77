"""What a tenant may have: requests a minute, tokens a day, counted by the library `limits`.

In memory, or in Redis, where replicas share them. Windows are those of the clock, in UTC, so a
burst may take what two minutes allow in a moment. Tokens are those generated: a request reserves
all that its budget allows, and what it did not use returns, to the day it was taken from. So no
tenant is ever over its quota, and a store that dies in between errs on the side of refusing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from limits.aio.storage import Storage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from service.errors import (
    BudgetTooLarge,
    QuotaExhausted,
    QuotasUnavailable,
    RateLimited,
    StartupError,
)
from service.tenants import Tenant

log = logging.getLogger(__name__)

MINUTE, DAY = 60, 86_400  # seconds
SOON = 120  # seconds that an SDK waits at the most
ANSWERS_WITHIN = 2.0  # seconds that Redis may take
Unit = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a tenant stands in one window; `reset` is in seconds."""

    unit: Unit
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{self.unit}": str(self.limit),
            f"x-ratelimit-remaining-{self.unit}": str(self.remaining),
            f"x-ratelimit-reset-{self.unit}": f"{self.reset}s",
        }


Tell = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class Reserved:
    """Tokens that are a request's until it is settled, and where they were taken from."""

    key: str
    tokens: int


class Quotas:
    """`url` is "memory://" or that of a Redis; raises `StartupError` if it is neither."""

    def __init__(self, url: str) -> None:
        options: dict[str, float | str | bool] = {"wrap_exceptions": True}
        if url.startswith("redis"):
            waits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), ANSWERS_WITHIN)
            options |= {"implementation": "redispy", **waits}
        try:
            store = storage_from_string(f"async+{url}", **options)
        except ConfigurationError as error:
            raise StartupError(
                "Quotas are kept in memory:// or in a Redis, redis://…, for which the extra redis "
                "is installed; set SUREFOOT_QUOTAS."
            ) from error
        assert isinstance(store, Storage)
        self._store = store

    async def count(self, tenant: Tenant, tell: Tell) -> None:
        """Count one request; raises `RateLimited` if there have been enough in this minute."""
        limit = tenant.requests_per_minute
        if limit is None:
            return
        key, reset = _window("requests", tenant, MINUTE)
        used = await self._add(key, MINUTE, 1)
        tell(Standing("requests", limit, max(0, limit - used), reset))
        if used > limit:
            raise RateLimited(
                "These are too many requests a minute; try again when the minute is over.",
                retry_after=reset,
            )

    async def reserve(self, tenant: Tenant, tokens: int, tell: Tell) -> Reserved | None:
        """Take so many of the day's tokens; raises `BudgetTooLarge`, `RateLimited` or its kin."""
        limit = tenant.tokens_per_day
        if limit is None:
            return None
        if tokens > limit:
            raise BudgetTooLarge(
                "This may generate more tokens than the key has in a day; lower the budget.",
                "budget.max_tokens",
            )
        key, reset = _window("tokens", tenant, DAY)
        used = await self._add(key, DAY, tokens)
        if used > limit:
            left = await self._add(key, DAY, -tokens)
            tell(Standing("tokens", limit, max(0, limit - left), reset))
            raise (RateLimited if reset <= SOON else QuotaExhausted)(
                "The tokens left for today are fewer than this may generate; lower its budget, or "
                "try again tomorrow (UTC).",
                retry_after=reset,
            )
        tell(Standing("tokens", limit, limit - used, reset))
        return Reserved(key, tokens)

    async def settle(self, reserved: Reserved, used: int) -> None:
        """Return what was not used."""
        try:
            await self._add(reserved.key, DAY, used - reserved.tokens)
        except QuotasUnavailable:
            log.error("%d reserved tokens could not be returned", reserved.tokens - used)

    async def close(self) -> None:
        bridge = getattr(self._store, "bridge", None)
        if isinstance(bridge, RedispyBridge):
            await bridge.storage.aclose()

    async def _add(self, key: str, seconds: int, amount: int) -> int:
        try:
            return await self._store.incr(key, seconds, amount)
        except StorageError as error:
            raise QuotasUnavailable(
                "The store of quotas does not answer; try again later."
            ) from error


def _window(unit: Unit, tenant: Tenant, seconds: int) -> tuple[str, int]:
    """The name of the window that is open, and the seconds until it closes."""
    number, gone = divmod(int(time.time()), seconds)
    return f"surefoot/{unit}/{tenant.id}/{number}", seconds - gone

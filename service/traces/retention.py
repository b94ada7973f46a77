"""What is kept no longer: too old, too many, too large in all. Of all tenants together.

The newest stay. Bytes are those of the documents; a database has some more around them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Delete, delete, func, or_, select

from service.traces.tables import Kept

AT_ONCE = 1000  # deleted in one transaction, so that no other writer waits for long
SELDOM = 60.0  # seconds between two sweeps, unless much is written
SHARE = 0.01  # of a limit: so much may be written between two


@dataclass(frozen=True, slots=True)
class Retention:
    days: int
    most: int
    megabytes: int

    def expired(self, now: datetime) -> Delete:
        """Deletes the oldest `AT_ONCE` of those beyond a limit."""
        newest = (Kept.created.desc(), Kept.id.desc())
        ranked = select(
            Kept.id,
            Kept.created,
            func.row_number().over(order_by=newest).label("number"),
            func.sum(Kept.size).over(order_by=newest).label("bytes"),
        ).subquery()
        beyond = or_(
            ranked.c.created < now - timedelta(days=self.days),
            ranked.c.number > self.most,
            ranked.c.bytes > self.megabytes * 1_000_000,
        )
        oldest = select(ranked.c.id).where(beyond).order_by(ranked.c.created).limit(AT_ONCE)
        return delete(Kept).where(Kept.id.in_(oldest))


class Pace:
    """Says when a sweep is due, so that its cost is shared by many writes."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._last = float("-inf")
        self._count = self._bytes = 0

    def wrote(self, count: int, size: int) -> bool:
        """Whether to sweep after these were written."""
        self._count += count
        self._bytes += size
        return (
            time.monotonic() - self._last >= SELDOM
            or self._count >= SHARE * self._retention.most
            or self._bytes >= SHARE * self._retention.megabytes * 1_000_000
        )

    def swept(self) -> None:
        self._last, self._count, self._bytes = time.monotonic(), 0, 0

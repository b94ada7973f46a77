"""Traces in a database, SQLite or PostgreSQL; every query names the tenant that it is about.

Times are in UTC, and a list goes from the newest to the oldest. The store opens itself, and brings
its tables up to date, when it is first asked; what is done in which order is the keeper's business.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVarTuple

import stamina
from sqlalchemy import Connection, Select, delete, insert, literal, make_url, select, text, tuple_
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.errors import InvalidRequest, StartupError, TracesUnavailable
from service.traces.retention import AT_ONCE, Retention
from service.traces.tables import Kept, Moment
from service.traces.trace import SHORT, Outcome, Summary, Trace

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
LOCKED = 5  # seconds to wait for another writer of the same SQLite file
PAGE = 50  # traces in memory at once while many are read
ID = re.compile(r"solve-[0-9a-f]{32}")
PLACE = re.compile(rf"([0-9]{{1,16}})-({ID.pattern})")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Columns = TypeVarTuple("Columns")
SUMMARY = [getattr(Kept, name) for name in Summary.model_fields]


class Unwritable(Exception):
    """The database refuses what it was given, and would again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the list one page ends and the next begins."""

    created: datetime
    id: str

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Raises `InvalidRequest`."""
        found = PLACE.fullmatch(cursor)
        if not found:
            raise InvalidRequest("The cursor is none that a list has given.", "cursor")
        return cls(EPOCH + timedelta(microseconds=int(found[1])), found[2])

    def __str__(self) -> str:
        return f"{(self.created - EPOCH) // timedelta(microseconds=1)}-{self.id}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which traces: of this strategy, of this outcome, made since then, made before then."""

    strategy: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


class Store:
    """Raises `TracesUnavailable` wherever the database does not answer."""

    def __init__(self, url: str) -> None:
        """Raises `StartupError` if the URL names no database that can be used."""
        self._engine = _engine(url)
        self._opened = asyncio.Lock()
        self._open = False

    async def add(self, traces: Sequence[Trace]) -> int:
        """Keep them, all or none; returns their bytes. Raises `Unwritable`, too."""
        rows = []
        for trace in traces:
            rows.append(_row(trace))
            await asyncio.sleep(0)  # one at a time: solves go on in between
        async with self._begin() as connection:
            await connection.execute(insert(Kept), rows)
        return sum(int(str(row["size"])) for row in rows)

    async def page(
        self, tenant: str, filter: Filter, limit: int, after: Place | None = None
    ) -> list[Summary]:
        query = _filtered(select(*SUMMARY), tenant, filter, after).limit(limit)
        async with self._begin() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [Summary.model_validate(dict(row)) for row in rows]

    async def get(self, tenant: str, id: str) -> str | None:
        """The JSON of a trace; None if the tenant has no such one."""
        if not ID.fullmatch(id):
            return None
        query = select(Kept.body).where(Kept.tenant == tenant, Kept.id == id)
        async with self._begin() as connection:
            return await connection.scalar(query)

    async def each(self, tenant: str, filter: Filter = Filter()) -> AsyncIterator[str]:
        """The JSON of every trace; no transaction stays open between two of them."""
        place: Place | None = None
        while True:
            query = _filtered(select(Kept.created, Kept.id, Kept.body), tenant, filter, place)
            async with self._begin() as connection:
                rows = (await connection.execute(query.limit(PAGE))).all()
            for _, _, body in rows:
                yield body
            if len(rows) < PAGE:
                return
            place = Place(rows[-1].created, rows[-1].id)

    async def delete(self, tenant: str, id: str) -> bool:
        """Whether the tenant had such a trace."""
        if not ID.fullmatch(id):
            return False
        async with self._begin() as connection:
            gone = await connection.execute(
                delete(Kept).where(Kept.tenant == tenant, Kept.id == id)
            )
        return gone.rowcount > 0

    async def sweep(self, retention: Retention) -> int:
        """Delete what is beyond the limits; returns how many that were."""
        gone, last = 0, AT_ONCE
        while last == AT_ONCE:
            async with self._begin() as connection:
                last = (await connection.execute(retention.expired(datetime.now(UTC)))).rowcount
            gone += last
        return gone

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in a database that is up to date."""
        with _translated():
            async with self._opened:
                if not self._open:
                    await self._migrate()
                    self._open = True
            async with self._engine.begin() as connection:
                yield connection

    async def _migrate(self) -> None:
        local = self._engine.name == "sqlite"
        if local and (file := self._engine.url.database):
            Path(file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with self._engine.connect() as connection:
            if local:
                await _let_read(connection)
            await connection.run_sync(migrate)
            await connection.commit()


async def _let_read(connection: AsyncConnection) -> None:
    """Readers shall not wait for writers, which stays with the file.

    SQLite does not wait, but refuses, while another process is at the same.
    """
    tries = stamina.retry_context(on=OperationalError, attempts=None, timeout=LOCKED, wait_max=0.1)
    async for attempt in tries:
        with attempt:
            await connection.execute(text("PRAGMA journal_mode=WAL"))
    await connection.commit()


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, one process at a time."""
    from alembic import command
    from alembic.config import Config

    alone = {
        "sqlite": "BEGIN IMMEDIATE",
        "postgresql": "SELECT pg_advisory_xact_lock(7385206)",  # any number that is always the same
    }
    connection.execute(text(alone[connection.dialect.name]))
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    command.upgrade(config, "head")


def _engine(url: str) -> AsyncEngine:
    try:
        named = make_url(url)
        driver = DRIVERS[named.get_backend_name()]
        return create_async_engine(_placed(named.set(drivername=driver)), **_options(named))
    except (ArgumentError, KeyError, ValueError) as error:
        raise StartupError(
            "SUREFOOT_TRACES is neither off nor the URL of an SQLite or PostgreSQL database."
        ) from error
    except ModuleNotFoundError as error:
        raise StartupError(
            f"{error.name} is not installed; pip install 'surefoot-service[postgres]'"
        ) from error


def _placed(url: URL) -> URL:
    """The URL, a home directory in an SQLite file's path expanded."""
    if url.database is None or not url.database.startswith("~"):
        return url
    return url.set(database=str(Path(url.database).expanduser()))


def _options(url: URL) -> dict[str, object]:
    quiet: dict[str, object] = {"hide_parameters": True}  # an error's text goes to the log
    if url.get_backend_name() == "sqlite":
        return quiet | {"connect_args": {"timeout": LOCKED}}
    return quiet | {"pool_pre_ping": True}


@contextmanager
def _translated() -> Iterator[None]:
    """What the database raises becomes an error of ours, here alone."""
    try:
        yield
    except (OperationalError, InterfaceError, OSError) as error:
        raise TracesUnavailable(
            "The store of traces does not answer; look at the service's log."
        ) from error
    except SQLAlchemyError as error:
        raise Unwritable(str(error)) from error


def _filtered(
    query: Select[*Columns], tenant: str, filter: Filter, after: Place | None
) -> Select[*Columns]:
    wanted = [Kept.tenant == tenant]
    if filter.strategy is not None:
        wanted.append(Kept.strategy == filter.strategy)
    if filter.outcome is not None:
        wanted.append(Kept.outcome == filter.outcome)
    if filter.since is not None:
        wanted.append(Kept.created >= filter.since)
    if filter.until is not None:
        wanted.append(Kept.created < filter.until)
    if after is not None:
        place = tuple_(literal(after.created, Moment()), literal(after.id))
        wanted.append(tuple_(Kept.created, Kept.id) < place)
    return query.where(*wanted).order_by(Kept.created.desc(), Kept.id.desc())


def _row(trace: Trace) -> dict[str, object]:
    body = trace.model_dump_json()
    same = trace.model_dump(
        include={"id", "created", "tenant", "route", "outcome", "model", "verifier"}
        | {"verified", "score", "stop_reason", "seconds"}
    )
    return same | {
        "strategy": trace.strategy["name"],
        "question": _short(trace.question),
        "answer": _short(trace.answer),
        "tokens": trace.usage.total,
        "size": len(body.encode()),
        "body": body,
    }


def _short(text: str | None) -> str | None:
    return text and text[:SHORT]

"""The one table: a trace's document, and beside it what lists are made of and sorted by."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Dialect, Index, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite, which knows no zones, is given it without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.replace(tzinfo=UTC if value.tzinfo is None else value.tzinfo)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: Moment, str: Text, int: BigInteger}  # noqa: RUF012 - theirs


class Kept(Base):
    """A solve that was kept. `body` is the JSON of its `Trace`, and `size` its bytes."""

    __tablename__ = "traces"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]
    route: Mapped[str]
    strategy: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16))
    model: Mapped[str]
    verifier: Mapped[str]
    question: Mapped[str | None]
    answer: Mapped[str | None]
    verified: Mapped[bool]
    score: Mapped[float | None]
    stop_reason: Mapped[str | None] = mapped_column(String(32))
    tokens: Mapped[int]
    seconds: Mapped[float]
    size: Mapped[int]
    body: Mapped[str]  # the last: a list is read without touching it

    __table_args__ = (
        Index("ix_traces_tenant_created", "tenant", "created", "id"),
        Index("ix_traces_created", "created", "id", "size"),  # holds all that retention reads
    )

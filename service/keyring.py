"""Who holds which API key: a file of hashes that every replica reads and `surefoot keys` writes.

A key is 256 random bits, so its SHA-256 says nothing about it, and is all that is kept. A tenant
may hold several keys, to change one for another, and has one set of limits. What is written into
the file counts within a second; while it cannot be read, what was last read counts.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from service.errors import StartupError

log = logging.getLogger(__name__)

SIGN = "sf-"  # by which scanners for leaked secrets know a key of ours
ID = 12  # hexadecimal digits of a key's hash that name it
AGAIN = 1.0  # seconds between two looks at the file

TenantId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""It names the tenant in traces and metrics too."""


class Entry(BaseModel):
    """A part of the file, or all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Key(Entry):
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    created: AwareDatetime

    @property
    def id(self) -> str:
        return self.hash[:ID]


class Limits(Entry):
    """What a tenant may use; null is as much as there is."""

    weight: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    tokens_per_day: int | None = Field(default=None, ge=1, le=10**12)


@dataclass(frozen=True, slots=True)
class Held:
    """What a key says of its caller."""

    tenant: str
    limits: Limits


class Holder(Entry):
    limits: Limits = Limits()
    keys: tuple[Key, ...] = ()


class Holders(Entry):
    """The file."""

    tenants: dict[TenantId, Holder] = {}

    @classmethod
    def read(cls, file: Path) -> Holders:
        """Raises `StartupError` where there is no such file, or none of ours."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise StartupError(
                f"The file of keys {file} cannot be read: {error.strerror}; "
                "`surefoot keys create` makes it."
            ) from error
        except ValidationError as error:
            raise StartupError(f"{file} is no file of keys that we wrote.") from error

    def with_key(self, tenant: str, key: Key, limits: dict[str, object]) -> Holders:
        """One key more; limits that are given hold for all keys of the tenant."""
        holder = self.tenants.get(tenant, Holder())
        changed = Limits.model_validate(holder.limits.model_dump() | limits)
        return self._with(tenant, Holder(limits=changed, keys=(*holder.keys, key)))

    def without_key(self, id: str) -> Holders:
        """One key less; raises `KeyError`. The tenant stays, and so do its limits."""
        for tenant, holder in self.tenants.items():
            left = tuple(key for key in holder.keys if key.id != id)
            if len(left) < len(holder.keys):
                return self._with(tenant, Holder(limits=holder.limits, keys=left))
        raise KeyError(id)

    def _with(self, tenant: str, holder: Holder) -> Holders:
        return Holders.model_validate({"tenants": {**self.tenants, tenant: holder}})


class Keyring:
    """The keys of a file, as a service asks for them."""

    def __init__(self, file: Path) -> None:
        """Raises `StartupError` if the file cannot be read."""
        self._file = file
        self._state = self._look()
        self._held = _held(Holders.read(file))
        self._looked = time.monotonic()

    def holder(self, key: str) -> Held | None:
        """Whose key this is; it is compared with every hash, in a time that tells nothing."""
        self._refresh()
        given, found = _hash(key), None
        for hash, held in self._held:
            if compare_digest(given, hash):
                found = held
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < AGAIN:
            return
        self._looked = now
        if (state := self._look()) == self._state:
            return
        self._state = state
        try:
            self._held = _held(Holders.read(self._file))
        except StartupError as error:
            log.error("the keys last read stay in use: %s", error.message)

    def _look(self) -> tuple[int, int, int] | None:
        """What changes when the file does."""
        try:
            seen = self._file.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_mtime_ns, seen.st_size


def create(file: Path, tenant: str, limits: dict[str, object]) -> str:
    """A new key of a tenant, which is known nowhere else; raises `ValidationError`."""
    key = SIGN + secrets.token_urlsafe(32)
    kept = Key(hash=_hash(key), created=datetime.now(UTC))
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(file):
        before = Holders.read(file) if file.exists() else Holders()
        _write(file, before.with_key(tenant, kept, limits))
    return key


def revoke(file: Path, id: str) -> None:
    """Raises `KeyError` if there is no such key."""
    with _alone(file):
        _write(file, Holders.read(file).without_key(id))


def key_id(key: str) -> str:
    return _hash(key)[:ID]


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def _held(holders: Holders) -> list[tuple[str, Held]]:
    return [
        (key.hash, Held(tenant, holder.limits))
        for tenant, holder in holders.tenants.items()
        for key in holder.keys
    ]


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One writer at a time; the file itself is replaced, so its folder is locked."""
    folder = os.open(file.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(file: Path, holders: Holders) -> None:
    """Replaced as a whole: no reader sees half of it. Who may read it stays as it was."""
    whole = file.resolve()
    mode = whole.stat().st_mode & 0o777 if whole.exists() else 0o600
    part = whole.with_name(f".{whole.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        os.fchmod(opened.fileno(), mode)
        opened.write(holders.model_dump_json(indent=2) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(whole)

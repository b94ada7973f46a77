"""The `surefoot keys` commands: API keys made, revoked and listed in the file that a service reads.

No service need run; those that do see a change within a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from service.commands import explained, read_settings

keys = typer.Typer(
    help="API keys: who may ask, and how much.", add_completion=False, no_args_is_help=True
)


@keys.command()
def create(
    tenant: Annotated[str, Argument(help="Whose key: a short name in lower case.")],
    weight: Annotated[float | None, Option(help="Share of the tenant under load.")] = None,
    requests_per_minute: Annotated[int | None, Option(help="Most of the tenant.")] = None,
    tokens_per_day: Annotated[int | None, Option(help="Most of the tenant.")] = None,
) -> None:
    """Make a key and print it, this once.

    A tenant may have several keys. Its limits are those of all of them; what is given is changed.
    """
    from service import keyring

    limits: dict[str, object] = {
        "weight": weight,
        "requests_per_minute": requests_per_minute,
        "tokens_per_day": tokens_per_day,
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    with _file() as file:
        key = keyring.create(file, tenant, given)
    typer.echo(key)
    typer.echo(f"The key {keyring.key_id(key)} of {tenant}; it is not shown again.", err=True)


@keys.command()
def revoke(ids: Annotated[list[str], Argument(help="Of keys, as `keys list` has them.")]) -> None:
    """Let keys open nothing any more."""
    from service import keyring
    from service.errors import NotFound

    with _file() as file:
        for id in ids:
            try:
                keyring.revoke(file, id)
            except KeyError as error:
                raise NotFound(
                    "There is no such key; `surefoot keys list` has their ids."
                ) from error
            typer.echo(f"{id} is revoked")


@keys.command("list")
def list_keys() -> None:
    """List the keys: id, tenant, when it was made, and the limits of the tenant."""
    from service.keyring import Holders

    with _file() as file:
        for tenant, holder in Holders.read(file).tenants.items():
            for key in holder.keys:
                limits = holder.limits
                typer.echo(
                    f"{key.id}  {tenant}  {key.created:%Y-%m-%d %H:%M}Z  weight {limits.weight:g}  "
                    f"{_most(limits.requests_per_minute)} requests a minute  "
                    f"{_most(limits.tokens_per_day)} tokens a day"
                )


def _most(limit: int | None) -> str:
    return "any" if limit is None else f"{limit:,}"


@contextmanager
def _file() -> Iterator[Path]:
    """The file of the settings; what keeps a command from its work is told in one sentence."""
    from pydantic import ValidationError

    from service.errors import StartupError

    with explained():
        file = read_settings().keyring
        if file is None:
            raise StartupError("Name the file that keys are kept in: SUREFOOT_KEYS=keys.json.")
        try:
            yield file
        except ValidationError as error:
            wrong = error.errors()[0]
            name = wrong["loc"][-1] if wrong["loc"][0] != "tenants" else "the tenant"
            raise StartupError(f"No such key can be made: {name}: {wrong['msg']}.") from error
        except OSError as error:
            raise StartupError(f"{file} cannot be written: {error.strerror}.") from error

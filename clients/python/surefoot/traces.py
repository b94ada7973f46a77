"""The `surefoot traces` commands that ask a server; others join them as `traces.…` extensions."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from surefoot.errors import BadRequest, SurefootError
from surefoot.options import ApiKey, Server
from surefoot.protocol import SERVER, Wanted

if TYPE_CHECKING:
    from surefoot.client import Client

Id = Annotated[str, Argument(help="As `traces list` has it.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON alone.")]
Strategy = Annotated[str | None, Option("--strategy", "-s", help="Of this strategy.")]
Outcome = Annotated[
    Literal["solved", "failed", "cancelled"] | None, Option(help="That ended like this.")
]
Since = Annotated[str | None, Option(help="Made at this time or later: 2026-01-31T12:00:00Z.")]
Until = Annotated[str | None, Option(help="Made before this time.")]


def group() -> typer.Typer:
    """A group of these commands, which others can be added to."""
    traces = typer.Typer(
        help="The solves that a server kept.", add_completion=False, no_args_is_help=True
    )
    traces.command("list")(list_traces)
    for command in (show, export, delete):
        traces.command()(command)
    return traces


def list_traces(
    strategy: Strategy = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, Option(min=1, max=100, help="How many.")] = 20,
    cursor: Annotated[str | None, Option(help="Where the page before ended.")] = None,
    server: Server = SERVER,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List what was kept, newest first."""
    from surefoot import traceview

    wanted = _wanted(strategy, outcome, since, until)
    wanted["limit"] = limit
    if cursor is not None:
        wanted["cursor"] = cursor
    with _asking(server, api_key) as client:
        page = client.traces(**wanted)
    if as_json:
        typer.echo(json.dumps(asdict(page)))
    else:
        traceview.show_list(page)


def show(id: Id, server: Server = SERVER, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Show one solve: its paths with their scores, its calls with their tokens."""
    from surefoot import traceview

    with _asking(server, api_key) as client:
        trace = client.trace(id)
    if as_json:
        typer.echo(json.dumps(asdict(trace)))
    else:
        traceview.show(trace)


def export(
    out: Annotated[Path | None, Option(help="File to write; left out, standard output.")] = None,
    strategy: Strategy = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    server: Server = SERVER,
    api_key: ApiKey = "",
) -> None:
    """Write whole traces, newest first, a line of JSON each."""
    wanted = _wanted(strategy, outcome, since, until)
    with _asking(server, api_key) as client, client.export_traces(**wanted) as lines:
        if out is None:
            for line in lines:
                typer.echo(line)
        else:
            with out.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)


def delete(
    ids: Annotated[list[str], Argument()], server: Server = SERVER, api_key: ApiKey = ""
) -> None:
    """Delete solves, for good."""
    with _asking(server, api_key) as client:
        for id in ids:
            client.delete_trace(id)
            typer.echo(f"{id} is deleted")


def _wanted(
    strategy: str | None,
    outcome: Literal["solved", "failed", "cancelled"] | None,
    since: str | None,
    until: str | None,
) -> Wanted:
    wanted: Wanted = {}
    if strategy is not None:
        wanted["strategy"] = strategy
    if outcome is not None:
        wanted["outcome"] = outcome
    if since is not None:
        wanted["since"] = since
    if until is not None:
        wanted["until"] = until
    return wanted


@contextmanager
def _asking(server: str, api_key: str) -> Iterator["Client"]:
    """A client; what goes wrong is one sentence, with exit code 2 or 4."""
    from surefoot.client import Client
    from surefoot.live import one_line

    try:
        with Client(server, api_key) as client:
            yield client
    except SurefootError as error:
        typer.echo(f"surefoot: {one_line(error.message)}", err=True)
        raise typer.Exit(2 if isinstance(error, BadRequest) else 4) from error
    except OSError as error:
        typer.echo(f"surefoot: {one_line(str(error))}", err=True)
        raise typer.Exit(2) from error

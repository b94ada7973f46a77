"""`surefoot batch`: a file of requests asked of a running server, as OpenAI's batches are."""

from pathlib import Path
from typing import Annotated, Never

import typer
from typer import Argument, Option

from surefoot.errors import BadRequest, SurefootError
from surefoot.options import ApiKey, Server
from surefoot.protocol import SERVER


def batch(
    requests: Annotated[Path, Argument(help="Requests of OpenAI's API, a line of JSON each.")],
    out: Annotated[Path, Option("--out", "-o", help="File for the results; resumed if there.")],
    at_once: Annotated[int, Option(min=1, max=100, help="Most requests in work.")] = 4,
    server: Server = SERVER,
    api_key: ApiKey = "",
) -> None:
    """Ask a file of requests, in OpenAI's batch format, and write the results as they come.

    Exit codes: 0 all succeeded, 1 some failed, 2 bad input, 4 no server that answers. Run again, it
    goes on where it ended.
    """
    try:
        answered, failed = _asked(requests, out, at_once, server, api_key)
    except SurefootError as error:
        _stop(2 if isinstance(error, BadRequest) else 4, error.message)
    except OSError as error:
        _stop(2, f"{error.strerror}: {error.filename or out}")
    typer.echo(f"{answered:,} answered, {failed:,} failed: {out}")
    raise typer.Exit(1 if failed else 0)


def _asked(requests: Path, out: Path, at_once: int, server: str, api_key: str) -> tuple[int, int]:
    """How many were answered in this run and before, and how many failed."""
    import asyncio

    from surefoot import batchfile, batchrun, batchview
    from surefoot.client import AsyncClient

    ids = batchfile.custom_ids(requests)
    standing = batchfile.resumed(out, ids)
    todo = (each for each in batchfile.entries(requests) if each.custom_id not in standing.answered)
    failed = standing.failed
    if len(standing.answered) == len(ids):
        return len(ids) - failed, failed

    async def ask() -> None:
        async with AsyncClient(server, api_key) as client:
            await batchrun.run(client, todo, at_once, write)

    with out.open("ab") as file, batchview.watching(len(ids), standing, at_once) as show:

        def write(entry: batchfile.Entry, result: batchfile.Result) -> None:
            nonlocal failed
            failed += result.failed
            file.write(result.written())
            file.flush()
            show(entry, result)

        asyncio.run(ask())
    return len(ids) - failed, failed


def _stop(code: int, sentence: str) -> Never:
    from surefoot.live import one_line

    typer.echo(f"surefoot: {one_line(sentence)}", err=True)
    raise typer.Exit(code)

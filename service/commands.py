"""The server's share of the `surefoot` command: `serve`, `models` and `doctor`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # `surefoot --help` must not pay for the server
    from service.catalogue import Catalogue
    from service.settings import Settings

SMALL = "qwen2.5-coder-0.5b"
DEFAULTS = ["qwen2.5-coder-1.5b", SMALL]

Small = Annotated[bool, typer.Option("--small", help="Use the 0.5B model as policy and verifier.")]


def serve(
    engine: Annotated[str | None, typer.Option(help="llamacpp, vllm, remote or scripted.")] = None,
    model: Annotated[str | None, typer.Option(help="The policy: a name, file or folder.")] = None,
    verifier: Annotated[str | None, typer.Option(help="A verifier's name or FOLDER.")] = None,
    verifier_model: Annotated[str | None, typer.Option(help="The verifier's model.")] = None,
    small: Small = False,
    engine_url: Annotated[str | None, typer.Option(help="Base URL of a remote engine.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one.")] = None,
    keys: Annotated[str | None, typer.Option(help="FILE of API keys; callers need one.")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Listen on any address, without keys.")
    ] = None,
) -> None:
    """Start the service and stay. Settings come from SUREFOOT_… variables; options go first."""
    if small:
        model, verifier_model = SMALL, SMALL
    with explained():
        settings = read_settings(
            engine=engine,
            model=model,
            verifier=verifier,
            verifier_model=verifier_model,
            engine_url=engine_url,
            host=host,
            port=port,
            keys=keys,
            insecure=insecure,
        )
        _run(settings)


models = typer.Typer(
    help="The models at hand, and where they come from.",
    add_completion=False,
    no_args_is_help=True,
)


@models.command("list")
def list_models() -> None:
    """List the catalogue: name, size, licence, and where each model lies."""
    with explained():
        shelf = catalogue()
        for name in shelf.names():
            model, path = shelf.get(name), shelf.path(name)
            where = path or f"not here; surefoot models pull {name}"
            typer.echo(f"{name}  {model.size / 1e6:,.0f} MB  {model.licence}  {where}")


@models.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Default: what serve needs.")] = None,
    small: Small = False,
) -> None:
    """Fetch models, resuming where an earlier pull ended, and verify them."""
    with explained():
        shelf = catalogue()
        for name in names or ([SMALL] if small else DEFAULTS):
            if shelf.path(name) is None:
                _pull(shelf, name)
            typer.echo(f"{name}: {shelf.path(name)}")


@models.command()
def path(name: str) -> None:
    """Print where a model lies; fails if it is not here."""
    with explained():
        typer.echo(str(catalogue().resolve(name)))


def doctor() -> None:
    """Say what this machine can run, and what the settings would start.

    Exit codes: 0 all is well, 4 something keeps the service from starting.
    """
    with explained():
        from service.doctor import examine
        from service.errors import StartupError

        findings = list(examine(read_settings()))
        for finding in findings:
            mark = " " if finding.sound else "!"
            typer.echo(f"{mark} {finding.part:<9} {finding.says}")
        if ill := [finding.part for finding in findings if not finding.sound]:
            raise StartupError(f"`surefoot serve` would not start: see to {' and '.join(ill)}.")


def read_settings(**given: object) -> Settings:
    from pydantic import ValidationError

    from service.errors import StartupError
    from service.settings import Settings

    try:
        return Settings.model_validate({k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise StartupError(f"The setting {name} cannot be used: {first['msg']}.") from error


def catalogue() -> Catalogue:
    from service.catalogue import Catalogue

    return Catalogue.load(read_settings().folder)


def _pull(catalogue: Catalogue, name: str) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn()) as bars:
        bar = bars.add_task(name, total=catalogue.get(name).size)

        def progress(done: int, total: int, source: str) -> None:
            bars.update(bar, completed=done, total=total, description=f"{name} from {source}")

        catalogue.pull(name, progress)


def _run(settings: Settings) -> None:
    import uvicorn

    from service import logs
    from service.app import create_app
    from service.assembly import load, load_keeper, load_spans
    from service.serving import Server, leave_on_signals

    logs.configure(settings.log_level, content=settings.telemetry_content)
    leave_on_signals()

    async def main() -> None:
        with _listening(settings) as listener:
            keeper, spans = load_keeper(settings), load_spans(settings)
            app = create_app(*await load(settings), keeper, settings, spans)
            host, port = listener.getsockname()[:2]
            typer.echo(f"Surefoot is ready on http://{host}:{port}")
            await Server(app, settings.grace).serve(sockets=[listener])

    factory = uvicorn.Config("", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    from service.errors import StartupError

    try:
        listener = socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise StartupError(
            f"Port {settings.port} on {settings.host} cannot be had; choose another with --port."
        ) from error
    with listener:
        _demand_keys(settings, listener.getsockname()[0])
        yield listener


def _demand_keys(settings: Settings, address: str) -> None:
    """An address that others reach is served to those with keys alone."""
    from service.errors import StartupError

    if not (ip_address(address).is_loopback or settings.keys or settings.insecure):
        raise StartupError(
            f"{settings.host} can be reached by others: make keys with `surefoot keys create` and "
            "name their file with --keys, or let anybody in with --insecure."
        )


@contextmanager
def explained() -> Iterator[None]:
    """What keeps a command from running is told in one sentence, with exit code 4."""
    from service.errors import ServiceError

    try:
        yield
    except ServiceError as error:
        typer.echo(f"surefoot: {error.message}", err=True)
        raise typer.Exit(4) from error

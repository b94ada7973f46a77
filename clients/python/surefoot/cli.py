"""The `surefoot` command: `solve`, `batch`, `traces`, `version`, and what others add to it.

Others are entry points of the group `surefoot.commands`, each a `typer.Typer` or a function; one
named `group.command` joins a group of ours. They are loaded when called, and the HTTP library and
the live view where needed: `--help` is quick.
"""

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, NoReturn

import typer
from typer import Argument, Option

from surefoot import __version__, traces
from surefoot.batch import batch
from surefoot.errors import BadRequest, SurefootError
from surefoot.options import ApiKey, Server
from surefoot.protocol import SERVER, Baseline
from surefoot.types import Done, Event

SERVICE = {
    "serve": "Run the server.",
    "keys": "Make, list and revoke API keys.",
    "models": "List and fetch models.",
    "doctor": "Say what this machine can run and what the settings would start.",
    "verifier": "Make and measure the verifier.",
    "bench": "Measure accuracy per token.",
    "loadtest": "Load a service, and check that no token is lost.",
    "traces.rescore": "Score kept solves anew, without generating.",
}
SAMPLING = ("best_of_n", "self_consistency", "beam_search", "dvts", "particle_filter")


def main() -> None:
    app()


def application(extensions: Iterable[EntryPoint]) -> typer.Typer:
    app = typer.Typer(
        help="Answers that are checked step by step.", add_completion=False, no_args_is_help=True
    )
    for ours in (solve, batch, version):
        app.command()(ours)
    groups = {"": app, "traces": traces.group()}
    app.add_typer(groups["traces"], name="traces")
    found = {extension.name: extension for extension in extensions}
    for name in sorted(SERVICE | found):
        group, _, command = name.rpartition(".")
        if group not in groups:
            group, command = "", name
        groups[group].command(
            command,
            help=SERVICE.get(name, "Comes from another package."),
            add_help_option=False,
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )(_extension(name, found.get(name)))
    return app


def solve(
    problem: Annotated[str | None, Argument(help="Left out, it is read from stdin.")] = None,
    strategy: Annotated[str, Option("--strategy", "-s", help="How to solve it.")] = "stepco",
    n: Annotated[int | None, Option("--n", help=f"Samples; for {', '.join(SAMPLING)}.")] = None,
    knob: Annotated[list[str] | None, Option(metavar="KEY=VALUE", help="Of the strategy.")] = None,
    max_tokens: Annotated[int | None, Option(help="Most tokens to generate.")] = None,
    deadline: Annotated[int | None, Option(help="Most seconds to take.")] = None,
    temperature: Annotated[float | None, Option(help="Of the policy.")] = None,
    seed: Annotated[int | None, Option(help="Of the policy.")] = None,
    baseline: Annotated[Baseline, Option(help="How to learn Best-of-N's cost.")] = "estimate",
    server: Server = SERVER,
    api_key: ApiKey = "",
    as_json: Annotated[bool, Option("--json", help="Print the response alone.")] = False,
) -> None:
    """Solve a problem: its steps and their scores, the answer, and what it cost.

    Exit codes: 0 answered, 1 no answer found, 2 request refused, 4 server failed or out of reach.
    """
    from surefoot import live
    from surefoot.client import Client

    question, chosen = _question(problem), _strategy(strategy, n, knob or [])
    answered = False
    try:
        with (
            _view(question, as_json) as show,
            Client(server, api_key) as client,
            client.stream(
                question,
                strategy=chosen,
                sampling=_given(temperature=temperature, seed=seed),
                budget=_given(max_tokens=max_tokens, deadline_ms=deadline and 1000 * deadline),
                baseline=baseline,
            ) as events,
        ):
            for event in events:
                show(event)
                answered = isinstance(event, Done) and event.solution.answer is not None
    except SurefootError as error:
        _stop(2 if isinstance(error, BadRequest) else 4, live.one_line(error.message))
    raise typer.Exit(0 if answered else 1)


def version() -> None:
    """Print the version."""
    typer.echo(f"surefoot {__version__}")


def _extension(name: str, entry: EntryPoint | None) -> Callable[[typer.Context], None]:
    spoken = name.replace(".", " ")

    def run(context: typer.Context) -> None:
        if entry is None:
            _stop(3, f"`surefoot {spoken}` comes with the server: pip install surefoot-service")
        try:
            loaded = entry.load()
        except (AttributeError, ImportError) as error:
            _stop(3, f"`surefoot {spoken}` is installed but cannot be loaded: {error}")
        app = loaded if isinstance(loaded, typer.Typer) else typer.Typer(add_completion=False)
        if app is not loaded:
            app.command()(loaded)
        app(context.args, prog_name=f"surefoot {spoken}")

    return run


def _question(problem: str | None) -> str:
    try:
        text = sys.stdin.read() if problem is None and not sys.stdin.isatty() else problem
    except UnicodeDecodeError:
        _stop(2, "standard input is not text in UTF-8")
    if text is None or not text.strip():
        _stop(2, "there is no problem: give it as an argument or on standard input")
    return text.strip()


def _strategy(name: str, n: int | None, knobs: list[str]) -> dict[str, object]:
    if n is not None and name not in SAMPLING:
        _stop(2, f"--n is the number of samples, and {name} draws none")
    chosen: dict[str, object] = {"name": name, **_given(n=n)}
    for knob in knobs:
        key, equals, value = knob.partition("=")
        if not equals:
            _stop(2, f"--knob takes key=value, not {knob!r}")
        try:
            chosen[key] = json.loads(value)
        except ValueError:
            chosen[key] = value
    return chosen


def _given(**values: float | None) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _view(question: str, as_json: bool) -> AbstractContextManager[Callable[[Event], None]]:
    from surefoot import live

    if as_json:
        return nullcontext(_print_json)
    if sys.stdout.isatty():
        return live.watching(question)
    return nullcontext(lambda event: typer.echo(live.plain(event)))


def _print_json(event: Event) -> None:
    if isinstance(event, Done):
        typer.echo(json.dumps(asdict(event.solution)))


def _stop(code: int, sentence: str) -> NoReturn:
    typer.echo(f"surefoot: {sentence}", err=True)
    raise typer.Exit(code)


app = application(entry_points(group="surefoot.commands"))

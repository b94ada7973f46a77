"""The `surefoot bench` command: accuracy per token, measured over HTTP, and told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from bench.explaining import explaining
from surefoot.protocol import SERVER

if TYPE_CHECKING:
    from bench.peers.contest import Task
    from bench.questions import Item
    from bench.runner import Draw
    from bench.view import View

MISTAKEN_MOST = 5  # of what a spot check finds, how much is said
COMMANDS = "commands.txt"
PATIENCE = 60.0  # seconds beyond a solve's deadline

bench = typer.Typer(
    help="Measure accuracy per token of a running service.",
    add_completion=False,
    no_args_is_help=True,
)


@bench.command()
def run(
    datasets: Annotated[list[str], Argument(help="Names, JSON-lines files, or hf://datasets/….")],
    arm: Annotated[list[str], Option(help="[NAME=]STRATEGY[:KNOB=VALUE,…]; may be repeated.")],
    out: Annotated[Path, Option("--out", "-o", help="Folder of the records; resumed if there.")],
    data: Annotated[
        Path | None, Option(exists=True, file_okay=False, help="Folder that names are found in.")
    ] = None,
    questions: Annotated[int | None, Option(min=1, help="Most questions of each set.")] = None,
    seed: Annotated[list[int] | None, Option(help="May be repeated. Default: 0.")] = None,
    temperature: Annotated[float | None, Option(help="Of all arms.")] = None,
    max_tokens: Annotated[int | None, Option(min=1, help="Of one call, in all arms.")] = None,
    at_once: Annotated[int, Option(min=1, max=256, help="Most solves in work.")] = 4,
    server: Annotated[str, Option(envvar="SUREFOOT_SERVER", help="Its URL.")] = SERVER,
) -> None:
    """Ask questions with each arm, grade the answers, and keep every solve. Resumes.

    The last line is JSON. Exit codes: 0 all answered, 1 some not, 4 it cannot be done.
    """
    with explaining():
        from bench.arms import parsed
        from bench.questions import interleaved, load
        from bench.runner import wanted
        from bench.solves import alone

        shared = {"temperature": temperature, "max_tokens": max_tokens}
        arms = parsed(arm, {name: value for name, value in shared.items() if value is not None})
        items = interleaved([load(name, data, questions) for name in datasets])
        out.mkdir(parents=True, exist_ok=True)
        with alone(out):
            _note(out)
            view = asyncio.run(_ask(wanted(arms, items, seed or [0]), items, out, at_once, server))
    _last_line(view)
    raise typer.Exit(1 if view.missing else 0)


@bench.command()
def report(
    run: Annotated[Path, Argument(exists=True, file_okay=False, help="Folder of the records.")],
    arm: Annotated[list[str] | None, Option(help="Of these arms alone; may be repeated.")] = None,
) -> None:
    """Tell what a run came to: report.md, .html, .json and pictures, in its folder.

    The last line is the JSON.
    """
    with explaining():
        from bench.report.content import document
        from bench.report.found import found
        from bench.report.page import html
        from bench.solves import read
        from service.errors import StartupError

        solves = [solve for solve in read(run).values() if not arm or solve.arm in arm]
        if not any(solve.solution for solve in solves):
            raise StartupError(
                f"{run} holds no solves of these arms; `surefoot bench run` makes some."
            )
        made = found(solves)
        told = document(made, run, _commands(run))
        (run / "report.json").write_text(f"{made.as_json()}\n", encoding="utf-8")
        (run / "report.md").write_text(told.markdown(), encoding="utf-8")
        (run / "report.html").write_text(html(told), encoding="utf-8")
        typer.echo(made.as_json())


@bench.command()
def peers(
    dataset: Annotated[str, Argument(help="As of `run`.")],
    engine: Annotated[str, Option(help="Base URL of an OpenAI-compatible engine.")],
    model: Annotated[str, Option(help="What the engine calls the policy.")],
    out: Annotated[Path, Option("--out", "-o", help="Folder of the results; resumed if there.")],
    data: Annotated[
        Path | None, Option(exists=True, file_okay=False, help="Folder that names are found in.")
    ] = None,
    questions: Annotated[int, Option(min=1, help="Most questions.")] = 50,
    n: Annotated[int, Option(min=2, max=64, help="Samples a question.")] = 8,
    at_once: Annotated[int, Option(min=1, help="Clients.")] = 4,
    max_tokens: Annotated[int, Option(min=1, help="Of one sample.")] = 512,
    peer: Annotated[list[str] | None, Option(help="its_hub, optillm; may be repeated.")] = None,
) -> None:
    """Compare Best-of-N and self-consistency with its_hub's and optillm's, on one metered engine.

    A service of ours is started before the engine, with the settings of the environment. The last
    line is JSON.
    """
    with explaining():
        from bench.peers.contest import OURS, PEERS, Task
        from bench.questions import load
        from service.errors import StartupError

        if unknown := set(peer or ()) - set(PEERS):
            raise StartupError(
                f"There are no peers {', '.join(unknown)}; {' and '.join(PEERS)} are."
            )
        task = Task(load(dataset, data, questions), model, n, at_once, max_tokens)
        out.mkdir(parents=True, exist_ok=True)
        _note(out)
        typer.echo(_compete(task, engine, (OURS, *(peer or PEERS)), out))


def _compete(task: Task, engine: str, names: Sequence[str], out: Path) -> str:
    from bench.peers.contest import contest
    from bench.peers.meter import metering
    from bench.peers.table import as_json, document
    from bench.serving import serving

    with metering(engine) as (url, meter):
        options = ["--engine", "remote", "--engine-url", url, "--model", task.model]
        with serving(options, out / "service.log") as server:
            outcomes = asyncio.run(contest(task, url, server, meter, names, out))
    told = document(task, outcomes).markdown()
    (out / "peers.md").write_text(told, encoding="utf-8")
    (out / "peers.json").write_text(as_json(task, outcomes), encoding="utf-8")
    typer.echo(told)
    return as_json(task, outcomes)


async def _ask(draws: list[Draw], items: list[Item], out: Path, at_once: int, server: str) -> View:
    from bench.grading import mistaken
    from bench.runner import Run, standing
    from bench.solves import read
    from bench.view import View, watching
    from surefoot import AsyncClient
    from verifier.answers import Grader

    done = standing(read(out), draws)
    view = View(draws, done.values(), at_once)
    grader = Grader()
    try:
        _doubt(await mistaken(grader, items))
        within = max(draw.arm.seconds for draw in draws) + PATIENCE
        async with AsyncClient(server, timeout=within) as client:
            with watching(view) as tell:
                await Run(client, grader, out, done, tell).ask(draws, at_once)
    finally:
        grader.close()
    return view


def _doubt(mistaken: list[str]) -> None:
    for sentence in mistaken[:MISTAKEN_MOST]:
        typer.echo(f"surefoot: grading: {sentence}", err=True)
    if more := mistaken[MISTAKEN_MOST:]:
        typer.echo(f"surefoot: grading: and {len(more)} more", err=True)


def _note(out: Path) -> None:
    """The command stands beside what it made."""
    import shlex

    with (out / COMMANDS).open("a", encoding="utf-8") as file:
        file.write(f"surefoot {shlex.join(sys.argv[1:])}\n")


def _commands(out: Path) -> list[str]:
    """What was noted, each once."""
    file = out / COMMANDS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return list(dict.fromkeys(lines))


def _last_line(view: View) -> None:
    import json

    from rich.console import Console

    Console(stderr=True).print(view)
    typer.echo(json.dumps({"arms": view.summary(), "missing": view.missing}))

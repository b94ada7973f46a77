"""The `surefoot loadtest` command: a service under load, asked, checked and told of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from bench.explaining import explaining
from surefoot.options import ApiKey

if TYPE_CHECKING:
    from bench.load.mix import Plan
    from bench.load.report import Report
    from bench.load.run import Target
    from bench.load.stages import Stretch

loadtest = typer.Typer(
    help="Load a service, and check that no budget is overrun and no token lost.",
    add_completion=False,
    no_args_is_help=True,
)


@loadtest.command()
def run(
    out: Annotated[Path, Option("--out", "-o", help="Folder of the report.")],
    mix: Annotated[
        str, Option(help="standard, budgets, overload, soak, or a TOML file.")
    ] = "standard",
    rate: Annotated[
        list[float] | None,
        Option(help="Requests a second; may be repeated: a stage each. Default: the mix's."),
    ] = None,
    duration: Annotated[float | None, Option(min=1, help="Seconds of each stage.")] = None,
    seed: Annotated[int | None, Option(help="Of all that is drawn. Default: the mix's.")] = None,
    server: Annotated[
        str | None, Option(help="Its URL. Default: one is started, with the scripted engine.")
    ] = None,
    api_key: ApiKey = "",
    keys: Annotated[
        Path | None,
        Option(exists=True, dir_okay=False, help="FILE of a line for each tenant: name, key."),
    ] = None,
    engine: Annotated[
        str | None, Option(help="URL of the vLLM behind the server, whose counters are compared.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="The last line on stdout is JSON.")] = False,
) -> None:
    """Ask what a mix says, check what came, and write report.html, .json and outcomes.jsonl.

    Exit codes: 0 every check passed that could be made, 1 one failed, 4 it cannot be done.
    """
    with explaining():
        from bench.load.mix import plan
        from bench.load.run import Target, named
        from service.errors import StartupError

        wanted = plan(mix, rate, duration, seed)
        held = named(keys) if keys else {}
        if held and set(held) != set(wanted.tenants):
            raise StartupError(f"The mix has the tenants {', '.join(wanted.tenants)}: a key each.")
        out.mkdir(parents=True, exist_ok=True)
        if server:
            found = _tested(wanted, Target(server, api_key, held, engine), out)
        else:
            with _own(wanted, out) as target:
                found = _tested(wanted, target, out)
    _tell(found, as_json=as_json)
    raise typer.Exit(0 if found.passed else 1)


@contextmanager
def _own(plan: Plan, out: Path) -> Iterator[Target]:
    """A service with the scripted engine, and a key for each tenant."""
    from tempfile import TemporaryDirectory

    from bench.load.run import Target
    from bench.serving import serving
    from service.keyring import create

    with TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        keys = {
            name: create(file, name, tenant.model_dump(include={"weight", "tokens_per_day"}))
            for name, tenant in plan.tenants.items()
        }
        traces = f"sqlite:///{folder}/traces.db"
        settings = {"traces": traces, "log_level": "warning", **plan.service}
        options = ["--engine", "scripted", "--keys", str(file)]
        with serving(options, out / "service.log", settings) as url:
            yield Target(url, keys=keys)


@loadtest.command()
def witness(
    name: Annotated[str, Argument(help="guidellm, or vllm for its `bench serve`.")],
    server: Annotated[
        str | None, Option(help="Its URL. Default: one is started, with the scripted engine.")
    ] = None,
    api_key: ApiKey = "",
    model: Annotated[str, Option(help="Chooses the strategy.")] = "surefoot-single",
    requests: Annotated[int, Option(min=1, max=20, help="How many it makes.")] = 20,
) -> None:
    """Let another project's load tool ask, and hold its token counts against ours.

    The last line is JSON. Exit codes: 0 all counts agree, 1 some differ, 4 it cannot be done.
    """
    with explaining(), ExitStack() as stack:
        from bench.load.mix import QUESTIONS
        from bench.load.run import Target
        from bench.load.witness import WITNESSES, Task, hear
        from bench.questions import load
        from service.errors import StartupError

        if name not in WITNESSES:
            raise StartupError(f"There is no witness {name}; {' and '.join(WITNESSES)} are.")
        prompts = [item.asked for item in load(str(QUESTIONS), None, requests)]
        target = Target(server, api_key) if server else stack.enter_context(_keyless())
        found = hear(name, Task(model, prompts), target)
        typer.echo(found.as_json())
    raise typer.Exit(0 if found.agrees else 1)


@contextmanager
def _keyless() -> Iterator[Target]:
    """A service with the scripted engine that lets everybody in."""
    from tempfile import TemporaryDirectory

    from bench.load.run import Target
    from bench.serving import serving

    with TemporaryDirectory() as folder:
        log, settings = Path(folder) / "service.log", {"traces": f"sqlite:///{folder}/traces.db"}
        with serving(["--engine", "scripted"], log, settings | {"keys": ""}) as url:
            yield Target(url)


def _tested(plan: Plan, target: Target, out: Path) -> Report:
    from bench.load.checks import verdicts
    from bench.load.outcomes import write
    from bench.load.report import Report
    from bench.load.run import run as load
    from bench.report.page import html

    evidence = asyncio.run(load(plan, target, _progress))
    write(evidence.outcomes, out)
    found = Report.of(evidence, verdicts(evidence))
    (out / "report.json").write_text(f"{json.dumps(found.as_json())}\n", encoding="utf-8")
    (out / "report.html").write_text(html(found.document(out)), encoding="utf-8")
    return found


def _progress(stretch: Stretch) -> None:
    seconds = stretch.over - stretch.began
    typer.echo(f"{stretch.name}: {stretch.rate:.1f} a second, over in {seconds:.0f} s", err=True)


def _tell(found: Report, *, as_json: bool) -> None:
    from bench.load.report import PASSED

    for each in found.verdicts:
        typer.echo(f"{PASSED[each.passed]:<12} {each.name}: {each.says}", err=as_json)
    if as_json:
        typer.echo(json.dumps(found.summary()))

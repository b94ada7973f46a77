"""The `surefoot traces rescore` command: kept solves, scored and chosen anew, with no engine.

It reads the store that the settings name, whether or not a service is running on it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from service.commands import explained, read_settings
from verifier.scoring import Aggregate

if TYPE_CHECKING:
    from rich.console import RenderableType

    from service.settings import Settings
    from service.traces.replay import Choice, Mark, Replayed, Terms
    from service.traces.store import Store
    from verifier.scoring import VerifierBackend


def rescore(
    ids: Annotated[list[str] | None, Argument(help="Of traces, as `traces list` has them.")] = None,
    every: Annotated[bool, Option("--all", help="All traces that are kept.")] = False,
    tenant: Annotated[str, Option(help="Whose traces; without keys all are of one.")] = "default",
    verifier: Annotated[str | None, Option(help="psv, judge or a FOLDER.")] = None,
    aggregate: Annotated[
        Aggregate | None, Option(help="How a path's value is made of its steps'.")
    ] = None,
    threshold: Annotated[
        float | None, Option(min=0, max=1, help="A step less correct is weak.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="A line of JSON for each trace.")] = False,
) -> None:
    """Score kept solves anew, and show what would have been chosen.

    With an aggregate or a threshold alone the scores that were kept are used and no model is
    loaded; else the verifier scores every path. Nothing is generated, and nothing is changed.
    """
    from service.errors import StartupError
    from service.traces.replay import Terms

    with explained():
        if bool(ids) == every:
            raise StartupError("Name the traces to score, or give --all.")
        terms = Terms(aggregate, threshold)
        settings = read_settings(verifier=verifier)
        anew = verifier is not None or terms == Terms()
        told = Teller(as_json)
        asyncio.run(_rescore(settings, tenant, ids or [], terms, anew, told))
        told.end()


async def _rescore(
    settings: Settings, tenant: str, ids: list[str], terms: Terms, anew: bool, tell: Teller
) -> None:
    from service.traces.replay import NotReplayable, replay
    from service.traces.trace import Trace
    from verifier.answers import Grader

    grader = Grader()
    try:
        async with _store(settings) as store, _verifier(settings, anew) as verifier:
            async for body in _bodies(store, tenant, ids):
                trace = Trace.model_validate_json(body)
                try:
                    tell(await replay(trace, terms, grader, verifier))
                except NotReplayable as reason:
                    tell.left_out(trace.id, str(reason))
    finally:
        grader.close()


async def _bodies(store: Store, tenant: str, ids: list[str]) -> AsyncIterator[str]:
    from service.errors import NotFound

    if not ids:
        async for body in store.each(tenant):
            yield body
    for id in ids:
        found = await store.get(tenant, id)
        if found is None:
            raise NotFound(f"There is no trace {id}; `surefoot traces list` shows those there are.")
        yield found


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    from service.assembly import load_keeper
    from service.errors import StartupError

    keeper = load_keeper(settings)
    if keeper is None:
        raise StartupError("No traces are kept here; set SUREFOOT_TRACES.")
    try:
        yield keeper.store
    finally:
        await keeper.store.close()


@asynccontextmanager
async def _verifier(settings: Settings, anew: bool) -> AsyncIterator[VerifierBackend | None]:
    from service.assembly import load_verifier
    from service.errors import VerifierUnavailable
    from verifier.batching import Batching
    from verifier.scoring import VerifierError

    if not anew:
        yield None
        return
    verifier = Batching(await load_verifier(settings))
    try:
        yield verifier
    except VerifierError as error:
        raise VerifierUnavailable(f"The verifier does not answer: {error}") from error
    finally:
        await verifier.close()


class Teller:
    """Shows each outcome as it comes, and at the end how many of them changed."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._all = self._changed = self._flagged = self._diverged = 0

    def __call__(self, told: Replayed) -> None:
        from rich.console import Console

        self._all += 1
        self._changed += told.changed
        self._flagged += any(p.before.first_weak != p.after.first_weak for p in told.paths)
        self._diverged += told.diverged is not None
        if self._as_json:
            typer.echo(json.dumps(asdict(told)))
        else:
            Console(highlight=False).print(*_shown(told), sep="\n")

    def left_out(self, id: str, reason: str) -> None:
        typer.echo(f"{id}: left out. {reason}", err=True)

    def end(self) -> None:
        if not self._as_json:
            typer.echo(
                f"{self._all} traces: {self._changed} with another answer, "
                f"{self._flagged} with another step in doubt, {self._diverged} cut short"
            )


def _shown(told: Replayed) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    table = Table("sample", "round", "in doubt", "correct before", "correct now")
    table.title = Text(f"{told.id}  {told.strategy}, {told.verifier}")
    table.title_justify = "left"
    for path in told.paths:
        moved = path.before.first_weak != path.after.first_weak
        table.add_row(
            str(path.sample),
            str(path.round),
            f"{_doubt(path.before)} → {_doubt(path.after)}" if moved else _doubt(path.after),
            _scores(path.before),
            _scores(path.after),
            style="bold" if moved else "",
        )
    outcome = Text.assemble(
        ("another answer: " if told.changed else "the same answer: "),
        _chosen(told.before),
        " → ",
        _chosen(told.after),
        style="bold red" if told.changed else "green",
    )
    notes = [f"{name}: {told.strategy} has no such knob" for name in told.ignored]
    notes += [told.diverged] if told.diverged else []
    return [table, outcome, *(Text(note, "yellow") for note in notes), ""]


def _doubt(mark: Mark) -> str:
    if mark.scores is None:
        return "not verified"
    return "none" if mark.first_weak is None else f"step {mark.first_weak}"


def _scores(mark: Mark) -> str:
    return " ".join(f"{score.correct:.2f}" for score in mark.scores or ())


def _chosen(choice: Choice | None) -> str:
    if choice is None:
        return "none"
    answer = "".join(c for c in choice.answer or "-" if c.isprintable())
    score = "" if choice.score is None else f", {choice.score:.2f}"
    verified = "verified" if choice.verified else "not verified"
    return f"{answer} (sample {choice.sample}, round {choice.round}, {verified}{score})"

"""Asks a running service each question with each arm, grades what comes, and keeps it.

The file of records is the job's only state: a solve that is in it is not asked for again. What is
told of a run, and what is made of its records, is left to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from bench.arms import Arm
from bench.grading import grades
from bench.questions import Item
from bench.solves import FILE, Key, Solve, written
from service.errors import StartupError
from surefoot import AsyncClient, Solution, SurefootError
from surefoot.errors import BadRequest, Overloaded, Unreachable
from verifier.answers import Grader

TOO_LONG = "context_length_exceeded"  # a refusal that is the question's own
AWAY = ("engine_unavailable", "verifier_unavailable")  # every further solve would fail, too
PATIENCE = 120.0  # seconds in which they must be back

Tell = Callable[[Solve], None]


@dataclass(frozen=True, slots=True)
class Draw:
    """One solve that is wanted."""

    arm: Arm
    item: Item
    seed: int

    @property
    def key(self) -> Key:
        return Key(self.arm.name, self.item.dataset, self.item.id, self.seed)

    @property
    def matched(self) -> Key | None:
        """The solve whose spending is this one's budget."""
        return self.key._replace(arm=self.arm.match.arm) if self.arm.match else None


def wanted(arms: Sequence[Arm], items: Sequence[Item], seeds: Sequence[int]) -> list[Draw]:
    """Question by question, so that the arms of a run that is ended early can be compared."""
    return [Draw(arm, item, seed) for item in items for seed in seeds for arm in arms]


def standing(held: Mapping[Key, Solve], draws: Sequence[Draw]) -> dict[Key, Solve]:
    """What need not be asked again.

    Raises `StartupError` where an arm of the same name was asked for something else.
    """
    kept: dict[Key, Solve] = {}
    for draw in draws:
        solve = held.get(draw.key)
        if solve is None or solve.solution is None:
            continue
        if draw.matched and draw.matched not in kept:
            continue
        if solve.asked != _asked(draw, kept):
            raise StartupError(
                f"The records hold an arm {draw.arm.name} that was asked for {solve.asked}; "
                "give this one another name, or name another --out."
            )
        kept[draw.key] = solve
    return kept


@dataclass(slots=True)
class Run:
    """A run under way. `done` are the solves that stand, by key; `tell` hears of each new one."""

    client: AsyncClient
    grader: Grader
    folder: Path
    done: dict[Key, Solve]
    tell: Tell
    _coming: dict[Key, asyncio.Event] = field(default_factory=dict)
    _parts: set[tuple[str, str | None]] = field(default_factory=set)
    _heard: bool = False

    async def ask(self, draws: Sequence[Draw], at_once: int) -> None:
        """Ask for what is missing of the draws, in order.

        Raises `SurefootError` if nothing listens, an arm is refused, or the server, its engine or
        its verifier went away and stays away, and `StartupError` if the server is not the one whose
        solves are kept.
        """
        missing = [draw for draw in draws if draw.key not in self.done]
        self._coming = {draw.key: asyncio.Event() for draw in missing}
        self._parts = {_parts(solve) for solve in self.done.values()}
        waiting = iter(missing)

        async def work() -> None:
            for draw in waiting:
                await self._solve(draw)
                self._coming[draw.key].set()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(at_once, len(missing))):
                    group.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _solve(self, draw: Draw) -> None:
        if (matched := draw.matched) is not None:
            if matched in self._coming:
                await self._coming[matched].wait()
            if matched not in self.done:
                return  # what it is to match has failed; both are for another run
        asked = _asked(draw, self.done)
        found = await self._answer(draw, asked)
        self._heard = True
        right = [False] if isinstance(found, str) else await grades(self.grader, draw.item, found)
        line = written(draw.key, draw.item, asked, found, right)
        solve = Solve.model_validate_json(line)
        self._same_server(solve)
        with (self.folder / FILE).open("a", encoding="utf-8") as file:
            file.write(line)
        if solve.solution:
            self.done[draw.key] = solve
        self.tell(solve)

    async def _answer(
        self, draw: Draw, asked: Mapping[str, Mapping[str, object]]
    ) -> Solution | str:
        """What the server made of it, or a sentence on why it made nothing."""
        try:
            return await self.client.solve(
                draw.item.asked,
                strategy=asked["strategy"],
                sampling=asked["sampling"],
                budget=asked["budget"],
                baseline="none",
                include_trace=True,
                cache_salt=uuid4().hex,  # what another arm has paid for is not had for nothing
            )
        except BadRequest as error:
            if isinstance(error, Overloaded) or error.code == TOO_LONG:
                return error.message
            error.message = f"the arm {draw.arm.name} was refused: {error.message}"
            raise
        except SurefootError as error:
            if isinstance(error, Unreachable) and not self._heard:
                raise  # nobody was there to begin with
            if isinstance(error, Unreachable) or error.code in AWAY:
                await self._returned(error)
            return error.message

    async def _returned(self, lost: SurefootError) -> None:
        """Wait until server, engine and verifier answer; raise what said so if they do not."""
        for _ in range(round(PATIENCE)):
            with suppress(SurefootError):
                if await self.client.ready():
                    return
            await asyncio.sleep(1)
        raise lost

    def _same_server(self, solve: Solve) -> None:
        if solve.solution is None:
            return
        self._parts.add(_parts(solve))
        if len(self._parts) > 1:
            told = " and ".join(f"{model} with {verifier}" for model, verifier in self._parts)
            raise StartupError(f"The records would mix {told}; name another --out.")


def _asked(draw: Draw, done: Mapping[Key, Solve]) -> dict[str, dict[str, object]]:
    arm, matched = draw.arm, done.get(draw.matched) if draw.matched else None
    if arm.match and matched and (solution := matched.solution):
        usage = solution.usage
        arm = arm.bounded(usage.policy.completion if arm.match.of == "generated" else usage.total)
    return arm.asked(draw.seed)


def _parts(solve: Solve) -> tuple[str, str | None]:
    """Who answered: policy and verifier."""
    assert solve.solution
    return solve.solution.model, solve.solution.verifier

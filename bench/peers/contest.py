"""One contest: the same questions, engine, samples, sampling and client concurrency for all.

Ours is asked over HTTP, of a service of its own before the metered engine; theirs is called as a
library in its own environment, by the `ask.py` beside its pins, which gets the task on stdin and
tells a line of JSON for each question. Ours goes first, so that what an engine's cache keeps of the
questions serves the others. What a contestant has come to is kept, and not run again.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.grading import right
from bench.peers import environment
from bench.peers.meter import Meter, Metered
from bench.questions import Item
from service.errors import StartupError
from service.strategies.prompts import FORMAT
from surefoot import AsyncClient, SurefootError
from verifier.answers import Grader, extract

PEERS = ("its_hub", "optillm")
WAYS = ("best_of_n", "self_consistency")
OURS = "surefoot"
HOME = Path(__file__).parent
DEADLINE = 600_000  # milliseconds


@dataclass(frozen=True, slots=True)
class Task:
    """What all are asked. Temperature 1 and all of the distribution: optillm knows no other."""

    items: Sequence[Item]
    model: str
    n: int
    at_once: int
    max_tokens: int
    temperature: float = 1.0

    @property
    def settings(self) -> dict[str, float | str]:
        """All but the questions, whose number it is."""
        names = ("model", "n", "at_once", "max_tokens", "temperature")
        return {"questions": len(self.items), **{name: getattr(self, name) for name in names}}

    def asked(self, engine: str, way: str) -> str:
        """As JSON for a peer: the questions with the instructions that our policy gets."""
        questions = [{"id": item.id, "text": item.asked} for item in self.items]
        own = {"engine": engine, "way": way, "system": FORMAT, "questions": questions}
        return json.dumps(self.settings | own)


@dataclass(frozen=True, slots=True)
class Told:
    """What a contestant made of one question; `text` is None where it failed."""

    id: str
    text: str | None
    seconds: float
    claimed: dict[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A contestant's whole turn. `claimed` are its own sums; `metered` what the engine counted."""

    name: str
    way: str
    asked: dict[str, float | str]
    questions: int
    right: int
    failed: int
    wall: float
    seconds: Sequence[float]
    claimed: dict[str, int]
    metered: Metered = field(default_factory=Metered)

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Outcome:
        told = json.loads(text)
        return cls(**told | {"metered": Metered(**told["metered"])})


def theirs(peer: str, task: Task, engine: str, way: str) -> tuple[list[Told], float]:
    """What a peer made of the task, and its wall time. Raises `StartupError` if it broke down."""
    folder = HOME / peer
    interpreter = environment.python(folder / "requirements.txt", peer)
    ended = subprocess.run(
        [str(interpreter), str(folder / "ask.py")],
        input=task.asked(engine, way),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise StartupError(f"{peer} broke down: {ended.stderr.strip()[-500:]}")
    *rows, last = map(json.loads, ended.stdout.splitlines())
    return [Told(**row) for row in rows], last["wall"]


async def ours(task: Task, server: str, way: str) -> tuple[list[Told], float]:
    """The same of our service."""
    waiting, told = iter(task.items), []
    sampling = {"temperature": task.temperature, "top_p": 1.0, "max_tokens": task.max_tokens}

    async def work(client: AsyncClient) -> None:
        for item in waiting:
            began = time.monotonic()
            try:
                solution = await client.solve(
                    item.asked,
                    strategy={"name": way, "n": task.n},
                    sampling=sampling,
                    budget={"max_tokens": task.n * task.max_tokens, "deadline_ms": DEADLINE},
                    baseline="none",
                )
                usage = solution.usage
                claimed = {
                    "prompt": usage.policy.prompt,
                    "completion": usage.policy.completion,
                    "verifier": usage.verifier.tokens,
                }
                text = f"\\boxed{{{solution.answer}}}" if solution.answer is not None else ""
            except SurefootError as error:
                text, claimed = None, {}
                print(error.message, file=sys.stderr)
            told.append(Told(item.id, text, time.monotonic() - began, claimed))

    began = time.monotonic()
    async with (
        AsyncClient(server, timeout=DEADLINE / 1000 + 60) as client,
        asyncio.TaskGroup() as all_of,
    ):
        for _ in range(task.at_once):
            all_of.create_task(work(client))
    return told, time.monotonic() - began


async def turn(
    name: str, way: str, task: Task, engine: str, server: str, meter: Meter, grader: Grader
) -> Outcome:
    """One contestant's turn, graded, with what the meter counted meanwhile."""
    meter.read()
    if name == OURS:
        told, wall = await ours(task, server, way)
    else:
        told, wall = await asyncio.to_thread(theirs, name, task, engine, way)
    metered, items = meter.read(), {item.id: item for item in task.items}
    grades = [await right(grader, items[t.id], extract(t.text) if t.text else None) for t in told]
    claimed: dict[str, int] = {}
    for each in told:
        for kind, tokens in each.claimed.items():
            claimed[kind] = claimed.get(kind, 0) + tokens
    failed = sum(each.text is None for each in told)
    seconds = [round(each.seconds, 3) for each in told]
    counts = len(told), sum(grades), failed
    return Outcome(name, way, task.settings, *counts, wall, seconds, claimed, metered)


async def contest(
    task: Task, engine: str, server: str, meter: Meter, names: Sequence[str], out: Path
) -> list[Outcome]:
    """Every contestant in each way; what the folder holds of this task is taken from it."""
    outcomes, grader = [], Grader()
    try:
        for way in WAYS:
            for name in names:
                file = out / f"{name}.{way}.json"
                if not file.exists():
                    found = await turn(name, way, task, engine, server, meter, grader)
                    file.write_text(found.written(), encoding="utf-8")
                outcomes.append(Outcome.read(file.read_text(encoding="utf-8")))
                _same(task, outcomes[-1], file)
    finally:
        grader.close()
    return outcomes


def _same(task: Task, outcome: Outcome, file: Path) -> None:
    if outcome.asked != task.settings:
        raise StartupError(f"{file} was asked for {outcome.asked}; name another --out.")

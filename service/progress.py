"""How far a long job is: a bar on a terminal, a line a minute elsewhere. Both on stderr."""

from __future__ import annotations

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 60.0  # seconds between lines
LOOK_BACK = 600.0  # seconds whose speed foretells the time left


class Bar:
    """Called with what is done, of how much, and a few words on how it goes."""

    def __init__(self, name: str) -> None:
        words = TextColumn("{task.description}")
        self._console = Console(stderr=True)
        self._bars = Progress(
            words,
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            speed_estimate_period=LOOK_BACK,
        )
        self._name = name
        self._task = self._bars.add_task(name, total=None)
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def __call__(self, done: int, total: int, words: str = "") -> None:
        said = f"{self._name}: {words}" if words else self._name
        self._bars.update(self._task, completed=done, total=total, description=said)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._said > EVERY or done == total):
            self._said = now
            left = self._bars.tasks[self._task].time_remaining
            rest = "" if left is None else f", {left / 60:.0f} min left"
            print(f"{said}: {done}/{total}{rest}", file=sys.stderr, flush=True)  # noqa: T201

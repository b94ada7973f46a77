"""What a person sees of a run: each arm's accuracy and tokens so far, and the time left.

A table on a terminal, a line a minute elsewhere; both on stderr.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.runner import Draw, Tell
from bench.solves import Solve

EVERY = 60.0  # seconds between lines


@dataclass(slots=True)
class Tally:
    """How one arm stands: of `total` solves, those asked in this run and those kept before."""

    total: int
    before: int = 0
    solves: list[Solve] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.total - len(self.answered)

    @property
    def fresh(self) -> list[float]:
        """Seconds of each answer of this run."""
        return [s.solution.elapsed_ms / 1000 for s in self.answered[self.before :] if s.solution]

    @property
    def answered(self) -> list[Solve]:
        return [solve for solve in self.solves if solve.solution]

    @property
    def failed(self) -> int:
        return len(self.solves) - len(self.answered)

    @property
    def right(self) -> int:
        return sum(solve.right for solve in self.answered)

    def mean(self, of: Literal["completion", "total"]) -> float:
        """Tokens a question."""
        usages = [solve.solution.usage for solve in self.answered if solve.solution]
        return fmean(u.total if of == "total" else u.policy.completion for u in usages)

    def summary(self) -> dict[str, float]:
        told: dict[str, float] = {"solves": len(self.answered), "right": self.right}
        if self.answered:
            told |= {"generated": self.mean("completion"), "computed": self.mean("total")}
        return told


class View:
    """Told of each solve as it comes."""

    def __init__(self, draws: Sequence[Draw], done: Iterable[Solve], at_once: int) -> None:
        totals = Counter(draw.arm.name for draw in draws)
        self._arms = {name: Tally(total) for name, total in totals.items()}
        for solve in done:
            arm = self._arms[solve.arm]
            arm.solves.append(solve)
            arm.before += 1
        self._at_once, self._began = at_once, time.monotonic()

    def add(self, solve: Solve) -> None:
        self._arms[solve.arm].solves.append(solve)

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for place, name in enumerate(("arm", "done", "right", "", "tokens", "computed", "failed")):
            table.add_column(name, justify="right" if place else "left")
        for name, arm in self._arms.items():
            table.add_row(name, *_cells(arm))
        done = sum(len(arm.answered) for arm in self._arms.values())
        total = sum(arm.total for arm in self._arms.values())
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total, done, width=40), f"{done} of {total}", self._rest())
        return Group(table, bar)

    def line(self) -> str:
        arms = (f"{name} {' '.join(_cells(arm)[:2])}" for name, arm in self._arms.items())
        return f"{'; '.join(arms)}; {self._rest()}"

    def summary(self) -> dict[str, dict[str, float]]:
        """Of each arm its solves, how many are right, and its tokens a question."""
        return {name: arm.summary() for name, arm in self._arms.items()}

    @property
    def missing(self) -> int:
        """Solves that there is no answer to."""
        return sum(arm.left for arm in self._arms.values())

    def _rest(self) -> Text:
        left = time_left(
            [(arm.fresh, arm.left) for arm in self._arms.values()],
            time.monotonic() - self._began,
            self._at_once,
        )
        if left is None:
            return Text("time left not known yet", "dim")
        minutes, seconds = divmod(round(left), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left", "cyan")


def time_left(
    arms: Iterable[tuple[list[float], int]], elapsed: float, at_once: int
) -> float | None:
    """Seconds, from what each arm's solves took in this run, and how many of it are left.

    Arms differ in what they cost, so each has its own pace; how many seconds of solving pass in one
    of ours is what it was until now. None until every arm that is to go on has shown its pace, and
    as many solves are done as are asked at once.
    """
    known = list(arms)
    done = [seconds for fresh, _ in known for seconds in fresh]
    if len(done) < at_once or any(left and not fresh for fresh, left in known):
        return 0.0 if not any(left for _, left in known) else None
    to_do = sum(left * fmean(fresh) for fresh, left in known if left)
    return to_do * elapsed / max(sum(done), 1e-9)


@contextmanager
def watching(view: View, console: Console | None = None) -> Iterator[Tell]:
    """Gives what to tell the solves to, and shows the view while the block runs."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        with Live(view, console=console, refresh_per_second=2, transient=True):
            yield view.add
        return
    said = time.monotonic()

    def tell(solve: Solve) -> None:
        nonlocal said
        view.add(solve)
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            print(view.line(), file=sys.stderr, flush=True)

    yield tell


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % score interval of a share."""
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    spread *= z / (1 + z * z / total)
    return centre - spread, centre + spread


def _cells(arm: Tally) -> tuple[str, ...]:
    done = len(arm.answered)
    if not done:
        return f"0/{arm.total}", "", "", "", "", str(arm.failed or "")
    low, high = wilson(arm.right, done)
    return (
        f"{done}/{arm.total}",
        f"{arm.right / done:.1%}",
        f"{low:.0%} to {high:.0%}",
        f"{arm.mean('completion'):,.0f}",
        f"{arm.mean('total'):,.0f}",
        str(arm.failed or ""),
    )

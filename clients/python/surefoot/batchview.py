"""What a person sees of a batch: a line for each failure, and on a terminal how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from surefoot.batchfile import Entry, Result, Standing
from surefoot.live import one_line


@contextmanager
def watching(
    total: int, standing: Standing, at_once: int, console: Console | None = None
) -> Iterator[Callable[[Entry, Result], None]]:
    """Gives what to tell the results to; of `total` requests, some are answered already."""
    console = console or Console(stderr=True)
    columns = (BarColumn(), _Count(), _TimeLeft(len(standing.answered), at_once))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        before = len(standing.answered)
        bar = progress.add_task("", total=total, completed=before, failed=standing.failed)

        def tell(entry: Entry, result: Result) -> None:
            if result.failed:
                words = Text(failure(entry, result))
                progress.console.print(words, soft_wrap=True, highlight=False)
            failed = progress.tasks[bar].fields["failed"] + result.failed
            progress.update(bar, advance=1, failed=failed)

        yield tell


def failure(entry: Entry, result: Result) -> str:
    said = result.error
    kind, message = ("", "") if said is None else (said.code, said.message)
    if result.response is not None:
        error = result.response.body.get("error")
        message = str(error.get("message")) if isinstance(error, dict) else ""
        kind = f"status {result.response.status_code}"
    return one_line(f"surefoot: line {entry.line}, {entry.custom_id}: {kind}: {message}")


def time_left(done: int, left: int, seconds: float, at_once: int) -> float | None:
    """Seconds, at the pace of all that this run has `done` in so many `seconds`.

    None until as many are done as are asked at once: the first to come say nothing of the pace.
    """
    return None if done < at_once else left * seconds / done


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        failed = task.fields["failed"]
        words = f"{task.completed:,.0f} of {task.total:,.0f}"
        return Text(words + (f", {failed:,} failed" if failed else ""), "red" if failed else "")


class _TimeLeft(ProgressColumn):
    def __init__(self, before: int, at_once: int) -> None:
        super().__init__()
        self._before, self._at_once = before, at_once

    def render(self, task: Task) -> Text:
        done, left = int(task.completed) - self._before, int(task.remaining or 0)
        seconds = time_left(done, left, task.elapsed or 0.0, self._at_once)
        if seconds is None:
            return Text("time left not known yet", "dim")
        minutes, rest = divmod(round(seconds), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{rest:02} left", "cyan")

"""What a person sees of kept solves: a table of many, the paths and calls of one."""

from datetime import datetime

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from surefoot.live import clean, one_line, scored
from surefoot.types import Call, Trace, TracePage, TracePath, TraceSummary

OUTCOME = {"solved": "green", "failed": "bold red", "cancelled": "yellow"}


def show_list(page: TracePage) -> None:
    """Two lines each, which a terminal of 80 columns holds with the whole id."""
    table = Table("made", "id", "outcome", box=None, padding=(0, 2, 0, 0))
    table.add_column("score", justify="right")
    table.add_row("strategy", "question", "answer", "tokens", style="bold")
    for each in page.data:
        table.add_row(*_row(each))
    console = Console(highlight=False)
    console.print(table)
    if page.next_cursor:
        console.print(Text(f"more: --cursor {page.next_cursor}", "dim"), soft_wrap=True)


def show(trace: Trace) -> None:
    Console(highlight=False).print(*_parts(trace), sep="\n")


def _row(each: TraceSummary) -> list[RenderableType]:
    outcome = "verified" if each.verified else clean(each.outcome)
    return [
        _stacked(_time(each.created), each.strategy, 16),
        _stacked(each.id, each.question, 38),
        _stacked(outcome, each.answer, 10, OUTCOME.get(each.outcome, "")),
        Text("\n").join([scored(each.score), Text(f"{each.tokens:,}")]),
    ]


def _stacked(first: str, second: str | None, width: int, style: str = "") -> Text:
    below = Text(one_line(second or "-"), "dim")
    below.truncate(width, overflow="ellipsis")
    return Text("\n").join([Text(one_line(first), style), below])


def _parts(trace: Trace) -> list[RenderableType]:
    question = trace.messages[-1].content
    hidden = f"{trace.messages[-1].length} characters, not kept"
    said = Panel(Text(clean(hidden if question is None else question)), title="question")
    heads = [
        f"{trace.id}  {_time(trace.created)}  {trace.route}",
        f"{trace.model}, {trace.verifier}",
        ", ".join(f"{name} {value}" for name, value in trace.strategy.items()),
    ]
    paths = [part for number, path in enumerate(trace.paths) for part in _path(trace, number, path)]
    warnings = [Text(clean(f"warning: {warning}"), "yellow") for warning in trace.warnings]
    head = [Text(clean(line), "dim") for line in heads]
    return [*head, said, *paths, _outcome(trace), *warnings, _calls(trace)]


def _path(trace: Trace, number: int, path: TracePath) -> list[RenderableType]:
    words = f"sample {path.sample}, round {path.round}: answer {path.answer or '-'}"
    title = Text(one_line(words), "bold magenta")
    title.append("  returned" if number == trace.chosen else "", "bold green")
    table = Table.grid("", "", "", "", padding=(0, 1))
    for step in path.steps:
        weak = Text("weak", "bold red") if step.step == path.first_weak else Text("")
        kept = Text("kept", "green") if step.step <= path.kept else weak
        text = f"{step.length} characters" if step.text is None else step.text
        table.add_row(str(step.step), scored(step.score), kept, Text(clean(text)))
    return [title, table]


def _outcome(trace: Trace) -> Text:
    if trace.error is not None:
        return Text(clean(f"failed: {trace.error.message}"), OUTCOME["failed"])
    if trace.outcome != "solved":
        return Text(clean(trace.outcome), OUTCOME.get(trace.outcome, ""))
    checked = "verified" if trace.verified else "not verified"
    words = f"answer: {trace.answer or '-'} ({checked}, {trace.stop_reason})"
    return Text(clean(words), "bold green" if trace.verified else "bold yellow")


def _calls(trace: Trace) -> Table:
    table = Table("call", "paths", "began", "took", "prompt", "cached", "generated", "verifier")
    for column in table.columns[1:]:
        column.justify = "right"
    for call in trace.calls:
        table.add_row(*_call(call))
    spent, cost = trace.usage, trace.usage.policy
    tokens = (cost.prompt, cost.cached, cost.completion, spent.verifier.tokens)
    took = f"{trace.seconds:.2f} s"
    table.add_section()
    table.add_row("in all", "", "", took, *(f"{count:,}" for count in tokens), style="bold")
    table.caption = f"{spent.total:,} tokens computed, {spent.wasted:,} generated for nothing"
    return table


def _call(call: Call) -> list[str]:
    policy = (call.policy.prompt, call.policy.cached, call.policy.completion)
    tokens = (*policy, call.verifier.tokens)
    times = (f"{call.began:.2f} s", f"{call.seconds:.2f} s")
    return [clean(call.kind), str(call.paths), *times, *(f"{count:,}" for count in tokens)]


def _time(created: str) -> str:
    try:
        return f"{datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return one_line(created)

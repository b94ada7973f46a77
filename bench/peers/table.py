"""What a contest came to, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

from bench.peers.contest import OURS, Outcome, Task
from bench.report.document import Document, Section, Table
from bench.view import wilson

COLUMNS = (
    "who",
    "right, %",
    "failed",
    "wall, s",
    "times ours",
    "median, s",
    "calls",
    "prompt",
    "of it cached",
    "generated",
    "computed",
    "claims generated",
    "claims prompt",
    "own verifier's",
)


def document(task: Task, outcomes: Sequence[Outcome]) -> Document:
    lead = [
        f"{len(task.items)} questions, {task.n} samples, {task.at_once} clients at once, at most "
        f"{task.max_tokens} tokens a sample, temperature {task.temperature:g}. "
        f"Policy: {task.model}.",
        "Tokens were counted by a meter before the engine; beside them stands what each claims. "
        "A verifier that our service hosts itself is not behind the meter: its tokens are the "
        "service's word, and its time is in the wall time.",
    ]
    ways = dict.fromkeys(outcome.way for outcome in outcomes)
    sections = [
        Section(way, [Table(COLUMNS, _rows([o for o in outcomes if o.way == way]))]) for way in ways
    ]
    return Document("Beside other projects", lead, sections)


def as_json(task: Task, outcomes: Sequence[Outcome]) -> str:
    rows = [asdict(outcome) | {"computed": outcome.metered.computed} for outcome in outcomes]
    return json.dumps(task.settings | {"outcomes": rows})


def _rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    base = next((outcome.wall for outcome in outcomes if outcome.name == OURS), None)
    return [_row(outcome, base) for outcome in outcomes]


def _row(outcome: Outcome, base: float | None) -> tuple[str, ...]:
    low, high = wilson(outcome.right, outcome.questions)
    metered, claimed = outcome.metered, outcome.claimed
    counts = (metered.calls, metered.prompt, metered.cached, metered.completion, metered.computed)
    return (
        outcome.name,
        f"{100 * outcome.right / outcome.questions:.1f} ({100 * low:.1f} to {100 * high:.1f})",
        str(outcome.failed or ""),
        f"{outcome.wall:.1f}",
        f"{outcome.wall / base:.2f}" if base else "–",
        f"{median(outcome.seconds):.1f}",
        *(f"{count:,}" for count in counts),
        *(f"{claimed[k]:,}" if k in claimed else "–" for k in ("completion", "prompt", "verifier")),
    )

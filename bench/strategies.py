"""Twenty GSM8K questions through POST /solve with each strategy: accuracy, tokens, seconds.

A first look, with the interval that twenty questions deserve. Run, with a service up:
python -m bench.strategies --server http://127.0.0.1:8321
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from surefoot import Client, Solution
from verifier.answers import Grader

QUESTIONS = Path(__file__).with_name("data") / "gsm8k-20.jsonl"
STRATEGIES = (
    {"name": "single"},
    {"name": "stepco"},
    {"name": "self_consistency", "n": 5},
    {"name": "best_of_n", "n": 5},
)


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % score interval of a share."""
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    spread *= z / (1 + z * z / total)
    return round(centre - spread, 3), round(centre + spread, 3)


def run(client: Client, strategy: dict[str, Any], rows: list[dict[str, str]]) -> dict[str, Any]:
    began = time.monotonic()
    budget = {"max_tokens": 16_384, "deadline_ms": 600_000}
    sampling = {"seed": 0}
    solved = [
        client.solve(
            row["question"], strategy=strategy, budget=budget, sampling=sampling, baseline="none"
        )
        for row in rows
    ]
    seconds = time.monotonic() - began
    right = asyncio.run(grade(rows, solved))
    usages = [each.usage for each in solved]
    return {
        "strategy": " ".join(str(value) for value in strategy.values()),
        "accuracy": right / len(rows),
        "interval": wilson(right, len(rows)),
        "prompt": sum(usage.policy.prompt for usage in usages),
        "cached": sum(usage.policy.cached for usage in usages),
        "generated": sum(usage.policy.completion for usage in usages),
        "verifier": sum(usage.verifier.tokens for usage in usages),
        "computed": sum(usage.total for usage in usages),
        "rounds": sum(len(each.rounds) for each in solved),
        "verified": sum(each.verified for each in solved),
        "seconds": round(seconds, 1),
    }


async def grade(rows: list[dict[str, str]], solved: list[Solution]) -> int:
    grader = Grader()
    pairs = zip(rows, solved, strict=True)
    right = [s.answer is not None and await grader.same(r["answer"], s.answer) for r, s in pairs]
    grader.close()
    return sum(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8321")
    parser.add_argument("--data", type=Path, default=QUESTIONS)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.data.read_text(encoding="utf-8").splitlines()]
    results, console = [], Console()
    with Client(given.server, timeout=700) as client:
        for strategy in STRATEGIES:
            results.append(run(client, strategy, rows))
            console.print(results[-1])
    table = Table(*results[0])
    for result in results:
        table.add_row(*(str(value) for value in result.values()))
    console.print(table)
    print(json.dumps({"questions": len(rows), "results": results}))


if __name__ == "__main__":
    main()

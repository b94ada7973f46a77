"""The README's picture: a real solve, as the terminal shows it at its end.

Run, with a service up: python -m bench.picture > docs/solve.svg
"""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path

from rich.console import Console

from surefoot import Client
from surefoot.live import Scene

QUESTIONS = Path(__file__).with_name("data") / "gsm8k-20.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8321")
    parser.add_argument("--question", type=int, default=0, help="its row, from 0")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threshold", type=float, default=0.6)
    given = parser.parse_args()
    row = QUESTIONS.read_text(encoding="utf-8").splitlines()[given.question]
    question = json.loads(row)["question"]
    scene = Scene(question)
    with (
        Client(given.server) as client,
        client.stream(
            question,
            strategy={"name": "stepco", "threshold": given.threshold, "max_rounds": 2},
            sampling={"seed": given.seed},
        ) as events,
    ):
        for event in events:
            scene.hear(event)
    scene.over = True
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(scene)
    picture = console.export_svg(title="surefoot solve")
    print(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL))  # no fonts from elsewhere


if __name__ == "__main__":
    main()

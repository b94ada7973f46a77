"""What Inspect's provider `openai-api/` sees in an evaluation."""

import json
import os
import sys
from typing import Any

ASKED = json.loads(sys.argv[1])
os.environ |= {"SUREFOOT_API_KEY": "-", "SUREFOOT_BASE_URL": ASKED["url"]}

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate


def ask(question: str, name: str = "surefoot-stepco", stream: bool = False, **more: Any) -> Any:
    config = GenerateConfig(seed=7, max_retries=0, **more)
    model = get_model(f"openai-api/surefoot/{name}", config=config, stream=stream)
    samples = [Sample(ASKED[question], target="18")]
    task = Task(dataset=samples, solver=generate(), scorer=match(numeric=True))
    (log,) = eval(task, model, display="none", log_dir="logs", score_display=False)
    return log


def answer(log: Any) -> dict[str, Any]:
    output = log.samples[0].output
    content = output.message.content
    parts = content if isinstance(content, list) else []
    return {
        "text": output.completion,
        "reasoning": "".join(part.reasoning for part in parts if part.type == "reasoning"),
        "usage": [output.usage.input_tokens, output.usage.output_tokens],
        "finish": output.stop_reason,
        "accuracy": log.results.scores[0].metrics["accuracy"].value,
    }


def outcome(log: Any) -> dict[str, Any]:
    return answer(log) if log.status == "success" else {"message": log.error.traceback}


told = {
    "plain": outcome(ask("sum")),
    "stream": outcome(ask("sum", stream=True)),
    "cut": outcome(ask("cut", max_tokens=30)),
    "unknown": outcome(ask("sum", name="gpt-9")),
    "away": outcome(ask("away")),
    "breaks": outcome(ask("breaks", stream=True)),
}
print(json.dumps(told))

"""What the `llm` command's models see, set up by `extra-openai-models.yaml` alone."""

import json
import os
import sys
from pathlib import Path
from typing import Any

ASKED = json.loads(sys.argv[1])
Path("extra-openai-models.yaml").write_text(
    "".join(
        f"- model_id: {name}\n  model_name: {name}\n  api_base: {ASKED['url']}\n"
        for name in ("surefoot-stepco", "gpt-9")
    ),
    encoding="utf-8",
)
os.environ["LLM_USER_PATH"] = str(Path.cwd())

import llm
import openai


def ask(question: str, model: str = "surefoot-stepco", stream: bool = False, **more: Any) -> Any:
    return llm.get_model(model).prompt(ASKED[question], stream=stream, key="-", seed=7, **more)


def answer(response: Any) -> dict[str, Any]:
    text, usage = response.text(), response.usage()
    return {"text": text, "usage": [usage.input, usage.output]}


def failure(error: Exception) -> dict[str, Any]:
    cause = error.__cause__ or error
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None) or getattr(cause, "status_code", None),
        "message": str(error),
    }


told: dict[str, Any] = {}
for name, question, more in (
    ("plain", "sum", {}),
    ("stream", "sum", {"stream": True}),
    ("cut", "cut", {"max_tokens": 30}),
    ("biased", "sum", {"logit_bias": {"18": 100}}),
    ("unknown", "sum", {"model": "gpt-9"}),
    ("away", "away", {}),
    ("breaks", "breaks", {"stream": True}),
):
    try:
        told[name] = answer(ask(question, **more))
    except (openai.APIError, llm.ModelError) as error:
        told[name] = failure(error)
print(json.dumps(told))

"""What LiteLLM's own client sees, by its provider `openai/`."""

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it fetches prices when it is imported

import litellm
import openai

ASKED = json.loads(sys.argv[1])


def ask(question: str, model: str = "openai/surefoot-stepco", **more: Any) -> Any:
    messages = [{"role": "user", "content": ASKED[question]}]
    return litellm.completion(
        model, messages, api_base=ASKED["url"], api_key="-", seed=7, max_retries=0, **more
    )


def answer(completion: Any) -> dict[str, Any]:
    choice = completion.choices[0]
    return {
        "text": choice.message.content,
        "reasoning": choice.message.reasoning_content,
        "usage": [completion.usage.prompt_tokens, completion.usage.completion_tokens],
        "finish": choice.finish_reason,
    }


def failure(error: Exception) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "message": str(error),
    }


told: dict[str, Any] = {}
for name, question, more in (
    ("plain", "sum", {}),
    ("cut", "cut", {"max_completion_tokens": 30}),
    ("bad", "sum", {"temperature": 5}),
    ("unknown", "sum", {"model": "openai/gpt-9"}),
    ("away", "away", {}),
):
    try:
        told[name] = answer(ask(question, **more))
    except openai.APIError as error:
        told[name] = failure(error)

streaming = {"stream": True, "stream_options": {"include_usage": True}}
told["stream"] = answer(litellm.stream_chunk_builder(list(ask("sum", **streaming))))
try:
    list(ask("breaks", **streaming))
except openai.APIError as error:
    told["breaks"] = failure(error)
print(json.dumps(told))

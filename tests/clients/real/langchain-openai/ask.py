"""What LangChain's ChatOpenAI sees."""

import json
import sys
from typing import Any

import openai
from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI

ASKED = json.loads(sys.argv[1])


def chat(model: str = "surefoot-stepco", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=ASKED["url"], api_key="-", model=model, seed=7, max_retries=0, **more
    )


def answer(message: BaseMessage) -> dict[str, Any]:
    usage = message.usage_metadata
    return {
        "text": message.content,
        "usage": [usage["input_tokens"], usage["output_tokens"]],
        "finish": message.response_metadata["finish_reason"],
    }


def failure(error: openai.APIError) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "message": str(error),
    }


told: dict[str, Any] = {}
for name, model, question in (
    ("plain", chat(), "sum"),
    ("cut", chat(max_completion_tokens=30), "cut"),
    ("bad", chat(temperature=5), "sum"),
    ("unknown", chat("gpt-9"), "sum"),
    ("away", chat(), "away"),
):
    try:
        told[name] = answer(model.invoke(ASKED[question]))
    except openai.APIError as error:
        told[name] = failure(error)

whole = None
for chunk in chat(stream_usage=True).stream(ASKED["sum"]):
    whole = chunk if whole is None else whole + chunk
told["stream"] = answer(whole)
try:
    list(chat().stream(ASKED["breaks"]))
except openai.APIError as error:
    told["breaks"] = failure(error)
print(json.dumps(told))

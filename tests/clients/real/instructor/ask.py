"""What Instructor sees: objects out of Markdown, and a clear refusal where it wants tools."""

import json
import sys
from typing import Any

import instructor
import openai
from instructor.core import InstructorRetryException
from pydantic import BaseModel

ASKED = json.loads(sys.argv[1])


class Fact(BaseModel):
    city: str
    country: str


def ask(mode: instructor.Mode, model: str = "surefoot-stepco", question: str = "fact") -> Any:
    client = openai.OpenAI(base_url=ASKED["url"], api_key="-", max_retries=0)
    return instructor.from_openai(client, mode=mode).chat.completions.create_with_completion(
        model=model,
        messages=[{"role": "user", "content": ASKED[question]}],
        response_model=Fact,
        max_retries=1,
        seed=7,
    )


def watch(question: str) -> None:
    """Ask for an object that fills as it streams."""
    client = openai.OpenAI(base_url=ASKED["url"], api_key="-", max_retries=0)
    partial = instructor.from_openai(client, mode=instructor.Mode.MD_JSON).create_partial
    turns = [{"role": "user", "content": ASKED[question]}]
    for _ in partial(model="surefoot-stepco", messages=turns, response_model=Fact, max_retries=1):
        pass


def failure(error: Exception) -> dict[str, Any]:
    cause = error
    while not isinstance(cause, openai.APIError) and cause.__cause__:
        cause = cause.__cause__
    return {
        "class": type(error).__name__,
        "status": getattr(cause, "status_code", None),
        "message": str(error),
    }


fact, completion = ask(instructor.Mode.MD_JSON)
told: dict[str, Any] = {
    "fact": fact.model_dump(),
    "usage": [completion.usage.prompt_tokens, completion.usage.completion_tokens],
}
for name, asked in (
    ("tools", {"mode": instructor.Mode.TOOLS}),
    ("json", {"mode": instructor.Mode.JSON}),
    ("unknown", {"mode": instructor.Mode.MD_JSON, "model": "gpt-9"}),
    ("away", {"mode": instructor.Mode.MD_JSON, "question": "away"}),
):
    try:
        ask(**asked)
    except (InstructorRetryException, openai.APIError) as error:
        told[name] = failure(error)
try:
    watch("breaks")
except (InstructorRetryException, openai.APIError) as error:
    told["breaks"] = failure(error)
print(json.dumps(told))

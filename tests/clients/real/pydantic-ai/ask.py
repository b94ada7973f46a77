"""What a Pydantic AI agent sees, thinking included."""

import asyncio
import json
import sys
from typing import Any

import openai
from pydantic_ai import Agent, AgentRunResult
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

ASKED = json.loads(sys.argv[1])


def agent(model: str = "surefoot-stepco", **settings: Any) -> Agent:
    client = openai.AsyncOpenAI(base_url=ASKED["url"], api_key="-", max_retries=0)
    provider = OpenAIProvider(openai_client=client)
    return Agent(OpenAIChatModel(model, provider=provider), model_settings={"seed": 7, **settings})


def answer(result: AgentRunResult | Any, text: str) -> dict[str, Any]:
    response = result.all_messages()[-1]
    usage = response.usage
    thoughts = [part.content for part in response.parts if isinstance(part, ThinkingPart)]
    return {
        "text": text,
        "reasoning": "".join(thoughts),
        "usage": [usage.input_tokens, usage.output_tokens],
        "finish": response.finish_reason,
    }


def failure(error: Exception) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "message": str(error),
    }


async def streamed(question: str) -> dict[str, Any]:
    async with agent().run_stream(ASKED[question]) as result:
        text = "".join([part async for part in result.stream_text(delta=True, debounce_by=None)])
        return answer(result, text)


async def main() -> None:
    told: dict[str, Any] = {}
    for name, each, question in (
        ("plain", agent(), "sum"),
        ("cut", agent(max_tokens=30), "cut"),
        ("bad", agent(temperature=5), "sum"),
        ("unknown", agent("gpt-9"), "sum"),
        ("away", agent(), "away"),
    ):
        try:
            result = await each.run(ASKED[question])
            told[name] = answer(result, result.output)
        except ModelHTTPError as error:
            told[name] = failure(error)
    told["stream"] = await streamed("sum")
    try:
        await streamed("breaks")
    except (ModelAPIError, openai.APIError) as error:
        told["breaks"] = failure(error)
    print(json.dumps(told))


asyncio.run(main())

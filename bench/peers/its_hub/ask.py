"""its_hub's BestOfN and SelfConsistency, as its README has them, on the questions of stdin.

The judge is the policy itself, with the judge's prompt and form of answer that its_hub ships; votes
are by what is boxed, with the projection that it ships.
"""

import asyncio
import json
import sys
import time

from its_hub.core.algorithms.bon import BestOfN
from its_hub.core.algorithms.self_consistency import (
    SelfConsistency,
    create_regex_projection_function,
)
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
from its_hub.core.reward_models.llm_judge import LLMJudge

BOXED = r"\\boxed\{([^{}]*)\}"


async def main(task):
    def model(**settings):
        return OpenAICompatibleLanguageModel(
            f"{task['engine']}/v1", "-", task["model"], system_prompt=task["system"], **settings
        )

    policy = model(temperature=task["temperature"], max_completion_tokens=task["max_tokens"])
    judge = OpenAICompatibleLanguageModel(
        f"{task['engine']}/v1", "-", task["model"], temperature=0, max_completion_tokens=256
    )
    way = (
        BestOfN(LLMJudge(judge))
        if task["way"] == "best_of_n"
        else SelfConsistency(create_regex_projection_function(BOXED))
    )
    waiting = iter(task["questions"])

    async def work():
        for question in waiting:
            began = time.monotonic()
            try:
                told = await way.ainfer(policy, question["text"], task["n"], False)
                text, claim = told.the_one["content"], told.usage
                claimed = {"prompt": claim.prompt_tokens, "completion": claim.completion_tokens}
            except Exception as error:
                text, claimed = None, {}
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            seconds = time.monotonic() - began
            row = {"id": question["id"], "text": text, "seconds": seconds, "claimed": claimed}
            print(json.dumps(row), flush=True)

    began = time.monotonic()
    async with policy, judge:
        await asyncio.gather(*(work() for _ in range(task["at_once"])))
    print(json.dumps({"wall": time.monotonic() - began}))


asyncio.run(main(json.load(sys.stdin)))

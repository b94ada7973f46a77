"""A policy and its verifier with no model: arithmetic by rule, with slips.

`ScriptedEngine` plays back what a function writes, token by token where a delay is set, and counts
like a real engine. `rehearse` is the default script: it adds up the numbers of the question, a step
each, and now and then makes a slip; `ArithmeticVerifier` doubts every step whose sum is wrong. So
StepCo, Best-of-N, budgets and cancels can be tried, tested and load-tested with no model at all.
What it does not do: language. Questions that are no sums get a sum all the same.
"""

import asyncio
import math
import random
import re
from collections.abc import Callable, Sequence

from service.engines.base import (
    Completion,
    Numbers,
    Prompt,
    Sampling,
    Told,
    Usage,
    Watch,
    at,
    numbers,
    unwatched,
)
from verifier.scoring import EVEN, Aggregate, Chain, Cost, Meter, Score, Verdict, unmetered
from verifier.together import together

Script = Callable[[Prompt, random.Random], str]
"""What follows a prompt's prefix, drawn with the generator given."""

TOKEN = re.compile(r"\s*\S+|\s+")
SUM = re.compile(r"(-?\d+) \+ (-?\d+) = (-?\d+)")
SLIPS = 0.3  # how often a step of the rehearsal is wrong
SURE = 0.9  # how probable it finds every number that it writes


class ScriptedEngine:
    """A `Backend`. Tokens are words; `delay` seconds pass before each; `spent` counts them all."""

    name = "scripted"

    def __init__(
        self, script: Script | None = None, delay: float = 0.0, begins_turns: bool = True
    ) -> None:
        self.begins_turns = begins_turns
        self.spent = Usage()
        self._script = script or rehearse
        self._delay = delay
        self._entropy = random.Random()

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        if len(prompts) == 1:  # without the price of a task group
            return [await self._complete(prompts[0], sampling, watch, 0, shared=False)]
        return await together(
            self._complete(prompt, sampling, watch, i, shared=prompt in prompts[:i])
            for i, prompt in enumerate(prompts)
        )

    async def measure(self, prompts: Sequence[Prompt]) -> list[int]:
        return [_count(prompt) for prompt in prompts]

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def _complete(
        self, prompt: Prompt, sampling: Sampling, watch: Watch, index: int, *, shared: bool
    ) -> Completion:
        told = Told(watch, index)
        seed = at(sampling, index).seed
        text = self._script(prompt, random.Random(seed) if seed is not None else self._entropy)
        tokens = _until(text, sampling.stop)
        size = _count(prompt)
        self._tell(told, "", Usage(prompt=size, cached=size if shared else 0, calls=1))
        wanted = tokens[: sampling.max_tokens]
        if not self._delay:
            usage = Usage(completion=len(wanted))
            self._tell(told, "".join(wanted), usage, _sure(wanted, sampling))
        else:
            for token in wanted:
                await asyncio.sleep(self._delay)
                if not self._tell(told, token, Usage(completion=1), _sure([token], sampling)):
                    return told.complete("aborted")
        return told.complete("stop" if len(tokens) <= sampling.max_tokens else "length")

    def _tell(self, told: Told, text: str, usage: Usage, numbers: Numbers = ()) -> bool:
        self.spent += usage
        return told(text, usage, numbers)


def _sure(tokens: Sequence[str], sampling: Sampling) -> Numbers:
    return numbers((token, math.log(SURE)) for token in tokens if sampling.certainty)


def _count(prompt: Prompt) -> int:
    texts = [message.content for message in prompt.messages] + [prompt.prefix]
    return sum(len(TOKEN.findall(text)) for text in texts)


def _until(text: str, stops: Sequence[str]) -> list[str]:
    ends = [text.find(stop) for stop in stops if stop in text]
    return TOKEN.findall(text[: min(ends)] if ends else text)


def rehearse(prompt: Prompt, rng: random.Random) -> str:
    """The sum of the question's numbers in steps, from wherever the turn has been begun."""
    question = prompt.messages[-1].content
    numbers = [int(n) for n in re.findall(r"\d{1,9}", question.partition("\n")[0])] or [0]
    written = SUM.findall(prompt.prefix)
    total = int(written[-1][2]) if written else 0
    lines = []
    for number in numbers[len(written) :]:
        slip = rng.choice((1, 10)) if rng.random() < SLIPS else 0
        lines.append(f"{total} + {number} = {total + number + slip}.")
        total += number + slip
    steps = [f"Step {k}: {line}" for k, line in enumerate(lines, len(written) + 1)]
    answer = f"Answer: \\boxed{{{total}}}"
    text = "\n".join([*steps, answer])
    opening = f"Step {len(written) + 1}:"
    return text.removeprefix(opening) if prompt.prefix.endswith(opening) else text


class ArithmeticVerifier:
    """A `VerifierBackend`: a step is right when every sum in it is; a word costs a token."""

    name, threshold, heeds = "arithmetic", EVEN, False
    aggregate: Aggregate = "last"

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        verdicts = [self._judge(chain) for chain in chains]
        meter(sum((verdict.cost for verdict in verdicts), Cost()))
        return verdicts

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return [self._weigh(chain) for chain in chains]

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _judge(self, chain: Chain) -> Verdict:
        scores, sound = [], True
        for step in chain.steps:
            sound &= all(int(a) + int(b) == int(c) for a, b, c in SUM.findall(step))
            scores.append(Score(0.95, 0.9) if sound else Score(0.05, 0.1))
        return Verdict(tuple(scores), Cost(self._weigh(chain), len(chain.steps)))

    def _weigh(self, chain: Chain) -> int:
        return sum(len(TOKEN.findall(text)) for text in (chain.question, *chain.steps))

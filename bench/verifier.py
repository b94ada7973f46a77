"""What verifying a path costs: five steps from nothing, then the same path revised from step 4.

The verifier that the settings name, on questions that differ from their first word on, so that
nothing is cached but the chat template. Medians; a prefill is the whole path computed once.
Run: python -m bench.verifier
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from statistics import median

from service.assembly import load_verifier
from service.settings import Settings
from verifier.scoring import Chain, Verdict, VerifierBackend

WARM_UP, *NAMES = "Aisha", "Bruno", "Carmen", "Deepak", "Elena", "Farid"
QUESTION = (
    "{name} runs a bakery six days a week. Every day {name} bakes 48 loaves and 36 rolls. A loaf "
    "sells for 4 dollars and a roll for 50 cents. A quarter of the loaves and a third of the rolls "
    "are left over and given away. How many dollars does {name} take in a week?"
)
STEPS = (
    "First we find how many loaves are sold in a day. A quarter of the 48 loaves are left over, "
    "which is 48 / 4 = 12 loaves, so 48 - 12 = 36 loaves are sold.",
    "Then we find how many rolls are sold in a day. A third of the 36 rolls are left over, which "
    "is 36 / 3 = 12 rolls, so 36 - 12 = 24 rolls are sold.",
    "Every loaf sells for 4 dollars, so the bread brings in 36 * 4 = 144 dollars.",
    "Every roll sells for half a dollar, so the rolls bring in 24 * 0.5 = 12 dollars.",
    "Together that makes 144 + 12 = 156 dollars a day, and 156 * 6 = 936 dollars in six days.\n"
    "Answer: \\boxed{936}",
)
KEPT = 3
REVISED = "The rolls bring in less: at 50 cents each, 24 of them make 12 dollars."


@dataclass(frozen=True, slots=True)
class Run:
    seconds: float
    tokens: int
    prefill: int


async def run(verifier: VerifierBackend, chain: Chain) -> tuple[Run, Verdict]:
    started = time.perf_counter()
    (verdict,) = await verifier.score([chain])
    seconds = time.perf_counter() - started
    (prefill,) = await verifier.measure([replace(chain, known=verdict.scores[:-1])])
    return Run(seconds, verdict.cost.tokens, prefill), verdict


async def pair(verifier: VerifierBackend, name: str) -> tuple[Run, Run]:
    """A path from nothing, and its revision."""
    chain = Chain(QUESTION.format(name=name), STEPS)
    fresh, verdict = await run(verifier, chain)
    steps = (*STEPS[:KEPT], REVISED, *STEPS[KEPT + 1 :])
    revised, _ = await run(verifier, replace(chain, steps=steps, known=verdict.scores[:KEPT]))
    return fresh, revised


async def measure() -> dict[str, object]:
    verifier = await load_verifier(Settings())
    await pair(verifier, WARM_UP)
    pairs = [await pair(verifier, name) for name in NAMES]
    await verifier.close()
    fresh, revised = zip(*pairs, strict=True)
    head: dict[str, object] = {"verifier": verifier.name, "steps": len(STEPS)}
    return head | told("fresh", fresh) | told("revised", revised)


def told(kind: str, runs: tuple[Run, ...]) -> dict[str, object]:
    tokens = median(run.tokens for run in runs)
    prefills = tokens / median(run.prefill for run in runs)
    return {
        f"{kind}_seconds": round(median(run.seconds for run in runs), 3),
        f"{kind}_tokens": tokens,
        f"{kind}_prefills": round(prefills, 3),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))

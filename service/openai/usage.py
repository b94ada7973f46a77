"""Tokens, as OpenAI counts them for a caller and as they were computed."""

from service.engines.base import Prompt
from service.ledger import Ledger
from service.solver import Solver, Task
from service.wire import Reply


class PromptDetails(Reply):
    cached_tokens: int


class CompletionDetails(Reply):
    reasoning_tokens: int
    """All that was generated and is not the visible answer."""
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Compute(Reply):
    """The ledger: prefill + generated + verifier is all that was computed for the request."""

    calls: int
    prefill: int
    cached: int
    generated: int
    verifier: int
    wasted: int
    """Of generated: in calls that came to nothing."""


class Usage(Reply):
    prompt_tokens: int
    """The caller's conversation, once."""
    completion_tokens: int
    """All that the policy generated for the request."""
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails
    compute: Compute


def compute(ledger: Ledger) -> Compute:
    policy = ledger.policy
    return Compute(
        calls=policy.calls,
        prefill=policy.prompt - policy.cached,
        cached=policy.cached,
        generated=policy.completion,
        verifier=ledger.verifier.tokens,
        wasted=ledger.wasted,
    )


def usage(ledger: Ledger, prompt: int, cached: int, visible: int) -> Usage:
    generated = ledger.policy.completion
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=generated,
        total_tokens=prompt + generated,
        prompt_tokens_details=PromptDetails(cached_tokens=min(prompt, cached)),
        completion_tokens_details=CompletionDetails(reasoning_tokens=max(0, generated - visible)),
        compute=compute(ledger),
    )


async def prompt_tokens(solver: Solver, task: Task, sent: int) -> int:
    """Tokens of the caller's own conversation in a prompt of `sent` tokens that led with ours.

    Exact where the engine's measure is; elsewhere its share of the prompt by that measure.
    """
    prompt = task.question.prompt(solver.engine.begins_turns)
    own, whole = await solver.engine.measure([Prompt(task.question.messages), prompt])
    return round(sent * own / whole)

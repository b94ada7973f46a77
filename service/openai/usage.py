"""Tokens, as OpenAI counts them for a caller and as they were computed."""

from dataclasses import dataclass
from typing import Literal

from service.engines import base as policy
from service.engines.base import Prompt
from service.ledger import Ledger
from service.solver import Solver, Task
from service.wire import Reply


class PromptDetails(Reply):
    cached_tokens: int


class CompletionDetails(Reply):
    reasoning_tokens: int
    """All that was generated and is not the visible answer."""
    accepted_prediction_tokens: Literal[0]
    rejected_prediction_tokens: Literal[0]


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
    spent = ledger.policy
    return Compute(
        calls=spent.calls,
        prefill=spent.prompt - spent.cached,
        cached=spent.cached,
        generated=spent.completion,
        verifier=ledger.verifier.tokens,
        wasted=ledger.wasted,
    )


@dataclass(frozen=True, slots=True)
class Conversation:
    """Tokens of the caller's own turns in a prompt, and how many of those were cached."""

    tokens: int
    cached: int


async def conversation(solver: Solver, task: Task, call: policy.Usage) -> Conversation:
    """The caller's share of a draft's prompt, which was led by our format if it was in steps.

    Exact where the engine's measure is; elsewhere in the proportion of that measure.
    """
    prompt = task.question.prompt(solver.engine.begins_turns)
    own, whole = await solver.engine.measure([Prompt(task.question.messages), prompt])
    tokens = round(call.prompt * own / whole)
    return Conversation(tokens, max(0, call.cached - (call.prompt - tokens)))


def usage(ledger: Ledger, asked: Conversation, visible: int) -> Usage:
    generated = ledger.policy.completion
    return Usage(
        prompt_tokens=asked.tokens,
        completion_tokens=generated,
        total_tokens=asked.tokens + generated,
        prompt_tokens_details=PromptDetails(cached_tokens=asked.cached),
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=max(0, generated - visible),
            accepted_prediction_tokens=0,
            rejected_prediction_tokens=0,
        ),
        compute=compute(ledger),
    )

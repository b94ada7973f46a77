"""From a request to the solver's task: the conversation, the budget, how to draw."""

from service.engines.base import Sampling
from service.ledger import Budget
from service.openai.problem import is_problem
from service.openai.request import Asked, Effort
from service.solver import Task
from service.strategies import Adaptive, AnyStrategy, Single, StepCo
from service.strategies.attempt import Form, Question
from service.wire import SamplingShape

EFFORTS: dict[Effort, int] = {
    "none": 512,
    "minimal": 1024,
    "low": 4096,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 65_536,
}
"""Tokens that may be generated, where no limit is given."""

SHORTEST, ROOMY = 512, 2048  # tokens of one path


def task(asked: Asked, deadline_ms: int) -> Task:
    knobs = asked.surefoot
    most = budget(asked)
    instructions = [turn.content for turn in asked.turns if turn.role == "system"]
    form: Form = "steps" if is_problem(asked.turns[-1].content, instructions) else "free"
    return Task(
        question=Question(asked.turns, sampling(asked, most), form=form),
        strategy=knobs.strategy,
        budget=Budget(most, knobs.budget.max_compute_tokens, deadline_ms),
        baseline=knobs.baseline,
        cache_salt=knobs.cache_salt,
    )


def budget(asked: Asked) -> int:
    """Tokens that may be generated: a limit goes before an effort, which goes before our own."""
    own = asked.surefoot.budget
    if asked.most_tokens:
        return asked.most_tokens
    if asked.effort and "max_tokens" not in own.model_fields_set:
        return EFFORTS[asked.effort]
    return own.max_tokens


def sampling(asked: Asked, most: int) -> Sampling:
    house = SamplingShape()
    return Sampling(
        temperature=house.temperature if asked.temperature is None else asked.temperature,
        top_p=house.top_p if asked.top_p is None else asked.top_p,
        max_tokens=longest(asked.surefoot.strategy, most),
        seed=None if asked.seed is None else asked.seed % 2**31,
    )


def longest(strategy: AnyStrategy, budget: int) -> int:
    """Tokens of one path: samples share the budget, a path to be revised leaves some of it."""
    match strategy:
        case Single():
            return budget
        case StepCo() | Adaptive():
            return max(ROOMY, budget // 4)
        case _:
            return max(SHORTEST, budget // strategy.n)

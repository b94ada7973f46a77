"""What a solve gives back, and what is told on the way, as frozen values.

Steps are numbered from 1, rounds and samples from 0; round 0 is the draft. A step's `round` is
the one it was written in; a round's `first_weak` is the step that the next one revises from.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """Probabilities. `correct`: the step holds no error, if none before it does. `value`: the path
    will end right.
    """

    correct: float
    value: float


@dataclass(frozen=True, slots=True)
class Step:
    step: int
    text: str
    round: int
    score: Score | None


@dataclass(frozen=True, slots=True)
class Round:
    round: int
    kept: int
    first_weak: int | None
    score: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Candidate:
    sample: int
    answer: str | None
    score: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class PolicyTokens:
    prompt: int
    cached: int
    completion: int
    calls: int


@dataclass(frozen=True, slots=True)
class VerifierTokens:
    tokens: int
    calls: int


@dataclass(frozen=True, slots=True)
class Usage:
    policy: PolicyTokens
    verifier: VerifierTokens
    wasted: int
    total: int


@dataclass(frozen=True, slots=True)
class Baseline:
    strategy: str
    n: int
    kind: str
    policy: PolicyTokens
    verifier: VerifierTokens
    total: int
    answer: str | None
    saving: float


@dataclass(frozen=True, slots=True)
class Solution:
    id: str
    answer: str | None
    verified: bool
    score: float | None
    strategy: str
    stop_reason: str
    steps: tuple[Step, ...]
    rounds: tuple[Round, ...]
    candidates: tuple[Candidate, ...]
    usage: Usage
    baseline: Baseline | None
    warnings: tuple[str, ...]
    model: str
    verifier: str | None
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class StepWritten:
    round: int
    sample: int
    step: int
    text: str


@dataclass(frozen=True, slots=True)
class Drafted:
    round: int
    sample: int
    steps: tuple[str, ...]
    answer: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Verified:
    round: int
    sample: int
    scores: tuple[Score, ...]
    first_weak: int | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Revised:
    round: int
    kept: int
    first_weak: int | None
    score: float | None
    steps: tuple[str, ...]
    answer: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class CandidateFound(Candidate): ...


@dataclass(frozen=True, slots=True)
class Done:
    solution: Solution


Event = StepWritten | Drafted | Verified | Revised | CandidateFound | Done

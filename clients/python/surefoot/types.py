"""What a solve gives back, what is told on the way, and what is kept of it, as frozen values.

Steps are numbered from 1, rounds and samples from 0; round 0 is the draft. A step's `round` is
the one it was written in; a round's `first_weak` is the step that the next one revises from. In a
trace, texts are None where the server keeps no content.
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
    round: int = 0


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
class Turn:
    role: str
    content: str | None
    length: int


@dataclass(frozen=True, slots=True)
class TraceStep:
    step: int
    text: str | None
    length: int
    round: int
    score: Score | None


@dataclass(frozen=True, slots=True)
class TracePath:
    """`kept` steps stand as the path before had them; `group` is the first path that agrees."""

    sample: int
    round: int
    kept: int
    first_weak: int | None
    verified: bool
    steps: tuple[TraceStep, ...]
    answer: str | None
    group: int | None
    policy: PolicyTokens
    verifier: VerifierTokens


@dataclass(frozen=True, slots=True)
class Call:
    """One call of engine or verifier: when it began and how long it took, in seconds."""

    kind: str
    paths: int
    began: float
    seconds: float
    policy: PolicyTokens
    verifier: VerifierTokens
    wasted: int


@dataclass(frozen=True, slots=True)
class Failure:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Trace:
    """`chosen` is the path that was returned; `outcome` is solved, failed or cancelled."""

    id: str
    created: str
    tenant: str
    route: str
    outcome: str
    error: Failure | None
    content: bool
    messages: tuple[Turn, ...]
    form: str
    strategy: dict[str, object]
    sampling: dict[str, object]
    budget: dict[str, object]
    model: str
    verifier: str
    threshold: Score
    rounds: tuple[Round, ...]
    paths: tuple[TracePath, ...]
    candidates: tuple[Candidate, ...]
    chosen: int | None
    answer: str | None
    verified: bool
    score: float | None
    stop_reason: str | None
    warnings: tuple[str, ...]
    baseline: Baseline | None
    usage: Usage
    calls: tuple[Call, ...]
    seconds: float


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
    trace: Trace | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response of OpenAI's API, its body as it came."""

    status_code: int
    request_id: str | None
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """`question` and `answer` are their beginnings; `tokens` were computed in all."""

    id: str
    created: str
    route: str
    strategy: str
    outcome: str
    model: str
    verifier: str
    question: str | None
    answer: str | None
    verified: bool
    score: float | None
    stop_reason: str | None
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TracePage:
    data: tuple[TraceSummary, ...]
    next_cursor: str | None


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
    sample: int = 0


@dataclass(frozen=True, slots=True)
class CandidateFound(Candidate): ...


@dataclass(frozen=True, slots=True)
class Done:
    solution: Solution


Event = StepWritten | Drafted | Verified | Revised | CandidateFound | Done

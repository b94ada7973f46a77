"""Parts that die in the middle of a solve: an error or a flagged answer, and all is well after."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from staging import Playback, Shortsighted, StatedVerifier, service

from service.engines.base import Completion, Prompt, Sampling, Told, Usage, Watch, unwatched
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import ContextLengthExceeded, EngineError, EngineUnavailable, ServiceError
from service.settings import Settings
from verifier.scoring import (
    Chain,
    Cost,
    Meter,
    Score,
    Verdict,
    VerifierError,
    unmetered,
)

SUM = "What is 3 and 4 and 5 and 6?"
DEGRADE = Settings(verifier_down="degrade")
STRATEGIES: list[dict[str, Any]] = [
    {"name": "single"},
    {"name": "stepco"},
    {"name": "best_of_n", "n": 5},
]


def ask(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/solve", json={"problem": SUM, "sampling": {"seed": 7}} | body)


class Failing(ArithmeticVerifier):
    """A verifier that fails while it is told to."""

    def __init__(self) -> None:
        self.down = True

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        if self.down:
            raise VerifierError("it is down")
        return await super().score(chains, meter)

    async def check(self) -> None:
        if self.down:
            raise VerifierError("it is down")


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda it: it["name"])
def test_without_its_verifier_a_solve_fails_or_says_that_nothing_was_verified(
    strategy: dict[str, Any],
) -> None:
    verifier = Failing()
    with service(verifier=verifier) as client:
        assert ask(client, strategy=strategy).status_code == 503
        verifier.down = False
        assert ask(client, strategy=strategy).status_code == 200
    verifier.down = True
    with service(verifier=verifier, settings=DEGRADE) as client:
        degraded = ask(client, strategy=strategy).json()
        verifier.down = False
        sound = ask(client, strategy=strategy).json()

    assert (degraded["stop_reason"], degraded["verified"]) == ("verifier_lost", False)
    assert any("nothing was verified" in warning for warning in degraded["warnings"])
    assert sound["stop_reason"] in ("accepted", "sampled", "max_rounds")


@pytest.mark.parametrize("path", ["/solve", "/v1/chat/completions", "/v1/responses"])
def test_an_answer_that_lost_the_verifier_has_a_header_that_says_so(path: str) -> None:
    verifier, model = Failing(), {"model": "surefoot-best-of-n"}
    bodies: dict[str, dict[str, Any]] = {
        "/solve": {"problem": SUM, "strategy": "best_of_n"},
        "/v1/chat/completions": model | {"messages": [{"role": "user", "content": SUM}]},
        "/v1/responses": model | {"input": SUM},
    }
    body = bodies[path]
    with service(verifier=verifier, settings=DEGRADE) as client:
        degraded = client.post(path, json=body)
        verifier.down = False
        sound = client.post(path, json=body)

    assert (degraded.status_code, sound.status_code) == (200, 200)
    assert degraded.headers["x-surefoot-warning"] == "verifier_lost"
    assert "x-surefoot-warning" not in sound.headers


def test_the_majority_answers_where_the_verifier_does_not() -> None:
    texts = iter(["4", "5", "4", "6", "4"])
    engine = ScriptedEngine(lambda *_: f"Step 1: a\nAnswer: \\boxed{{{next(texts)}}}")
    with service(engine, Failing(), settings=DEGRADE) as client:
        degraded = ask(client, strategy={"name": "best_of_n", "n": 5}).json()

    assert (degraded["answer"], degraded["score"]) == ("4", 0.6)


def test_a_verifier_that_is_down_with_no_answer_to_vote_on_is_an_error_all_the_same() -> None:
    engine = ScriptedEngine(lambda *_: "Step 1: a")
    with service(engine, Failing(), settings=DEGRADE) as client:
        assert ask(client, strategy="single").status_code == 503


NONSENSE = {
    "nan": lambda chain: Verdict((Score(math.nan, 0.5),) * len(chain.steps)),
    "infinite": lambda chain: Verdict((Score(0.5, math.inf),) * len(chain.steps)),
    "above one": lambda chain: Verdict((Score(1.5, 0.5),) * len(chain.steps)),
    "below nothing": lambda chain: Verdict((Score(0.5, -0.1),) * len(chain.steps)),
    "too few": lambda chain: Verdict((Score(0.5, 0.5),) * (len(chain.steps) - 1)),
    "too many": lambda chain: Verdict((Score(0.5, 0.5),) * (len(chain.steps) + 1)),
}


@pytest.mark.parametrize("settings", [None, DEGRADE], ids=["fail", "degrade"])
@pytest.mark.parametrize("kind", NONSENSE)
def test_scores_that_cannot_be_are_never_an_answers(kind: str, settings: Settings | None) -> None:
    class Nonsense(StatedVerifier):
        async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
            return [NONSENSE[kind](chain) for chain in chains]

    with service(verifier=Nonsense(), settings=settings) as client:
        response = ask(client)

    if settings is None:
        assert (response.status_code, response.json()["error"]["code"]) == (
            503,
            "verifier_unavailable",
        )
    else:
        assert (response.json()["verified"], response.json()["score"]) == (False, 1.0)


class Dying(ScriptedEngine):
    """An engine that dies in the call of this number, after a few tokens, until it is revived."""

    def __init__(self, call: int, error: ServiceError) -> None:
        super().__init__()
        self.calls, self.error, self.dies_in = 0, error, call

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        self.calls += 1
        if self.calls == self.dies_in:
            cut = Sampling(max_tokens=3, seed=1)
            await super().complete(prompts, cut, lambda it: it.finish is not None or watch(it))
            raise self.error
        return await super().complete(prompts, sampling, watch)


@pytest.mark.parametrize("error", [EngineError("garbage"), EngineUnavailable("gone")], ids=repr)
def test_an_engine_that_dies_in_a_revision_leaves_the_best_path_so_far_and_it_is_said(
    error: EngineError,
) -> None:
    engine = Dying(2, error)
    with service(engine) as client:
        lost, after = ask(client), ask(client)

    solved = lost.json()
    assert lost.status_code == 200
    assert (solved["stop_reason"], solved["verified"]) == ("engine_lost", False)
    assert any("engine failed" in warning for warning in solved["warnings"])
    assert lost.headers["x-surefoot-warning"] == "engine_lost"
    assert solved["usage"]["wasted"] == 3
    assert after.json()["stop_reason"] == "accepted"


DRAFT = " a\nStep 2: b (0.2)\nAnswer: \\boxed{2}"
LONG = " c\nStep 3: d\nAnswer: \\boxed{3}"
SHORT = " e\nAnswer: \\boxed{4}"


def read(steps: int, strategy: dict[str, Any], *texts: str) -> dict[str, Any]:
    """What comes of the texts under a verifier that reads so many steps."""
    with service(ScriptedEngine(Playback(*texts)), Shortsighted(steps)) as client:
        found: dict[str, Any] = ask(client, strategy=strategy, baseline="none").json()
    return found


@pytest.mark.parametrize("steps", [0, 1])
def test_a_path_of_which_nothing_can_be_read_leaves_the_best_one_before(steps: int) -> None:
    """What outgrew the verifier was told as its failure, and all that was paid for was lost."""
    draft = " 2 (0.2)\nAnswer: \\boxed{2}"
    found = read(steps, {"name": "stepco"}, draft, " 3\nStep 2: c\nAnswer: \\boxed{3}")

    assert ("too_long", False, "2") == (found["stop_reason"], found["verified"], found["answer"])
    assert any("longer than the models can read" in warning for warning in found["warnings"])
    assert found["steps"][0]["score"] == ({"correct": 0.2, "value": 0.2} if steps else None)


def test_a_revision_that_outgrows_the_verifier_is_in_doubt_from_where_it_is_unread() -> None:
    found = read(2, {"name": "stepco"}, DRAFT, LONG, SHORT)

    assert ("accepted", True, "4") == (found["stop_reason"], found["verified"], found["answer"])
    assert [0, 1, 1] == [each["kept"] for each in found["rounds"]]
    assert [2, 2, None] == [each["first_weak"] for each in found["rounds"]]
    assert ["1 of 1 paths are longer than the verifier can read."] == found["warnings"]


def test_what_was_read_of_it_while_it_was_written_is_kept() -> None:
    strategy = {"name": "stepco", "stream": True, "max_rounds": 2}
    found = read(2, strategy, DRAFT, LONG, SHORT, SHORT)

    assert "max_rounds" == found["stop_reason"]
    assert [0, 1, 2] == [each["kept"] for each in found["rounds"]][:3]


def test_a_sample_that_outgrows_the_verifier_costs_no_other_its_verdict() -> None:
    """One that went in circles ended Best-of-N with nothing verified."""
    whole = " a (0.6)\nAnswer: \\boxed{5}"
    found = read(2, {"name": "best_of_n", "n": 3}, f" a\nStep 2: b\nStep 3:{LONG}", SHORT, whole)

    assert ("sampled", True, "4") == (found["stop_reason"], found["verified"], found["answer"])
    assert [None, 0.9, 0.6] == [each["score"] for each in found["candidates"]]
    assert ["1 of 3 paths are longer than the verifier can read."] == found["warnings"]


def test_a_path_that_outgrows_the_verifier_has_its_vote() -> None:
    agreeing = [" e\nAnswer: \\boxed{3}"] * 9
    long = " a\nStep 2: b\nStep 3: c\nAnswer: \\boxed{3}"
    found = read(2, {"name": "adaptive", "max_paths": 9}, SHORT, long, *agreeing)

    assert ("agreed", "3") == (found["stop_reason"], found["answer"])
    assert [0.9, None] == [each["score"] for each in found["candidates"]][:2]


@pytest.mark.parametrize("name", ["beam_search", "dvts", "particle_filter"])
def test_a_search_goes_on_beside_a_path_that_outgrows_the_verifier(name: str) -> None:
    long = " a\nStep 2: b", " c\nStep 3: d", *[" f\nAnswer: \\boxed{3}"] * 9
    found = read(1, {"name": name, "n": 2}, *long)

    assert ("sampled", False, "3") == (found["stop_reason"], found["verified"], found["answer"])
    assert "2 of 2 paths are longer than the verifier can read." in found["warnings"]


def test_a_path_longer_than_the_policy_can_read_leaves_the_best_one_before() -> None:
    with service(Dying(2, ContextLengthExceeded("it is too long"))) as client:
        found = ask(client).json()

    assert "too_long" == found["stop_reason"]
    assert found["answer"] is not None


def test_a_question_longer_than_the_policy_can_read_is_refused() -> None:
    with service(Dying(1, ContextLengthExceeded("it is too long"))) as client:
        answer = ask(client)

    assert (400, "context_length_exceeded") == (answer.status_code, answer.json()["error"]["code"])


def test_a_further_answer_that_fails_does_not_lose_the_first() -> None:
    turns = [{"role": "user", "content": SUM}]
    body = {"model": "surefoot-single", "messages": turns, "n": 3}
    with service(Dying(2, EngineUnavailable("gone"))) as client:
        answer = client.post("/v1/chat/completions", json=body).json()

    assert len(answer["choices"]) == 1
    assert answer["surefoot"]["warnings"] == ["1 of 3 answers: a further one failed."]


def test_an_engine_that_dies_in_the_draft_is_an_error_that_nobody_pays_for_again() -> None:
    with service(Dying(1, EngineUnavailable("gone"))) as client:
        lost = ask(client)
        after = ask(client)

    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "engine_unavailable")
    assert lost.headers["x-should-retry"] == "false"
    assert after.status_code == 200


def test_an_engine_that_is_gone_before_it_wrote_a_word_may_be_asked_again() -> None:
    class Gone(ScriptedEngine):
        async def complete(self, *_: Any) -> list[Completion]:
            raise EngineUnavailable("gone")

    with service(Gone()) as client:
        lost = ask(client)

    assert lost.headers["x-should-retry"] == "true"


class Miscounting(ScriptedEngine):
    """An engine that says it has written so many tokens, whatever it wrote."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        told = Told(watch, 0)
        told("Step 1: a\nAnswer: 1", Usage(9, 0, self._count, 1))
        return [told.complete("stop")]


@pytest.mark.parametrize("count", [-1, 513, 10**9])
def test_a_count_that_cannot_be_is_an_error_and_not_a_number(count: int) -> None:
    with service(Miscounting(count)) as client:
        response = ask(client, strategy="single")

    assert (response.status_code, response.json()["error"]["code"]) == (502, "engine_error")


class Hanging(ArithmeticVerifier):
    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        meter(Cost(5, 1))
        await asyncio.sleep(60)
        return []

    async def check(self) -> None:
        await asyncio.sleep(60)


def test_a_verifier_that_hangs_hangs_nobody() -> None:
    with service(verifier=Hanging()) as client:
        solved = ask(client, budget={"deadline_ms": 300}).json()

    assert (solved["stop_reason"], solved["verified"]) == ("deadline", False)
    assert solved["steps"]
    assert solved["usage"]["verifier"] == {"tokens": 5, "calls": 1}

"""A kept solve chosen anew: the same by the same terms, and what other terms change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from staging import Playback, Shortsighted, StatedVerifier
from typer.testing import CliRunner, Result

from service import rescoring
from service.engines.base import Message, Sampling, Usage
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.events import unheard
from service.ledger import Budget
from service.solver import Solver, Task
from service.strategies import (
    DVTS,
    Adaptive,
    BeamSearch,
    BestOfN,
    ParticleFilter,
    SelfConsistency,
    Single,
    StepCo,
)
from service.strategies.attempt import Form, Question
from service.strategies.base import Strategy
from service.traces.replay import NotReplayable, Replayed, Terms, replay
from service.traces.store import Store
from service.traces.trace import KEYLESS, Origin, Trace
from service.traces.tracing import traced
from verifier.answers import Grader
from verifier.scoring import EVEN, Chain, Meter, Verdict, VerifierBackend, unmetered

SUM = "What is 3 and 4 and 5 and 6?"
ROOMY = Budget(10_000, None, 60_000)


def solved(
    strategy: Strategy,
    seed: int = 7,
    budget: Budget = ROOMY,
    engine: ScriptedEngine | None = None,
    verifier: VerifierBackend | None = None,
    form: Form = "steps",
) -> Trace:
    async def solve() -> Trace:
        chosen = verifier or ArithmeticVerifier()
        question = Question((Message("user", SUM),), Sampling(seed=seed), form)
        task = Task(question, strategy, budget, "none")
        report = await Solver(engine or ScriptedEngine(), chosen, Grader()).solve(task, unheard)
        origin = Origin(
            KEYLESS, "/solve", "scripted", chosen.name, chosen.threshold, chosen.aggregate
        )
        return traced(report, origin)

    return asyncio.run(solve())


def again(trace: Trace, terms: Terms = Terms(), by: VerifierBackend | None = None) -> Replayed:  # noqa: B008
    return asyncio.run(replay(trace, terms, Grader(), by))


def written(*texts: str) -> ScriptedEngine:
    return ScriptedEngine(Playback(*texts))


STRATEGIES: list[Strategy] = [
    StepCo(),
    StepCo(revise="rewrite", select="last"),
    StepCo(accept="value", stop="repeated", monotone=False, max_rounds=2),
    StepCo(stream=True, locate="both"),
    StepCo(revise="restart", locate="random"),
    Adaptive(),
    Adaptive(max_paths=7, candidates=3, abstain_below=0.9),
    BestOfN(n=4),
    BestOfN(n=5, select="weighted_vote", aggregate="min"),
    SelfConsistency(n=5),
    SelfConsistency(n=9, confidence=0.8),
    BeamSearch(n=6, width=2),
    DVTS(n=6, width=3),
    ParticleFilter(n=5),
    Single(),
]
BUDGETS = [ROOMY, Budget(60, None, 60_000), Budget(10_000, 260, 60_000)]


@pytest.mark.parametrize("budget", BUDGETS, ids=["roomy", "few tokens", "little compute"])
@pytest.mark.parametrize("content", [True, False], ids=["texts", "no texts"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_by_the_same_terms_the_choice_is_the_same(
    strategy: Strategy, content: bool, budget: Budget
) -> None:
    for seed in range(6):
        trace = solved(strategy, seed, budget)

        told = again(trace if content else trace.without_content())

        assert not told.changed
        assert told.before is not None
        assert told.before == told.after
        assert all(path.before == path.after for path in told.paths)


def test_by_the_same_verifier_the_scores_are_the_same() -> None:
    trace = solved(StepCo())

    told = again(trace, by=ArithmeticVerifier())

    assert [path.before for path in told.paths] == [path.after for path in told.paths]
    assert told.before == told.after


@pytest.mark.parametrize("strategy", [StepCo(max_rounds=1), BestOfN(n=2)], ids=str)
def test_a_path_that_outgrew_the_verifier_is_chosen_from_as_it_was(strategy: Strategy) -> None:
    engine = written(" a\nStep 2: b (0.2)\nAnswer: 2", " c\nStep 3: d\nStep 4: e\nAnswer: 3")
    trace = solved(strategy, engine=engine, verifier=Shortsighted(2))

    told = again(trace)

    assert told.before == told.after
    assert told.diverged is None
    assert all(path.before == path.after for path in told.paths)


def test_another_aggregate_may_choose_another_candidate() -> None:
    engine = written(" a (0.9)\nStep 2: b (0.3)\nStep 3: c (0.9)\nAnswer: 1", " a (0.8)\nAnswer: 2")
    trace = solved(BestOfN(n=2), engine=engine, verifier=StatedVerifier())

    told = again(trace, Terms(aggregate="min"))

    assert told.before is not None
    assert told.after is not None
    assert ("1", "2", True) == (told.before.answer, told.after.answer, told.changed)
    assert 0.8 == told.after.score


def test_a_trace_is_chosen_from_anew_by_the_aggregate_that_it_was_chosen_by() -> None:
    engine = written(" a (0.9)\nStep 2: b (0.3)\nStep 3: c (0.9)\nAnswer: 1", " a (0.8)\nAnswer: 2")
    trace = solved(BestOfN(n=2), engine=engine, verifier=StatedVerifier(aggregate="min"))

    told = again(trace)

    assert ("2", 0.8) == (trace.answer, trace.score)
    assert told.before == told.after


def test_another_threshold_flags_another_step_and_what_was_never_written_ends_it() -> None:
    trace = solved(
        StepCo(max_rounds=1),
        engine=written(" a (0.9)\nStep 2: b (0.6)\nStep 3: c (0.3)\nAnswer: 1", " d\nAnswer: 2"),
        verifier=StatedVerifier(),
    )

    told = again(trace, Terms(threshold=0.7))

    assert (3, 2) == (told.paths[0].before.first_weak, told.paths[0].after.first_weak)
    assert told.diverged is not None
    assert "step 2" in told.diverged
    assert told.changed


def test_a_lower_threshold_accepts_the_draft() -> None:
    engine = written(" a (0.4)\nAnswer: 1", " b (0.9)\nAnswer: 2")
    trace = solved(StepCo(), engine=engine, verifier=StatedVerifier())

    told = again(trace, Terms(threshold=0.3))

    assert told.before is not None
    assert told.after is not None
    assert (told.before.answer, told.after.answer, told.after.verified) == ("2", "1", True)
    assert told.diverged is None


class Contrary(StatedVerifier):
    """Likes what the steps say is bad."""

    name = "contrary"

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        return [
            Verdict(tuple(replace(s, correct=1 - s.correct, value=1 - s.value) for s in it.scores))
            for it in await super().score(chains, meter)
        ]


def test_another_verifier_scores_every_path_without_the_engine() -> None:
    engine = written(" a (0.9)\nAnswer: 1", " b (0.2)\nAnswer: 2", " c (0.6)\nAnswer: 3")
    trace = solved(BestOfN(n=3), engine=engine, verifier=StatedVerifier())
    spent, verifier = engine.spent, Contrary()

    told = again(trace, by=verifier)

    assert ("contrary", "2", True) == (
        told.verifier,
        told.after and told.after.answer,
        told.changed,
    )
    assert [SUM] * 3 == [chain.question for chain in verifier.chains]
    assert spent == engine.spent != Usage()


@pytest.mark.parametrize("content", [True, False], ids=["texts", "no texts"])
@pytest.mark.parametrize("terms", [Terms(), Terms(threshold=0.95), Terms(threshold=0.1)], ids=str)
def test_free_text_without_an_answer_is_not_revised_in_a_replay_either(
    terms: Terms, content: bool
) -> None:
    engine = written("Soft rain, (0.2)\n\nand then sun. (0.6)")
    trace = solved(StepCo(), engine=engine, verifier=StatedVerifier(), form="free")

    told = again(trace if content else trace.without_content(), terms)

    assert (None, False) == (told.diverged, told.changed)
    assert told.after is not None
    assert (0, None, False) == (told.after.round, told.after.answer, told.after.verified)


def test_free_text_that_states_an_answer_is_judged_by_it_in_a_replay() -> None:
    engine = written("It is (0.2) so.\n\nAnswer: 3", "It is (0.9) so.\n\nAnswer: 4")
    trace = solved(StepCo(), engine=engine, verifier=StatedVerifier(), form="free")

    told = again(trace, Terms(threshold=0.1))

    assert told.before is not None
    assert told.after is not None
    assert ("4", "3", True) == (told.before.answer, told.after.answer, told.changed)


def test_what_a_strategy_has_no_knob_for_is_said() -> None:
    told = again(solved(Single()), Terms(aggregate="min", threshold=0.9))

    assert ("aggregate",) == told.ignored


def test_without_texts_a_verifier_has_nothing_to_read() -> None:
    with pytest.raises(NotReplayable, match="texts were not kept"):
        again(solved(Single()).without_content(), by=ArithmeticVerifier())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Trace]:
    """Three traces in the store that the settings name: one of each kind, one without texts."""
    url = f"sqlite:///{tmp_path}/traces.db"
    monkeypatch.setenv("SUREFOOT_TRACES", url)
    monkeypatch.setenv("SUREFOOT_ENGINE", "scripted")
    engine = written(" a (0.9)\nStep 2: b (0.3)\nStep 3: c (0.9)\nAnswer: 1", " a (0.8)\nAnswer: 2")
    best = solved(BestOfN(n=2), engine=engine, verifier=StatedVerifier())
    kept = [best, solved(StepCo()), solved(Single()).without_content()]

    async def add() -> None:
        store = Store(url)
        await store.add(kept)
        await store.close()

    asyncio.run(add())
    return kept


def run(*args: str) -> Result:
    app = typer.Typer()
    app.command()(rescoring.rescore)
    return CliRunner().invoke(app, args)


def test_one_trace_is_shown_old_against_new(store: list[Trace]) -> None:
    done = run(store[0].id, "--aggregate", "min")

    assert 0 == done.exit_code, done.output
    for words in (store[0].id, "another answer: 1", "→ 2", "1 traces: 1 with another answer"):
        assert words in done.stdout


def test_with_an_aggregate_or_threshold_alone_no_model_is_loaded(
    store: list[Trace], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise AssertionError("a verifier was loaded")

    monkeypatch.setattr("service.assembly.load_verifier", refuse)

    assert 0 == run("--all", "--aggregate", "mean", "--threshold", "0.4").exit_code


def test_all_traces_are_scored_anew_a_line_of_json_each(store: list[Trace]) -> None:
    done = run("--all", "--verifier", "judge", "--json")

    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {trace.id for trace in store[:2]} == {each["id"] for each in told}
    assert {"arithmetic"} == {each["verifier"] for each in told}
    assert f"{store[2].id}: left out. Its texts were not kept" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "give --all"),
        (["x", "--all"], "give --all"),
        (["solve-" + "0" * 32], "There is no trace solve-0"),
        (["--all", "--verifier", "guess"], "verifier"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    store: list[Trace], args: list[str], said: str
) -> None:
    done = run(*args)

    assert 4 == done.exit_code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_off_has_nothing_to_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_TRACES", "off")

    assert "SUREFOOT_TRACES" in run("--all").stderr


def test_even_is_what_the_arithmetic_verifier_goes_by() -> None:
    assert solved(Single()).threshold == EVEN

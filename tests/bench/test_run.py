"""`surefoot bench run` against scripted parts: every solve once, whatever happens."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from staging import service
from stub import SOLUTION, Handler, Stub, answers, breaks, playing, refuses
from typer.testing import CliRunner, Result

from bench.arms import parsed
from bench.commands import bench
from bench.questions import Item
from bench.runner import wanted
from bench.solves import FILE, Key, Solve, alone, read
from bench.view import View, time_left, watching, wilson
from service.engines.scripted import ScriptedEngine

AWAY = answers(
    {"error": {"message": "The engine does not answer.", "code": "engine_unavailable"}},
    503,
    **{"x-should-retry": "false"},
)
SUMS = [((3, 4), 7), ((5, 6, 7), 18), ((20, 1), 21)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with service() as client:
        yield str(client.base_url)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    file = tmp_path / "sums.jsonl"
    rows = [
        {
            "id": str(n),
            "question": f"What is {' and '.join(map(str, parts))}?",
            "answer": str(total),
        }
        for n, (parts, total) in enumerate(SUMS)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def run(url: str, sums: Path, arms: Sequence[str], *more: str) -> Result:
    named = [word for arm in arms for word in ("--arm", arm)]
    out = str(sums.parent / "out")
    return CliRunner().invoke(
        bench, ["run", str(sums), *named, "--out", out, "--server", url, *more]
    )


def kept(sums: Path) -> dict[Key, Solve]:
    return read(sums.parent / "out")


def test_every_question_is_solved_by_every_arm_with_every_seed_and_graded(
    url: str, sums: Path
) -> None:
    result = run(url, sums, ["stepco", "many=best_of_n:n=3"], "--seed", "1", "--seed", "2")

    assert 0 == result.exit_code, result.output
    solves = kept(sums).values()
    assert Counter({("stepco", 1): 3, ("stepco", 2): 3, ("many", 1): 3, ("many", 2): 3}) == Counter(
        (solve.arm, solve.seed) for solve in solves
    )
    for solve in solves:
        assert solve.solution
        assert solve.right == (solve.solution.answer == solve.gold)
        paths = [path.answer == solve.gold for path in solve.solution.trace.paths]
        assert tuple(paths) == solve.paths_right
    assert {3} == {len(s.paths_right) for s in solves if s.arm == "many"}


def test_the_last_line_is_json_of_what_the_arms_came_to(url: str, sums: Path) -> None:
    result = run(url, sums, ["stepco"])

    told = json.loads(result.stdout.splitlines()[-1])
    solutions = [solve.solution for solve in kept(sums).values() if solve.solution]
    generated = sum(solution.usage.policy.completion for solution in solutions)
    assert 0 == told["missing"]
    assert {"solves": 3, "right": 3} == {k: told["arms"]["stepco"][k] for k in ("solves", "right")}
    assert generated == pytest.approx(3 * told["arms"]["stepco"]["generated"])


def test_a_killed_run_pays_for_nothing_twice(sums: Path) -> None:
    engine = ScriptedEngine()
    with service(engine) as client:
        url = str(client.base_url)
        run(url, sums, ["stepco", "single"])
        whole, spent = (sums.parent / "out" / FILE).read_text(encoding="utf-8"), engine.spent
        lines = whole.splitlines(keepends=True)
        lost = json.loads(lines[-1])["solution"]["usage"]["policy"]["completion"]
        (sums.parent / "out" / FILE).write_text("".join(lines[:-1]) + lines[-1][:40], "utf-8")

        again = run(url, sums, ["stepco", "single"])

    assert 0 == again.exit_code
    assert 6 == len(kept(sums))
    assert lost == engine.spent.completion - spent.completion


def test_a_run_with_more_questions_arms_and_seeds_asks_for_what_is_new(
    url: str, sums: Path
) -> None:
    run(url, sums, ["stepco"], "--questions", "2")
    before = kept(sums)

    run(url, sums, ["stepco", "single"], "--seed", "0", "--seed", "5")

    assert 12 == len(kept(sums))
    assert before.items() <= kept(sums).items()


def test_an_arm_of_the_same_name_that_asks_for_something_else_is_refused(
    url: str, sums: Path
) -> None:
    run(url, sums, ["mine=stepco"])

    result = run(url, sums, ["mine=stepco:max_rounds=1"])

    assert 4 == result.exit_code
    assert "give this one another name" in result.stderr


def test_records_of_two_models_are_not_mixed(sums: Path) -> None:
    with playing() as stub:
        plain = SOLUTION | {"trace": trace()}
        stub.plays(answers(plain), answers(plain | {"model": "another"}))

        result = run(stub.url, sums, ["stepco"], "--at-once", "1")

    assert 4 == result.exit_code
    assert "would mix" in result.stderr
    assert {"scripted"} == {s.solution.model for s in kept(sums).values() if s.solution}


def test_a_matched_arm_may_spend_on_each_question_what_the_other_spent(
    url: str, sums: Path
) -> None:
    run(url, sums, ["stepco", "sc=self_consistency:n=64,match.generated=stepco"])

    solves = kept(sums)
    for key in (key for key in solves if key.arm == "sc"):
        one, other = solves[key].solution, solves[key._replace(arm="stepco")].solution
        assert one
        assert other
        assert one.usage.policy.completion == other.usage.policy.completion
        assert solves[key].asked["budget"]["max_tokens"] == other.usage.policy.completion


def test_a_resumed_run_knows_the_budgets_of_matched_arms(url: str, sums: Path) -> None:
    arms = ["stepco", "sc=self_consistency:n=64,match.computed=stepco"]
    run(url, sums, arms)
    before = kept(sums)

    assert 0 == run(url, sums, arms).exit_code
    assert before == kept(sums)


def test_an_arm_that_the_server_refuses_ends_the_run_with_its_reason(url: str, sums: Path) -> None:
    result = run(url, sums, ["stepco:max_round=3"])

    assert 4 == result.exit_code
    assert "the arm stepco:max_round=3 was refused: strategy.max_round" in result.stderr
    assert {} == kept(sums)


def test_a_solve_that_failed_is_missing_until_a_later_run_has_it(sums: Path, stub: Stub) -> None:
    fine = answers(SOLUTION | {"trace": trace()})
    stub.plays(refuses(502, "The engine is gone."), fine)

    first = run(stub.url, sums, ["stepco"], "--at-once", "1")
    errors = [solve.error for solve in kept(sums).values() if solve.solution is None]
    second = run(stub.url, sums, ["stepco"], "--at-once", "1")

    assert (1, ["The engine is gone."]) == (first.exit_code, errors)
    assert (0, 3) == (second.exit_code, len([s for s in kept(sums).values() if s.solution]))


def test_no_solve_finds_what_another_has_left_in_a_cache(sums: Path, stub: Stub) -> None:
    """Arms share their seeds: whoever asked second was charged too little for the same text."""
    stub.plays(answers(SOLUTION | {"trace": trace()}))

    run(stub.url, sums, ["stepco", "single"], "--seed", "1", "--seed", "2")

    assert 12 == len({it["cache_salt"] for it in stub.asked})


def test_a_run_waits_for_an_engine_that_went_away(sums: Path, stub: Stub) -> None:
    """An engine that died once cost all solves that were left: each failed within a second."""
    stub.plays(AWAY, AWAY, answers({}), answers(SOLUTION | {"trace": trace()}))

    result = run(stub.url, sums, ["stepco"], "--at-once", "1")

    assert ["/solve", "/ready", "/ready", "/solve", "/solve"] == [it["path"] for it in stub.asked]
    assert 1 == result.exit_code
    assert 2 == len([solve for solve in kept(sums).values() if solve.solution])


def test_a_run_ends_when_the_engine_stays_away(
    sums: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.runner.PATIENCE", 1.0)
    stub.plays(AWAY)

    result = run(stub.url, sums, ["stepco"], "--at-once", "1")

    assert ["/solve", "/ready"] == [it["path"] for it in stub.asked]
    assert 4 == result.exit_code
    assert "The engine does not answer." in result.stderr


def test_a_connection_that_breaks_while_a_run_waits_does_not_end_it(sums: Path, stub: Stub) -> None:
    """It ended one of hours, which nobody watched."""
    stub.plays(AWAY, breaks(), answers({}), answers(SOLUTION | {"trace": trace()}))

    result = run(stub.url, sums, ["stepco"], "--at-once", "1")

    assert ["/solve", "/ready", "/ready", "/solve", "/solve"] == [it["path"] for it in stub.asked]
    assert 1 == result.exit_code


def test_a_run_ends_when_the_server_leaves_and_stays_away(
    sums: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.runner.PATIENCE", 1.0)

    def leaves(handler: Handler) -> None:
        answers(SOLUTION | {"trace": trace()})(handler)
        handler.server.shutdown()
        handler.server.server_close()

    stub.plays(leaves)

    result = run(stub.url, sums, ["stepco"], "--at-once", "1")

    assert 4 == result.exit_code
    assert "no server answers" in result.stderr
    assert 1 == len(kept(sums))


def test_two_runs_do_not_write_to_one_folder(url: str, sums: Path) -> None:
    """One that had ignored its interrupt drew, beside the next, a hundred solves twice."""
    (sums.parent / "out").mkdir()
    with alone(sums.parent / "out"):
        result = run(url, sums, ["stepco"])

    assert 4 == result.exit_code
    assert "Another run writes to" in result.stderr
    assert not kept(sums)
    assert 0 == run(url, sums, ["stepco"]).exit_code


def test_a_server_that_is_not_there_is_said_in_a_sentence(sums: Path) -> None:
    result = run("http://127.0.0.1:9", sums, ["stepco"])

    assert 4 == result.exit_code
    assert "no server answers" in result.stderr


def test_the_command_stands_beside_the_records(
    url: str, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["surefoot", "bench", "run", "a set.jsonl"])

    run(url, sums, ["single"])

    commands = (sums.parent / "out/commands.txt").read_text(encoding="utf-8")
    assert "surefoot bench run 'a set.jsonl'\n" == commands


def test_the_time_left_is_said_when_every_arm_has_shown_its_pace() -> None:
    assert time_left([([1.0], 3), ([], 4)], elapsed=1.0, at_once=1) is None
    assert time_left([([1.0], 3)], elapsed=1.0, at_once=2) is None
    assert 0.0 == time_left([([1.0], 0)], elapsed=1.0, at_once=4)


def test_the_time_left_weighs_arms_by_what_they_take() -> None:
    """Two at once: four seconds of solving took two; a cheap and a dear one are left, ten."""
    arms = [([1.0, 1.0], 1), ([2.0], 4), ([9.0], 0)]

    assert (1 + 4 * 2) * 5.0 / 13 == pytest.approx(time_left(arms, elapsed=5.0, at_once=2))


def test_a_terminal_shows_accuracy_and_tokens_so_far(url: str, sums: Path) -> None:
    run(url, sums, ["stepco"])
    solves = kept(sums).values()
    items = [Item(id=s.question_id, question=s.question, answer=s.gold) for s in solves]
    console = Console(force_terminal=True, width=100, record=True, file=None, stderr=True)

    view = View(wanted(parsed(["stepco", "single"], {}), items, [0]), [], at_once=4)
    with watching(view, console) as tell:
        for solve in solves:
            tell(solve)
        console.print(view)

    shown = console.export_text()
    assert re.search(r"stepco +3/3 +100\.0% +44% to 100%", shown)
    assert re.search(r"single +0/3", shown)
    assert "3 of 6" in shown


def test_an_interval_of_a_share_holds_the_share() -> None:
    low, high = wilson(8, 10)

    assert (0.490, 0.943) == (round(low, 3), round(high, 3))


@pytest.fixture
def stub() -> Iterator[Stub]:
    with playing() as stub:
        yield stub


def trace() -> dict[str, object]:
    """What a trace must have to be read: nothing was seen."""
    spent = {"policy": SOLUTION["usage"]["policy"], "verifier": SOLUTION["usage"]["verifier"]}
    return {
        "id": "solve-1",
        "created": "2026-01-01T00:00:00Z",
        "tenant": "default",
        "route": "/solve",
        "outcome": "solved",
        "error": None,
        "content": True,
        "messages": [],
        "form": "steps",
        "strategy": {},
        "sampling": {},
        "budget": {},
        "model": "scripted",
        "verifier": "arithmetic",
        "threshold": {"correct": 0.5, "value": 0.5},
        "rounds": [],
        "paths": [],
        "candidates": [],
        "chosen": None,
        "answer": "18",
        "verified": True,
        "score": 0.9,
        "stop_reason": "accepted",
        "warnings": [],
        "baseline": None,
        "usage": {**spent, "wasted": 0, "total": 1},
        "calls": [],
        "seconds": 1.0,
    }

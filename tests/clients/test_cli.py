"""The command, as a person or a script meets it, against a real server in a thread."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from rich.console import Console
from stub import SOLUTION, STEPCO, Stub, playing, refuses, streams
from typer.testing import CliRunner, Result

from surefoot import Event, __version__, protocol
from surefoot.cli import application
from surefoot.live import Scene, watching
from surefoot.types import CandidateFound, Drafted, Revised, StepWritten

DONE = ("done", SOLUTION)
COMMAND = [sys.executable, "-c", "from surefoot.cli import main; main()"]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with playing() as stub:
        yield stub


def run(*args: str, stdin: str = "", extensions: tuple[EntryPoint, ...] = ()) -> Result:
    return CliRunner().invoke(application(extensions), args, input=stdin)


def solve(stub: Stub, *args: str, stdin: str = "") -> Result:
    return run("solve", "--server", stub.url, *args, stdin=stdin)


def events(*told: tuple[str, object]) -> list[Event]:
    read = [protocol.read_event(name, json.dumps(data), {}) for name, data in told]
    return [event for event in read if event]


def screen(*told: tuple[str, object], question: str = "1 + 1?", height: int = 50) -> str:
    """What the live view leaves on a terminal of 100 columns: its last frame."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=100, height=height, color_system="truecolor"
    )
    with watching(question, console) as show:
        for event in events(*told):
            show(event)
    return file.getvalue().rpartition("\x1b[2K")[2]


def test_away_from_a_terminal_each_event_is_a_plain_line(stub: Stub) -> None:
    stub.plays(streams(*STEPCO))

    result = solve(stub, "How much?")

    assert result.exit_code == 0
    said, tokens = result.stdout.splitlines()[:-6], result.stdout.splitlines()[-6:]
    assert ["tokens", "this", "solve", "best_of_n"] == tokens[0].split()
    assert ["computed", "in", "all", "1,493"] == tokens[-1].split()[:4]
    assert said == [
        "round 0, sample 0, step 1: She sells 16 - 7 = 9 eggs.",
        "round 0, sample 0, step 2: She makes 9 + 2 = 11 dollars.",
        "round 0, sample 0: 2 steps, answer 11",
        "round 0, sample 0: scores 0.97 0.31, first weak: 2",
        "round 1, sample 0, step 2: She makes 9 * 2 = 18 dollars.",
        "round 1: revising from step 2 (0.31): 2 steps, answer 18",
        "round 1, sample 0: scores 0.97 0.93, first weak: none",
        "answer: 18 (verified, accepted); 1,493 tokens computed, 78% saved against best_of_n, "
        "n=10 (estimated); The engine is slow today.",
    ]


def test_json_prints_the_response_alone(stub: Stub) -> None:
    stub.plays(streams(*STEPCO))

    result = solve(stub, "How much?", "--json")

    assert json.loads(result.stdout) == SOLUTION
    assert result.stdout.count("\n") == 1


def test_options_become_the_request(stub: Stub) -> None:
    stub.plays(streams(DONE))

    options = "-s best_of_n --n 4 --max-tokens 500 --deadline 60 --temperature 0.2 --seed 7"
    knobs = "--knob aggregate=min --knob threshold=0.4 --baseline measure"
    solve(stub, "How much?", *options.split(), *knobs.split())
    solve(stub, "How much?")

    assert stub.asked == [
        {
            "path": "/solve",
            "problem": "How much?",
            "strategy": {"name": "best_of_n", "n": 4, "aggregate": "min", "threshold": 0.4},
            "sampling": {"temperature": 0.2, "seed": 7},
            "budget": {"max_tokens": 500, "deadline_ms": 60_000},
            "baseline": "measure",
            "stream": True,
        },
        {
            "path": "/solve",
            "problem": "How much?",
            "strategy": {"name": "stepco"},
            "sampling": {},
            "budget": {},
            "baseline": "estimate",
            "stream": True,
        },
    ]


def test_the_problem_may_come_on_standard_input(stub: Stub) -> None:
    stub.plays(streams(DONE))

    assert solve(stub, stdin="How much?\n").exit_code == 0
    assert stub.asked[0]["problem"] == "How much?"


def test_the_server_may_come_from_the_environment(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.plays(streams(DONE))
    monkeypatch.setenv("SUREFOOT_SERVER", stub.url)

    assert run("solve", "How much?").exit_code == 0


def test_the_key_may_come_from_the_environment(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.plays(streams(DONE), streams(DONE), streams(DONE))
    solve(stub, "How much?")
    monkeypatch.setenv("SUREFOOT_API_KEY", "sf-1")
    solve(stub, "How much?")
    solve(stub, "How much?", "--api-key", "sf-2")

    sent = [headers.get("Authorization") for headers in stub.headers]
    assert [None, "Bearer sf-1", "Bearer sf-2"] == sent
    assert "sf-1" not in run("solve", "--help").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "there is no problem"),
        (["  "], "there is no problem"),
        (["Q?", "--n", "3"], "stepco draws none"),
        (["Q?", "--knob", "threshold"], "key=value"),
        (["Q?", "--temperature", "nan"], "JSON"),
        (["Q?", "--server", "localhost:1"], "no URL"),
        (["Q?", "--api-key", "a\nb"], "no key"),
        (["Q?", "--api-key", "é"], "no key"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(args: list[str], said: str) -> None:
    result = run("solve", *args)

    assert result.exit_code == 2
    assert result.stderr.startswith("surefoot: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_standard_input_that_is_no_text_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    done = subprocess.run([*COMMAND, "solve"], input=b"\xff", capture_output=True, check=False)

    assert done.returncode == 2
    assert done.stderr == b"surefoot: standard input is not text in UTF-8\n"


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (422, 2), (500, 4), (504, 4), (401, 2), (301, 4)]
)
def test_a_refusal_exits_with_2_and_a_failure_with_4(stub: Stub, status: int, code: int) -> None:
    stub.plays(refuses(status, "No\x1b[2J\nway."))

    result = solve(stub, "How much?")

    assert result.exit_code == code
    assert result.stderr == "surefoot: No[2J way.\n"
    assert result.stdout == ""


def test_a_server_out_of_reach_exits_with_4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with playing() as stub:
        url = stub.url

    result = run("solve", "How much?", "--server", url)

    assert result.exit_code == 4
    assert url.removeprefix("http://") in result.stderr
    assert "surefoot serve" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_answer_exits_with_1(stub: Stub) -> None:
    stub.plays(streams(("done", {**SOLUTION, "answer": None, "verified": False})))

    result = solve(stub, "How much?")

    assert result.exit_code == 1
    assert "answer: none found (not verified, accepted)" in result.stdout


def test_control_characters_of_a_model_never_reach_the_terminal(stub: Stub) -> None:
    evil = "\x1b]0;owned\x07 a\x9b31m \ud800 [bold]b[/bold]\r\n c\u2028d"
    steps = [("step", {"round": 0, "sample": 0, "step": 1, "text": evil})]
    done = {**SOLUTION, "answer": evil, "warnings": [evil], "stop_reason": evil}
    stub.plays(streams(*steps, ("done", done)))

    lines = solve(stub, "How much?").stdout
    view = screen(*steps, ("done", done), question=evil)

    assert "step 1: ]0;owned a31m [bold]b[/bold] c d\n" in lines
    assert "[bold]b[/bold]" in view
    for shown in (lines, view):
        assert not {"\x07", "\x9b", "\r", "\ud800"} & set(shown)
        assert "\x1b]" not in shown


def test_the_live_view_shows_steps_scores_and_the_first_weak_one() -> None:
    view = screen(*STEPCO[:4], question="How much [b]?")

    assert "How much [b]?" in view
    assert "She sells 16 - 7 = 9 eggs." in view
    assert "\x1b[32m0.97\x1b[0m" in view
    assert "\x1b[31m0.31\x1b[0m" in view
    assert "\x1b[1;31mweak\x1b[0m She makes 9 + 2 = 11 dollars." in view
    assert "kept" not in view


def test_the_live_view_keeps_the_good_steps_and_replaces_the_rest() -> None:
    view = screen(*STEPCO[:5])

    assert "kept" in view
    assert "round 1: revising from step 2 (0.31)" in view
    assert "She makes 9 * 2 = 18 dollars." in view
    assert "She makes 9 + 2 = 11 dollars." not in view
    assert "weak" not in view


def test_the_live_view_ends_with_the_answer_and_what_it_cost() -> None:
    view = screen(*STEPCO)

    assert "answer: 18 (verified, accepted)" in view
    assert "warning: The engine is slow today." in view
    for count in ("1,200", "5,000", "100", "1,430", "183", "210", "1,493", "6,787"):
        assert f" {count} " in view or f" {count}\x1b" in view
    assert "78% saved against best_of_n, n=10 (estimated)" in view


def test_a_loss_is_shown_as_a_loss() -> None:
    loss = {**SOLUTION, "baseline": {**SOLUTION["baseline"], "saving": -0.25, "kind": "measured"}}

    assert "-25% saved against best_of_n, n=10 (measured)" in screen(("done", loss))


def test_a_path_that_was_not_accepted_shows_where_it_is_weak() -> None:
    steps = [{**step, "round": 0} for step in SOLUTION["steps"]]
    weak = {**SOLUTION, "verified": False, "stop_reason": "max_rounds", "steps": steps}

    view = screen(("done", weak))

    assert "weak\x1b[0m She makes" in view
    assert "answer: 18 (not verified, max_rounds)" in view


def test_the_live_view_lists_samples_as_they_come() -> None:
    drafted = [
        ("drafted", {"round": 0, "sample": k, "steps": [f"Step of {k}."], "answer": a, "tokens": 9})
        for k, a in enumerate(["41", None, "43"])
    ]
    chosen = ("candidate", {"sample": 2, "answer": "43", "score": 0.87, "tokens": 9})

    before, after = screen(*drafted), screen(*drafted, chosen)

    assert "41" in before
    assert "43" in before
    assert "0.87" not in before
    assert "0.87" in after
    assert "Step of 0." in after
    assert "Step of 1." not in after


def test_of_several_revisions_the_first_is_shown_whole_whatever_path_it_left() -> None:
    scene, console = Scene("1 + 1?"), Console(file=io.StringIO(), width=100, record=True)

    scene.hear(Drafted(0, 0, ("first.", "second."), "1", 9))
    scene.hear(Drafted(0, 1, ("other.", "left."), "2", 9))
    scene.hear(Revised(1, 1, 2, 0.3, ("other.", "right."), "3", 4))
    scene.hear(Revised(1, 1, 2, 0.3, ("other.", "also."), "4", 4, sample=1))
    scene.hear(CandidateFound(0, "3", 0.7, 4, round=1))
    console.print(scene)
    shown = console.export_text()

    for words in ("other.", "right.", "0, round 1"):
        assert words in shown
    for words in ("first.", "second.", "also."):
        assert words not in shown


def test_a_path_higher_than_the_terminal_shows_its_end_and_in_the_end_everything() -> None:
    console = Console(file=io.StringIO(), width=100, height=10, record=True)
    scene = Scene("1 + 1?")
    for k in range(1, 31):
        scene.hear(StepWritten(0, 0, k, f"This is step {k}."))

    console.print(scene)
    running = console.export_text()
    scene.over = True
    console.print(scene)
    over = console.export_text()

    assert len(running.rstrip().splitlines()) < 10
    assert "This is step 30." in running
    assert "This is step 2." not in running
    assert all(f"This is step {k}." in over for k in range(1, 31))


def test_ctrl_c_exits_with_130_and_stops_the_server(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.plays(streams(*STEPCO[:4], stay=True))
    terminal, inside = pty.openpty()
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)

    process = subprocess.Popen(
        [*COMMAND, "solve", "How much?", "--server", stub.url],
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    seen = ""
    while "revising" not in seen and "weak" not in seen:
        seen += os.read(terminal, 4096).decode()
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
    assert stub.left.wait(5)
    assert "She sells" in seen
    assert "\x1b[31m" not in seen, "NO_COLOR is honoured"
    os.close(terminal)


@pytest.mark.parametrize("name", ["serve", "models"])
def test_without_the_server_its_commands_say_what_to_install(name: str) -> None:
    result = run(name, "--port", "80", "--help")

    assert result.exit_code == 3
    assert result.stderr == (
        f"surefoot: `surefoot {name}` comes with the server: pip install surefoot-service\n"
    )
    assert name in run("--help").stdout


def test_a_command_that_cannot_be_loaded_says_so() -> None:
    broken = EntryPoint("bench", "nowhere_at_all:bench", "surefoot.commands")

    result = run("bench", extensions=(broken,))

    assert result.exit_code == 3
    assert "nowhere_at_all" in result.stderr
    assert result.stderr.count("\n") == 1


def test_commands_of_other_distributions_are_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "import typer\n"
        "def serve(port: int = 1) -> None:\n"
        "    typer.echo(f'port {port}')\n"
        "    raise typer.Exit(7)\n"
        "bench = typer.Typer()\n"
        "@bench.command()\n"
        "def gsm8k() -> None: typer.echo('all right')\n"
        "@bench.command()\n"
        "def math() -> None: ...\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = (
        EntryPoint("serve", "elsewhere:serve", "surefoot.commands"),
        EntryPoint("bench", "elsewhere:bench", "surefoot.commands"),
    )

    served = run("serve", "--port", "80", extensions=found)

    assert (served.exit_code, served.stdout) == (7, "port 80\n")
    assert run("bench", "gsm8k", extensions=found).stdout == "all right\n"
    assert "surefoot bench" in run("bench", "--help", extensions=found).stdout
    assert "--port" in run("serve", "--help", extensions=found).stdout


def test_help_loads_no_command_of_others() -> None:
    """A broken or a heavy one costs nothing until it is called."""
    broken = EntryPoint("bench", "nowhere_at_all:bench", "surefoot.commands")

    result = run("--help", extensions=(broken,))

    assert result.exit_code == 0
    for name in ("solve", "version", "serve", "models", "bench"):
        assert name in result.stdout


def test_version_prints_the_version() -> None:
    assert run("version").stdout == f"surefoot {__version__}\n"
